"""The environment is read strictly."""

import os
import traceback

import pytest

from deepocr.errors import SettingsError
from deepocr.service.settings import ServiceSettings
from deepocr.settings import SERVICE_NAMES, Settings, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DEEPOCR_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    assert load_settings().engine == "deepseek"
    assert load_settings().dpi == "auto"


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPOCR_ENGINE", "ppocr")
    monkeypatch.setenv("DEEPOCR_DPI", "200")
    settings = load_settings()
    assert (settings.engine, settings.dpi) == ("ppocr", 200)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DEEPOCR_ENGIN", "ppocr", "did you mean DEEPOCR_ENGINE"),
        ("DEEPOCR_XYZZY", "1", "unknown setting DEEPOCR_XYZZY; known are"),
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


@pytest.mark.parametrize(
    "name", ["DEEPOCR_API_KEY", "DEEPOCR_TOKEN", "DEEPOCR_DEVICE", "DEEPOCR_WEIGHTS_URL"]
)
def test_values_that_may_be_secret_are_not_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "s3cret")
    with pytest.raises(SettingsError, match=name) as raised:
        load_settings()
    shown = "".join(traceback.format_exception(raised.value))
    assert "s3cret" not in shown


def test_every_program_knows_the_services_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    own = set(ServiceSettings.model_fields) - set(Settings.model_fields)
    assert own == SERVICE_NAMES, "keep SERVICE_NAMES in deepocr/settings.py"
    monkeypatch.setenv("DEEPOCR_DATA_DIR", "/data")
    assert load_settings() == Settings()
