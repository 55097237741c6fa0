"""Where the service keeps its data: addresses that are none, folders that are not one's own."""

from pathlib import Path

import pytest

from deepocr.errors import SettingsError
from deepocr.service.__main__ import _make_local_dir
from deepocr.service.settings import ServiceSettings
from deepocr.settings import load_settings_as

BUCKET = "s3://scans/folder"


def settings_with(monkeypatch: pytest.MonkeyPatch, data_dir: str) -> ServiceSettings:
    monkeypatch.setenv("DEEPOCR_DATA_DIR", data_dir)
    monkeypatch.setenv("REDIS_URL", "redis://localhost:6379/0")
    return load_settings_as(ServiceSettings)


@pytest.mark.parametrize("address", ["s3:/scans", "s3://", "s3:///", "http://x/y"])
def test_addresses_that_are_none(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with pytest.raises(SettingsError, match="is no address of a bucket"):
        settings_with(monkeypatch, address)


def test_a_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = settings_with(monkeypatch, str(tmp_path / "file" / "data"))
    with pytest.raises(SettingsError, match="cannot be made: Not a directory"):
        _make_local_dir(settings)


@pytest.mark.parametrize("kind", ["link", "open to others"])
def test_a_temporary_folder_of_somebody_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = settings_with(monkeypatch, BUCKET)
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        settings.local_dir.symlink_to(tmp_path / "elsewhere")
    else:
        settings.local_dir.mkdir()
        settings.local_dir.chmod(0o755)
    with pytest.raises(SettingsError, match="not a folder of this user alone"):
        _make_local_dir(settings)


def test_a_temporary_folder_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = settings_with(monkeypatch, BUCKET)
    _make_local_dir(settings)
    _make_local_dir(settings)
    assert settings.local_dir.stat().st_mode & 0o777 == 0o700
