"""The web page in a browser: hand in, watch, click, download; nothing from other hosts."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from deepocr.render.forms import FORMS
from tests.needs import bring_into_sight, need_binary
from tests.service.stack import Stack, book, eventually, picture, running

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
TEXT = (
    "<|ref|>title<|/ref|><|det|>[[25, 50, 700, 200]]<|/det|>\n# Page {page} of the book\n\n"
    f"<|ref|>text<|/ref|><|det|>[[25, 300, 900, 600]]<|/det|>\nRead with {{task}}. {HOSTILE}\n\n"
    "<|ref|>table<|/ref|><|det|>[[25, 650, 900, 950]]<|/det|>\n"
    "<table><tr><td>cell</td><td>42</td></tr></table>\n\n"
)


MISSING = "Whoever crossed it paid a sack of flour in forty."


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # the third page is late enough that the first two are seen without it
    script = {"default": {"text": TEXT}, "pages": {"3": {"text": TEXT, "delay_s": 5}}}
    folder = tmp_path_factory.mktemp("web")
    with running(folder, script=script, api_keys="open-sesame") as found:
        yield found


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[Any]:
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = selenium.ChromeOptions()
    options.binary_location = need_binary("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(
        options=options, service=selenium.ChromeService(need_binary("chromedriver"))
    )
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def find(browser: Any, css: str) -> Any:
    return browser.find_element("css selector", css)


def count(browser: Any, css: str) -> int:
    return len(browser.find_elements("css selector", css))


def state(browser: Any) -> str:
    return str(find(browser, "#document-state").text)


def hand_in(browser: Any, *paths: Path) -> None:
    find(browser, "#file").send_keys("\n".join(map(str, paths)))
    find(browser, "#send").click()


def press_download(browser: Any, kind: str) -> None:
    menu = find(browser, ".menu")
    browser.execute_script("arguments[0].open = true", menu)
    find(browser, f'[data-download="{kind}"]').click()


@pytest.fixture(scope="module")
def page(stack: Stack, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page after a book of three pages was handed in and read."""
    folder = tmp_path_factory.mktemp("documents")
    path = folder / "three pages.pdf"
    path.write_bytes(book(3))
    browser.get(stack.url + "/")
    eventually(lambda: find(browser, "#key-row").is_displayed(), 10, "the question for a key")
    find(browser, "#key").send_keys("open-sesame")
    hand_in(browser, path)
    eventually(lambda: count(browser, ".page-text") == 2, 20, "the first pages alone")
    assert not state(browser).startswith("done")
    eventually(lambda: state(browser).startswith("done"), 30, "the last page")
    return browser


def test_pages_arrive_in_order(page: Any) -> None:
    numbers = [
        part.get_attribute("data-page") for part in page.find_elements("css selector", ".page-text")
    ]
    assert numbers == ["1", "2", "3"]
    assert count(page, ".page-picture img") == 3
    loaded = (
        "return [...document.querySelectorAll('.page-picture img')].every(i => i.naturalWidth > 0)"
    )
    eventually(lambda: page.execute_script(loaded), 10, "the pictures")
    assert find(page, ".region h1").text == "Page 1 of the book"
    assert find(page, ".region table td").text == "cell"


def test_hostile_text_does_nothing(page: Any) -> None:
    assert page.title == "deepocr"
    assert count(page, "#texts script") == 0


def test_click_between_picture_and_text(page: Any) -> None:
    text = find(page, '.region[data-region="3-1"]')
    rectangle = find(page, 'rect[data-region="3-1"]')
    bring_into_sight(page, rectangle)
    rectangle.click()
    assert "selected" in text.get_attribute("class")
    first = find(page, '.region[data-region="1-0"]')
    bring_into_sight(page, first)
    first.click()
    assert "selected" in find(page, 'rect[data-region="1-0"]').get_attribute("class")


def test_keyboard_alone_selects_a_region(page: Any) -> None:
    region = find(page, '.region[data-region="2-0"]')
    page.execute_script("arguments[0].focus()", region)
    region.send_keys("\ue007")
    assert "selected" in find(page, 'rect[data-region="2-0"]').get_attribute("class")


@pytest.mark.parametrize(
    ("kind", "suffix", "begins"),
    [
        ("markdown", ".md", b"# Page 1"),
        ("json", ".json", b"{"),
        ("pdf", ".pdf", b"%PDF-"),
        ("docx", ".docx", b"PK"),
        ("alto", ".alto.xml", b"<?xml"),
    ],
)
def test_downloads(page: Any, downloads: Path, kind: str, suffix: str, begins: bytes) -> None:
    press_download(page, kind)
    path = downloads / f"three pages.pdf{suffix}"
    eventually(path.exists, 40, f"the {kind} download")
    assert path.read_bytes().startswith(begins)


