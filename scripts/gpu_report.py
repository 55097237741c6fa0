"""What a GPU shows of the DeepSeek engine, in less than eight minutes, as JSON and Markdown.

python scripts/gpu_report.py                        on a CUDA device
python scripts/gpu_report.py --tiny --device cpu    tries the report itself

Packages that are missing are taken from `gpu-wheels`, which `make gpu-wheels` fills; nothing is
installed.
"""

import os
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / "gpu-wheels"


def use_wheels() -> None:
    """The wheels for this Python, unpacked, before all other packages."""
    packages = WHEELS / f"unpacked-{sys.version_info.major}{sys.version_info.minor}"
    if not packages.exists():
        part = packages.with_suffix(f".{os.getpid()}")
        for wheel in sorted(WHEELS.glob("*.whl")):
            _, _, *_, python, abi, _platform = wheel.stem.split("-")
            if abi in ("none", "abi3") or python == f"cp3{sys.version_info.minor}":
                with zipfile.ZipFile(wheel) as file:
                    file.extractall(part)
        part.rename(packages)
    sys.path.insert(0, str(packages))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), *sys.path[:1]]))


if WHEELS.is_dir():
    use_wheels()
sys.path.insert(0, str(ROOT))
os.environ.setdefault("PYTHONPATH", str(ROOT))

from measure.gpu_report.command import main

if __name__ == "__main__":
    sys.exit(main())
