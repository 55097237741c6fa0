"""The service on Modal: one GPU container with API, web page and worker.

    modal deploy deploy/modal_app.py

Weights are fetched once into a volume. The queue lives in the container: it is there as long as
requests come, so poll for results, or give REDIS_URL and a shared DEEPOCR_DATA_DIR by a secret.
"""

import threading
from pathlib import Path

import modal

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = "/weights"

image = (
    modal.Image.debian_slim(python_version="3.11")
    .apt_install("gcc", "libc6-dev")  # Triton compiles its launchers at run time
    .pip_install_from_requirements(str(ROOT / "requirements.txt"))
    .pip_install_from_pyproject(
        str(ROOT / "pyproject.toml"), optional_dependencies=["deepseek", "service"]
    )
    .env(
        {
            "DEEPOCR_ENGINE": "deepseek",
            "DEEPOCR_CHECKPOINTS": WEIGHTS,
            "DEEPOCR_DATA_DIR": "/tmp/deepocr",
        }
    )
    # not add_local_python_source: the page, schemas and the manifest are no Python
    .add_local_dir(str(ROOT / "deepocr"), "/root/deepocr")
)
weights = modal.Volume.from_name("deepocr-weights", create_if_missing=True)
app = modal.App("deepocr", image=image)


@app.function(
    gpu="L40S",
    volumes={WEIGHTS: weights},
    scaledown_window=300,
    timeout=3600,
    max_containers=1,  # tasks are known to the container that took them
)
@modal.concurrent(max_inputs=500)
@modal.asgi_app()
def serve() -> object:
    """The ASGI app, and a worker process beside it."""
    from deepocr.service.http.app import create_app
    from deepocr.service.settings import ServiceSettings
    from deepocr.service.work.supervisor import Supervisor
    from deepocr.settings import load_settings_as

    settings = load_settings_as(ServiceSettings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    threading.Thread(target=Supervisor(settings).run, name="supervisor", daemon=True).start()
    return create_app(settings)
