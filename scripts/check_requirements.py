"""Do the container's requirements go together? A dry run of pip, nothing is installed.

    python scripts/check_requirements.py [requirements.txt]

Resolves for the container's platform (Python 3.11, Linux, x86_64), whatever this machine is. Lines
that are addresses are left out and named: pip would have to fetch the whole file to read its
metadata, and a wheel built for one Python and torch is checked by its name in the tests.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLATFORMS = ("manylinux1", "manylinux2014", "manylinux_2_17", "manylinux_2_28")


def split_requirements(text: str) -> tuple[list[str], list[str]]:
    """Requirements by name, and addresses; comments and empty lines fall away."""
    lines = [line.strip() for line in text.splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    addresses = [line for line in wanted if line.startswith("https://")]
    return [line for line in wanted if line not in addresses], addresses


def resolve(requirements: list[str], folder: Path) -> list[str]:
    """`name==version` of everything that would be installed. Raises CalledProcessError."""
    report = folder / "report.json"
    platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_x86_64")]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
    command += ["--ignore-installed", "--only-binary=:all:", "--python-version", "3.11"]
    command += ["--target", str(folder / "nowhere"), "--report", str(report)]
    subprocess.run([*command, *platforms, *requirements], check=True)
    installed = json.loads(report.read_bytes())["install"]
    return sorted(
        f"{item['metadata']['name']}=={item['metadata']['version']}" for item in installed
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "requirements.txt")
    requirements, addresses = split_requirements(parser.parse_args().file.read_text())
    for address in addresses:
        print(f"left out of the dry run: {address}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            resolved = resolve(requirements, Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"the requirements do not resolve (pip ended with {error.returncode})")
            return 1
    print(f"{len(requirements)} requirements resolve to {len(resolved)} packages:")
    print("  " + "\n  ".join(resolved))
    return 0


if __name__ == "__main__":
    sys.exit(main())