def test_searchable_pdf_is_found_by_pdftotext(page: Any, downloads: Path) -> None:
    path = downloads / "three pages.pdf.pdf"
    if not path.exists():
        test_downloads(page, downloads, "pdf", ".pdf", b"%PDF-")
    pdftotext = need_binary("pdftotext")
    text = subprocess.run([pdftotext, str(path), "-"], capture_output=True, check=True).stdout
    assert b"Page 2 of the book" in text


def test_every_form_is_offered(page: Any) -> None:
    offered = [
        (button.get_attribute("data-download"), button.get_attribute("textContent"))
        for button in page.find_elements("css selector", "[data-download]")
    ]
    assert offered == [(name, form.title) for name, form in FORMS.items()]


def test_history_and_labels(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "second.png"
    path.write_bytes(picture())
    hand_in(page, path)
    eventually(lambda: count(page, "#history li") == 2, 10, "the second entry")
    eventually(lambda: state(page).startswith("done"), 20)
    eventually(lambda: "1/1" in find(page, "#history").text, 10, "the list's last state")
    assert "second.png" in find(page, "#history li:first-child").text
    find(page, "#history li:nth-child(2) button").click()
    eventually(lambda: count(page, ".page-text") == 3, 10, "the first document again")
    unnamed = (
        "return [...document.querySelectorAll('input, select, button')].filter(e => "
        "!(e.labels && e.labels.length) && !e.textContent.trim() && !e.ariaLabel).map(e => e.id)"
    )
    assert page.execute_script(unnamed) == []


@pytest.mark.parametrize("button", ["copy", "cancel", "delete"])
def test_a_request_that_fails_is_told(page: Any, button: str) -> None:
    cut = f"the line is cut while we {button}"
    page.execute_script(
        "window.kept = window.fetch; window.fetch = () => Promise.reject(new Error(arguments[0]));"
        "document.getElementById(arguments[1]).click()",
        cut,
        button,
    )
    try:
        eventually(lambda: state(page) == cut, 10, "the error")
    finally:
        page.execute_script("window.fetch = window.kept")
    assert find(page, "#document").is_displayed()


@contextlib.contextmanager
def phone(browser: Any) -> Iterator[None]:
    """390 pixels wide; windows of browsers are not made so narrow."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_phone_sized(page: Any) -> None:
    with phone(page):
        wide = "return [...document.querySelectorAll('body *')].filter(e => e.offsetParent && "
        wide += "!e.closest('.viewer, details:not([open])') && "
        wide += "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.id || e.tagName)"
        assert page.execute_script("return innerWidth") == 390
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390
        assert page.execute_script(wide) == []
        assert find(page, "#send").is_displayed()
        page.execute_script("document.querySelector('.menu').open = true")
        assert page.execute_script(wide) == []
        page.execute_script("document.querySelector('.menu').open = false")


def write_pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"picture {number:03d}.png" for number in range(count)]
    for path in paths:
        path.write_bytes(picture(size=(60, 40)))
    return paths


COUNT_POSTS = """
window.most = window.now = 0; window.longest = 0;
const fetched = window.fetch;
window.fetch = async (path, options) => {
  const post = options?.method === "POST";
  if (post) window.most = Math.max(window.most, ++window.now);
  try { return await fetched(path, options); } finally { if (post) window.now--; }
};
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
}).observe({ type: "longtask" });
"""


def hand_in_many(page: Any, folder: Path, count: int) -> None:
    """With a file beside them that is no document; wait for the end of all."""
    page.refresh()
    eventually(lambda: count_options(page) > 0, 10, "the form")
    page.execute_script(COUNT_POSTS)
    (folder / "notes.txt").write_text("no document")
    hand_in(page, *write_pictures(folder, count), folder / "notes.txt")
    done = f"{count} of {count} done"
    eventually(lambda: find(page, "#batch-state").text == done, 30 + count, "the end of all")
    names = [name.text for name in page.find_elements("css selector", "#history .name")]
    assert names.count("notes.txt") == 0
    assert {f"picture {number:03d}.png" for number in range(count)} <= set(names)
    assert page.execute_script("return window.most") == 3


def count_options(page: Any) -> int:
    return count(page, "#task option")


def test_findings_are_shown_and_gone_through(page: Any, tmp_path: Path) -> None:
    """Two pages of which the text lacks a line and has another number. No page is left without."""
    assert not find(page, "[data-next-finding]").is_displayed()
    path = tmp_path / "checked.pdf"
    path.write_bytes(book(2, lines=("The bridge of the old town was built in 1742.", MISSING)))
    box = find(page, '[name="check"]')
    bring_into_sight(page, box)
    page.execute_script("arguments[0].click()", box)
    hand_in(page, path)
    eventually(lambda: "checked.pdf" in find(page, "#document-name").text, 20, "the document")
    eventually(lambda: state(page).startswith("done"), 60, "the last page")
    page.execute_script("arguments[0].click()", box)
    assert count(page, '[data-verdict="contradicted"]') == 2
    items = page.find_elements("css selector", ".finding-list li")
    assert any(f"not in the text: {MISSING}" in item.text for item in items)
    assert count(page, "rect.finding") > 2
    assert count(page, "#texts u.doubtful, #texts .region.doubtful") > 0
    told = []
    for _ in items:
        press = find(page, "[data-next-finding]")
        bring_into_sight(page, press)
        press.click()
        selected = find(page, ".finding-list li.selected")
        told.append(selected.get_attribute("data-region"))
        rectangles = page.find_elements("css selector", f'rect[data-region="{told[-1]}"]')
        assert all("selected" in one.get_attribute("class") for one in rectangles)
    assert told == [item.get_attribute("data-region") for item in items]


def test_many_files_at_once(page: Any, tmp_path: Path) -> None:
    hand_in_many(page, tmp_path, 12)


@pytest.mark.slow
def test_a_folder_of_200_files_does_not_freeze_the_page(page: Any, tmp_path: Path) -> None:
    hand_in_many(page, tmp_path, 200)
    # milliseconds: nothing that the page does may keep a click waiting
    assert page.execute_script("return window.longest") < 500


def test_a_folder_is_gone_through(page: Any, tmp_path: Path) -> None:
    write_pictures(tmp_path / "scans" / "below", 2)
    write_pictures(tmp_path / "scans", 1)
    find(page, "#folder").send_keys(str(tmp_path / "scans"))
    eventually(lambda: find(page, "#file-name").text == "3 documents", 10, "the folder's files")
    page.execute_script("document.getElementById('folder').value = ''")


def test_a_file_that_is_refused_is_told_and_can_be_sent_again(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "broken.pdf"
    path.write_bytes(b"no document")
    hand_in(page, path)
    entry = eventually(lambda: refused_entry(page), 10, "the refusal")
    assert "broken.pdf" in find(page, "#form-message").text
    entry.click()
    eventually(lambda: refused_entry(page), 10, "the second refusal")


REFUSE_ONCE = """
const fetched = window.fetch;
let left = 1;
window.fetch = (path, options) => {
  if (options?.method !== "POST" || left-- < 1) return fetched(path, options);
  const told = new Headers({ "Retry-After": "1" });
  return Promise.resolve(new Response('{"detail": "too many"}', { status: 429, headers: told }));
};
"""


def test_a_full_queue_is_waited_for(page: Any, tmp_path: Path) -> None:
    page.refresh()
    eventually(lambda: count_options(page) > 0, 10, "the form")
    page.execute_script(REFUSE_ONCE)
    hand_in(page, *write_pictures(tmp_path, 2))
    eventually(lambda: find(page, "#batch-state").text == "2 of 2 done", 30, "both documents")


DROP = """
const transfer = new DataTransfer();
for (const [name, type] of [["one.pdf", "application/pdf"], ["notes.txt", "text/plain"]]) {
  transfer.items.add(new File(["no document"], name, { type }));
}
window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
"""


def test_what_is_dropped_is_handed_in(page: Any) -> None:
    page.refresh()
    eventually(lambda: count_options(page) > 0, 10, "the form")
    page.execute_script(DROP)
    entry = eventually(lambda: refused_entry(page), 10, "the answer to what was dropped")
    assert "one.pdf" in entry.text
    assert count(page, "#history li") == 1 + page.execute_script(
        "return document.querySelectorAll('#history [data-task]').length"
    )


def refused_entry(page: Any) -> Any:
    found = page.find_elements("css selector", "#history li:first-child button")
    return found[0] if found and "Press to try again" in found[0].text else None


def test_an_example_when_there_is_nothing_to_see(page: Any) -> None:
    page.refresh()
    eventually(lambda: count_options(page) > 0, 10, "the form")
    find(page, "#example").click()
    eventually(lambda: find(page, "#document-name").text == "example.pdf", 10, "the example")
    eventually(lambda: count(page, ".page-text") >= 2, 20, "its pages")


def test_nothing_comes_from_other_hosts(stack: Stack, page: Any) -> None:
    page.get(stack.url + "/docs")
    eventually(lambda: count(page, ".opblock") > 5, 20, "the API's page")
    hosts = set()
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = urlsplit(message["params"]["request"]["url"])
            if url.scheme in ("http", "https"):
                hosts.add(url.netloc)
    assert hosts == {urlsplit(stack.url).netloc}
    assert not [e for e in page.get_log("browser") if "Content Security Policy" in e["message"]]
