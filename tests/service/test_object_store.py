"""The service with its data in an S3, as processes that share no folder."""

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from deepocr.errors import SettingsError
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import DiskTaskFiles, TaskFiles, new_task_id
from deepocr.service.state.stored_files import StoredTaskFiles
from deepocr.settings import load_settings_as
from deepocr.types import PageResult
from tests.s3 import s3_server
from tests.service.stack import Redis, Stack, book, eventually


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(params=["disk", "store"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> TaskFiles:
    if request.param == "disk":
        return DiskTaskFiles(tmp_path)
    bucket = request.getfixturevalue("bucket")
    return StoredTaskFiles(f"{bucket}/{tmp_path.name}", tmp_path)


def test_files_of_a_task(files: TaskFiles, tmp_path: Path) -> None:
    """The same on a disk and in a store."""
    task_id = new_task_id()
    assert files.task_ids() == []
    files.create(task_id)
    assert files.task_ids() == [task_id]
    assert 0 <= files.age_s(task_id, time.time()) < 60
    part = files.temporary()
    part.write_bytes(b"%PDF")
    files.adopt(task_id, part, "upload")
    assert not part.exists()
    with files.copy(task_id, "upload") as path:
        assert path.read_bytes() == b"%PDF"
    files.write_picture(task_id, 1, Image.new("RGB", (20, 10)))
    files.write_page(task_id, PageResult(1, "ok", (20, 10), raw="text"))
    files.write_password(task_id, "secret")
    assert files.password(task_id) == "secret"
    files.drop_password(task_id)
    assert files.password(task_id) == ""
    assert [page.raw for page in files.pages(task_id, [1, 2])] == ["text"]
    assert files.page(task_id, 2) is None
    with files.at_hand(task_id) as near:
        assert near.upload(task_id).read_bytes() == b"%PDF"
        with Image.open(near.picture(task_id, 1)) as picture:
            assert picture.size == (20, 10)
    assert not files.has_document(task_id)
    assert files.num_bytes(task_id) >= 4 + (files.size(task_id, "page_0001.jpg") or 0)
    files.delete(task_id)
    files.delete(task_id)
    assert files.task_ids() == []
    with pytest.raises(FileNotFoundError):
        files.write(task_id, "page_0002.json", b"{}")
    with pytest.raises(FileNotFoundError), files.copy(task_id, "upload"):
        pass
    with pytest.raises(ValueError, match="no task id"):
        files.read("../other", "upload")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_store_needs_a_queue_that_is_shared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPOCR_DATA_DIR", "s3://bucket/folder")
    with pytest.raises(SettingsError, match="REDIS"):
        load_settings_as(ServiceSettings)
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    settings = load_settings_as(ServiceSettings)
    assert settings.data_dir == "s3://bucket/folder"
    monkeypatch.setenv("DEEPOCR_DATA_DIR", "here")
    assert load_settings_as(ServiceSettings).data_dir == Path("here")


@pytest.mark.slow
def test_machines_that_share_no_folder(bucket: str, tmp_path: Path) -> None:
    """A worker's temporary files lie elsewhere than the API's."""
    redis = Redis(tmp_path / "redis")
    redis.start()
    stack = Stack(tmp_path / "stack", redis, data_dir=f"{bucket}/service")
    try:
        for part in ("api", "worker"):
            (tmp_path / part).mkdir()
            stack.start(part, TMPDIR=str(tmp_path / part))
        stack.wait_ready()
        sent = stack.http.post(
            "/api/v1/ocr/process", files={"file": ("book.pdf", book(3))}, data={"task": "Free OCR"}
        )
        assert sent.status_code in (200, 202), sent.text
        where = f"/api/v1/ocr/results/{sent.json()['task_id']}"
        done = stack.http.get(where, params={"wait_s": 60, "wait_for": "end"}).json()
        assert done["status"] == "SUCCESS", done
        assert stack.http.get(f"{where}/pages/2").json()["raw"].startswith("page 2")
        picture = stack.http.get(f"{where}/pages/2/image")
        with Image.open(io.BytesIO(picture.content)) as image:
            assert image.format == "JPEG"
        for kind, start in (("pdf", b"%PDF"), ("html", b"<!DOCTYPE"), ("markdown", b"page 1")):
            file = eventually(
                lambda kind=kind: _finished(stack, f"{where}/download", kind), 60, kind
            )
            assert file.startswith(start), kind
        word = eventually(lambda: _finished(stack, f"{where}/download", "docx"), 60, "docx")
        with zipfile.ZipFile(io.BytesIO(word)) as docx:
            assert "word/document.xml" in docx.namelist()
        assert stack.http.delete(where).status_code < 300
        assert not list(tmp_path.glob("api/deepocr-*/temporary/*"))
        # the worker has it open
        assert len(list(tmp_path.glob("worker/deepocr-*/temporary/*"))) == 1
        files = StoredTaskFiles(f"{bucket}/service", tmp_path / "mine")
        assert files.task_ids() == []
    finally:
        stack.close()
        redis.stop()


def _finished(stack: Stack, where: str, kind: str) -> bytes | None:
    answer = stack.http.get(where, params={"format": kind})
    assert answer.status_code in (200, 202), answer.text
    return answer.content if answer.status_code == 200 else None
