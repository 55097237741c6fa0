"""What deploy/ declares, as far as that can be seen without Docker and without Modal's cloud."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from deepocr.service.settings import ServiceSettings
from deepocr.service.work.supervisor import Supervisor
from deepocr.settings import PREFIX
from tests.service.stack import Stack, book, picture

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def test_modal_app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    modal = pytest.importorskip("modal", reason="modal is not installed")
    declared: dict[str, Any] = {}
    inner: list[Any] = []
    real_function, real_asgi_app = modal.App.function, modal.asgi_app

    def function(app: Any, **options: Any) -> Any:
        declared.update(options)
        return real_function(app, **options)

    def asgi_app(**options: Any) -> Any:
        def decorate(made: Any) -> Any:
            inner.append(made)
            return real_asgi_app(**options)(made)

        return decorate

    monkeypatch.setattr(modal.App, "function", function)
    monkeypatch.setattr(modal, "asgi_app", asgi_app)
    spec = importlib.util.spec_from_file_location("modal_app", DEPLOY / "modal_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.app.name == "deepocr"
    assert isinstance(module.image, modal.Image)
    assert declared["gpu"]
    assert declared["scaledown_window"] >= 60
    assert declared["max_containers"] == 1
    assert list(declared["volumes"]) == [module.WEIGHTS]
    assert isinstance(declared["volumes"][module.WEIGHTS], modal.Volume)

    monkeypatch.setenv("DEEPOCR_ENGINE", "scripted")
    monkeypatch.setenv("DEEPOCR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(Supervisor, "run", lambda self: 0)
    with TestClient(inner[0]()) as client:
        assert client.get("/health/live").json() == {"live": True}


def test_compose_starts_it_whole() -> None:
    compose = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
    services = compose["services"]
    assert set(services) == {"redis", "api", "worker", "worker-cpu"}
    assert "--appendonly" in services["redis"]["command"]
    devices = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]
    known = {PREFIX + name.upper() for name in ServiceSettings.model_fields} | {"REDIS_URL"}
    for name in ("api", "worker", "worker-cpu"):
        service = services[name]
        assert service["environment"]["REDIS_URL"] == "redis://redis:6379/0"
        assert set(service["environment"]) <= known
        assert "data:/data" in service["volumes"]
        assert (DEPLOY.parent / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", ["Dockerfile.api", "Dockerfile.worker"])
def test_dockerfiles_copy_what_is_there(name: str) -> None:
    text = (DEPLOY / name).read_text()
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for word in line.split()]
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert not set(copied) & set(ignored)
    assert "USER ocr" in text
    known = {PREFIX + name.upper() for name in ServiceSettings.model_fields}
    assert set(re.findall(r"DEEPOCR_[A-Z_]+", text)) <= known


def test_pdf_helper_reads_through_the_service(embedded: Stack, tmp_path: Path) -> None:
    (tmp_path / "two.pdf").write_bytes(book(2))
    (tmp_path / "one.png").write_bytes(picture(size=(600, 400)))
    command = [
        sys.executable, str(ROOT / "scripts" / "ocr_pdf.py"), "two.pdf", "one.png",
        "-o", "out", "--service", embedded.url,
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "two" / "page_0002.mmd").exists()
    assert "Read with Convert to Markdown" in (tmp_path / "out/one/document.mmd").read_text()
