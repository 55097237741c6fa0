"""The viewer in a browser: a click on either side finds the other, hostile text does nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deepocr.parsing.grounding import parse_regions
from deepocr.render.html import ShownPage, data_url, write_html
from deepocr.types import PageResult
from tests.book.papers import tag, text_page
from tests.needs import bring_into_sight, need_binary

HOSTILE = (
    "<script>document.title = 'taken'</script>"
    "<img src=x onerror=\"document.title = 'taken'\">"
    "<svg onload=\"document.title = 'taken'\"></svg>"
    "[click](javascript:document.title='taken') "
    "\\(\\text{<script>document.title='taken'</script>}\\)"
)


def write_sample(path: Path) -> None:
    image = text_page()
    pages = []
    for number in (1, 2, 3):
        raw = (
            tag("title", (100, 50, 900, 90), f"# Chapter {number}")
            + tag("text", (100, 100, 900, 300), f"Words of page {number}. {HOSTILE}")
            + tag("equation", (100, 310, 900, 400), "\\[ \\frac{a}{b} = \\sqrt{c_{1}} \\]")
            + tag("table", (100, 420, 900, 800), "<table><tr><td>cell</td></tr></table>")
        )
        result = PageResult(number, "ok", image.size, raw, parse_regions(raw, image.size))
        pages.append(ShownPage(result, data_url(image, 900), {}))
    with path.open("wb") as file:
        write_html(file, "A <b>sample</b>", len(pages), pages)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = selenium.ChromeOptions()
    options.binary_location = need_binary("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = selenium.ChromeService(need_binary("chromedriver"))
    driver = selenium.Chrome(options=options, service=service)
    path = tmp_path_factory.mktemp("viewer") / "document.html"
    write_sample(path)
    driver.get(path.as_uri())
    yield driver
    driver.quit()


def find(browser: Any, css: str) -> Any:
    return browser.find_element("css selector", css)


def is_in_view(browser: Any, element: Any) -> bool:
    script = (
        "const box = arguments[0].getBoundingClientRect();"
        "return box.bottom > 0 && box.top < window.innerHeight && box.height > 0;"
    )
    return bool(browser.execute_script(script, element))


def wait_until_in_view(browser: Any, element: Any) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 10).until(lambda _: is_in_view(browser, element))


def test_a_click_on_the_picture_finds_the_text(browser: Any) -> None:
    rectangle = find(browser, 'rect[data-region="3-1"]')
    text = find(browser, '.region[data-region="3-1"]')
    bring_into_sight(browser, rectangle)
    browser.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", rectangle
    )
    wait_until_in_view(browser, text)
    assert "selected" in text.get_attribute("class")
    assert "Words of page 3." in text.text


def test_a_click_on_the_text_finds_the_picture(browser: Any) -> None:
    text = find(browser, '.region[data-region="1-0"]')
    bring_into_sight(browser, text)
    text.click()
    rectangle = find(browser, 'rect[data-region="1-0"]')
    wait_until_in_view(browser, rectangle)
    assert "selected" in rectangle.get_attribute("class")
    chosen = browser.find_elements("css selector", ".selected")
    assert {part.get_attribute("data-region") for part in chosen} == {"1-0"}


def test_formulas_are_drawn_and_not_spelled_out(browser: Any) -> None:
    fraction = find(browser, '.region[data-region="1-2"] math mfrac')
    assert fraction.size["height"] > 15
    assert "\\frac" not in find(browser, '.region[data-region="1-2"]').text


def test_hostile_text_does_nothing(browser: Any) -> None:
    assert browser.title == "A <b>sample</b>"
    scripts = browser.find_elements("css selector", "script")
    assert len(scripts) == 1
    assert not browser.find_elements("css selector", ".region a[href^='javascript']")
    assert not browser.find_elements("css selector", ".region img")
    errors = [entry["message"] for entry in browser.get_log("browser")]
    assert errors == []


def test_nothing_comes_from_the_network(browser: Any) -> None:
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    loaded = browser.execute_script(script)
    assert [name for name in loaded if not name.startswith("data:")] == []


def test_screenshot(browser: Any, tmp_path: Path) -> None:
    find(browser, '.region[data-region="1-1"]').click()
    path = tmp_path / "viewer.png"
    assert browser.save_screenshot(str(path))
    with Image.open(path) as shot:
        assert shot.width >= 1200
        # both panes are drawn: neither half is of one color
        left = shot.convert("L").crop((0, 60, shot.width // 2, shot.height))
        right = shot.convert("L").crop((shot.width // 2, 60, shot.width, shot.height))
        assert left.getextrema()[0] < 100 < 200 < left.getextrema()[1]
        assert right.getextrema() != (right.getextrema()[0],) * 2
