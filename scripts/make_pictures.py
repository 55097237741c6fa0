"""The pictures of the README, made of the samples: web page, viewer and overlay, in docs/pictures.

    python scripts/make_pictures.py

wants Chromium with its driver and the packages of `pip install -e '.[dev]'`.
"""

import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from PIL import Image
from selenium import webdriver

from tests.service.stack import running

OUT = ROOT / "docs" / "pictures"
SAMPLES = ROOT / "deepocr" / "samples"
WAIT_S = 300.0
MAX_BYTES = 300_000
"""Of all pictures together."""


SHOW_TABLE = """
const table = document.querySelector('.region[data-label="table"]');
table.scrollIntoView({ behavior: "instant", block: "center" });
table.click();
"""


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, browser() as driver:
        folder = Path(name)
        read = [sys.executable, "-m", "deepocr", "read", str(SAMPLES / "report.pdf")]
        forms = ["--engine", "ppocr", "--html", "--overlay"]
        subprocess.run([*read, "-o", str(folder), *forms], cwd=ROOT, check=True)
        with Image.open(folder / "report" / "overlay" / "page_0003.png") as overlay:
            save("overlay", overlay.crop((0, 0, overlay.width, overlay.height * 4 // 5)), 480)
        driver.get((folder / "report" / "document.html").as_uri())
        driver.execute_script(SHOW_TABLE)
        time.sleep(2)  # the page scrolls, and pictures are decoded
        save("viewer", shot(driver), 900)
        with running(folder / "service", engine="ppocr") as stack:
            web_page(driver, stack.url)
    total = sum(path.stat().st_size for path in OUT.glob("*.webp"))
    print(f"{total:,} bytes in {OUT}")
    if total > MAX_BYTES:
        raise SystemExit(f"more than {MAX_BYTES:,} bytes: make them smaller")


def web_page(driver: Any, url: str) -> None:
    """Many documents in the list, one of them open; the same on a phone."""
    find: Callable[[str], Any] = lambda css: driver.find_element("css selector", css)  # noqa: E731
    driver.get(url)
    until(lambda: driver.find_elements("css selector", "#task option"))
    labeled = sorted((ROOT / "samples" / "labeled").glob("*.pdf"))
    documents = [*labeled, *(SAMPLES / name for name in ("invoice.png", "report.pdf"))]
    find("#file").send_keys("\n".join(map(str, documents)))
    find("#send").click()
    until(lambda: find("#batch-state").text.startswith(f"{len(documents) * 3 // 4} of"))
    entry = "//button[contains(., 'report.pdf')]"
    until(lambda: "3/3" in driver.find_element("xpath", entry).text)
    driver.find_element("xpath", entry).click()
    until(lambda: len(driver.find_elements("css selector", ".page-text")) == 3)
    time.sleep(1)
    save("web-page", shot(driver), 1100)
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_script("scrollTo(0, 0)")
    time.sleep(1)
    save("phone", shot(driver), 390)


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or ""
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def shot(driver: Any) -> Image.Image:
    return Image.open(io.BytesIO(driver.get_screenshot_as_png()))


def save(name: str, picture: Image.Image, width: int) -> None:
    small = picture.convert("RGB")
    small.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
    small.save(OUT / f"{name}.webp", quality=60, method=6)


def until(check: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not check():
        if time.monotonic() > deadline_s:
            raise SystemExit("the page did not come so far in time")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
