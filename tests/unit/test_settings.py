"""The environment is read strictly."""

import os

import pytest

from deepocr.errors import SettingsError
from deepocr.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DEEPOCR_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    assert load_settings().engine == "deepseek"
    assert load_settings().dpi == 144


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPOCR_ENGINE", "ppocr")
    monkeypatch.setenv("DEEPOCR_DPI", "200")
    settings = load_settings()
    assert (settings.engine, settings.dpi) == ("ppocr", 200)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DEEPOCR_ENGIN", "ppocr", "did you mean DEEPOCR_ENGINE"),
        ("DEEPOCR_XYZZY", "1", "unknown setting DEEPOCR_XYZZY='1'"),
        ("DEEPOCR_DPI", "many", "DEEPOCR_DPI='many'"),
        ("DEEPOCR_DPI", "7", "DEEPOCR_DPI='7'"),
        ("DEEPOCR_ENGINE", "tesseract", "ppocr"),
    ],
)
def test_mistakes_are_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_settings_do_not_change() -> None:
    with pytest.raises(Exception, match="frozen"):
        Settings().dpi = 10  # type: ignore[misc]
