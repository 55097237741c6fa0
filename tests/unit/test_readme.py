"""What the README and the docs promise is what the code has."""

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from deepocr.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_readme_with_its_default(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.default is not PydanticUndefined
    default = "" if field.default is None or field.default == "" else f"`{field.default}`"
    row = f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |"
    assert row in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(
        re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    )
    assert named <= targets


@pytest.mark.parametrize("page", [*PAGES, ROOT / "Makefile"], ids=lambda page: page.name)
def test_samples_that_are_named_are_there(page: Path) -> None:
    for name in re.findall(r"(?<![\w/.])((?:deepocr/)?samples/[\w./]+\w)", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name} names {name}"
