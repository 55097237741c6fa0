"""What `cog build` will read: cog.yaml, requirements.txt, .dockerignore and predict.py's text.

Cog parses these files and imports nothing, so these tests do the same.
"""

import ast
import io
import json
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from pydantic import BaseModel, ConfigDict

from deepocr.render.text_forms import FORMATS
from deepocr.tasks import MAX_NEW_TOKENS, PAGES_TOGETHER, PRESETS, TASKS
from deepocr.types import Job
from scripts.check_requirements import split_requirements

ROOT = Path(__file__).resolve().parents[2]
INPUTS = [
    "image",
    "task_type",
    "reference_text",
    "resolution_size",
    "output_format",
    "pages",
    "max_new_tokens",
    "password",
    "check",
    "dpi",
    "repair",
]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Build(Strict):
    """The keys of `build` that we use, in the types of Cog's schema; it allows no others."""

    gpu: bool
    cuda: str
    python_version: str
    python_requirements: str
    sdk_version: str
    run: list[str]


class CogFile(Strict):
    """`run:`, not `predict:`: that one warns."""

    build: Build
    run: Literal["predict.py:Predictor"]


@cache
def cog_file() -> CogFile:
    return CogFile.model_validate(yaml.safe_load((ROOT / "cog.yaml").read_text()))


@cache
def pins() -> dict[str, str]:
    """Package -> exact version of requirements.txt, without the addresses."""
    requirements, _ = split_requirements((ROOT / "requirements.txt").read_text())
    found: dict[str, str] = {}
    for line in requirements:
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{line}: pin one version"
        found[canonicalize_name(requirement.name)] = specifier.version
    return found


def test_cog_yaml_is_what_cog_accepts() -> None:
    build = cog_file().build
    assert build.gpu
    assert (ROOT / build.python_requirements).is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+", build.sdk_version)
    # Cog knows which CUDA goes with which torch: 12.4 with 2.4.0 to 2.6.0
    assert (build.cuda, pins()["torch"], build.python_version) == ("12.4", "2.6.0", "3.11")


def test_pget_is_installed_so_that_an_error_page_is_not() -> None:
    (install,) = [line for line in cog_file().build.run if "pget" in line]
    assert re.search(r"\bcurl -f\w* -o /usr/local/bin/pget \"https://", install)
    assert install.endswith("chmod +x /usr/local/bin/pget")


def test_sdk_is_pinned_by_cog_yaml_and_the_extra_alike() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'"cog=={cog_file().build.sdk_version}"' in project
    # Cog drops such lines
    assert not {"cog", "coglet"} & pins().keys()


def test_flash_attn_wheel_fits_python_torch_and_platform() -> None:
    _, addresses = split_requirements((ROOT / "requirements.txt").read_text())
    (address,) = addresses
    name, version, _, tags = parse_wheel_filename(address.rsplit("/", 1)[-1])
    assert name == "flash-attn"
    (tag,) = tags
    python = cog_file().build.python_version.replace(".", "")
    assert (tag.interpreter, tag.platform) == (f"cp{python}", "linux_x86_64")
    cuda = cog_file().build.cuda.split(".")[0]
    torch = ".".join(pins()["torch"].split(".")[:2])
    assert str(version.local).startswith(f"cu{cuda}torch{torch}")


def modules_of(path: Path) -> set[str]:
    """Everything a file imports, in functions as well, without its type-checking blocks."""
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def file_of(module: str) -> Path | None:
    """The file of one of our own modules."""
    base = ROOT / module.replace(".", "/")
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def third_party(starts: list[str]) -> dict[str, str]:
    """Package outside the standard library -> one of our modules that imports it."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        module = waiting.pop()
        path = file_of(module)
        if module in seen or path is None:
            continue
        seen.add(module)
        for name in modules_of(path):
            top = name.split(".")[0]
            if (ROOT / top).is_dir():
                waiting.append(name)
            elif top not in sys.stdlib_module_names:
                found.setdefault(top, module)
    return found


DISTRIBUTIONS = {
    "PIL": "pillow",
    "pydantic": "pydantic-settings",
    "pydantic_settings": "pydantic-settings",
    "huggingface_hub": "huggingface-hub",
    "triton": "torch",
    "cv2": "opencv-python-headless",
}
NOT_PINNED = {
    "cog",  # by cog.yaml
    "flash_attn",  # by its address
}


def test_requirements_cover_what_the_container_imports() -> None:
    used = third_party(
        [
            "predict",
            "deepocr.engines.deepseek.engine",
            "deepocr.engines.ppocr.engine",
            "deepocr.weights.hub",
            "deepocr.cli.weights",
            "deepocr.cli.verify",
        ]
    )
    missing = {
        package: module
        for package, module in used.items()
        if package not in NOT_PINNED
        and canonicalize_name(DISTRIBUTIONS.get(package, package)) not in pins()
    }
    assert missing == {}
    assert "PIL" in used


def test_pins_lie_within_the_ranges_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    ranges = [Requirement(line) for group in groups for line in group]
    held = [wanted for wanted in ranges if canonicalize_name(wanted.name) in pins()]
    assert len(held) >= len(pins()) - 1  # all but flash-attn's einops
    for wanted in held:
        assert wanted.specifier.contains(pins()[canonicalize_name(wanted.name)]), wanted


def docker_ignores(name: str) -> bool:
    """Whether a file or folder at the top is left out of the build; the last match decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            if fnmatch(name, pattern) or fnmatch(name, pattern + "/*"):
                ignored = not line.startswith("!")
    return ignored


def test_the_image_has_the_code_and_no_weights() -> None:
    # .cog: the build puts the SDK's wheel and the schema there
    needed = ["predict.py", "deepocr/tasks.py", "scripts/verify.py", "deepocr/samples/invoice.png"]
    needed += ["requirements.txt", "cog.yaml", ".cog/openapi_schema.json", "checkpoints/.gitkeep"]
    assert [name for name in needed if docker_ignores(name)] == []
    left_out = ["checkpoints/DeepSeek-OCR/model.safetensors", "checkpoints/.partial-DeepSeek-OCR"]
    left_out += [".git/config", ".venv/bin/python", "tests/unit/test_cog_yaml.py"]
    assert [name for name in left_out if not docker_ignores(name)] == []


@cache
def run_function() -> ast.AsyncFunctionDef:
    """`Predictor.run` as it stands in predict.py."""
    tree = ast.parse((ROOT / "predict.py").read_text())
    (predictor,) = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Predictor"
    ]
    assert [ast.unparse(base) for base in predictor.bases] == ["BaseRunner"]
    (run,) = [
        node
        for node in predictor.body
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "run"
    ]
    return run


@cache
def inputs() -> dict[str, dict[str, Any]]:
    """Input -> the keywords of its Input(...); literal_eval fails on what Cog cannot read."""
    run = run_function()
    arguments = run.args.args[1:]
    found: dict[str, dict[str, Any]] = {}
    for argument, default in zip(arguments, run.args.defaults, strict=True):
        assert isinstance(default, ast.Call)
        assert ast.unparse(default.func) == "Input"
        assert not default.args
        found[argument.arg] = {
            str(keyword.arg): ast.literal_eval(keyword.value) for keyword in default.keywords
        }
    return found


def test_inputs_are_those_promised_in_their_order() -> None:
    assert list(inputs()) == INPUTS
    run = run_function()
    types = {a.arg: ast.unparse(a.annotation) for a in run.args.args[1:] if a.annotation}
    assert types == dict.fromkeys(INPUTS, "str") | {
        "image": "Path",
        "max_new_tokens": "int",
        "check": "bool",
        "repair": "bool",
    }
    assert run.returns is not None
    assert ast.unparse(run.returns) == "str"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("task_type", [*TASKS, PAGES_TOGETHER.title]),
        ("resolution_size", PRESETS),
        ("output_format", FORMATS),
    ],
)
def test_choices_equal_the_tables(name: str, table: Iterable[str]) -> None:
    choices = inputs()[name]["choices"]
    # Cog reads lists only
    assert isinstance(choices, list)
    assert choices == list(table)
    assert inputs()[name]["default"] in choices


def test_defaults_are_those_of_a_job() -> None:
    job = Job()
    defaults = {name: given.get("default") for name, given in inputs().items()}
    assert defaults == {
        "image": None,
        "task_type": job.task,
        "reference_text": job.reference_text,
        "resolution_size": job.preset,
        "output_format": "Raw",
        "pages": "",
        "max_new_tokens": job.max_new_tokens,
        "password": "",
        "check": False,
        "dpi": "",
        "repair": False,
    }
    limits = inputs()["max_new_tokens"]
    assert (limits["ge"], limits["le"]) == (1, MAX_NEW_TOKENS)


def test_every_description_is_one_plain_literal() -> None:
    source = (ROOT / "predict.py").read_text()
    for default in run_function().args.defaults:
        assert isinstance(default, ast.Call)
        (text,) = [word.value for word in default.keywords if word.arg == "description"]
        segment = ast.get_source_segment(source, text) or ""
        tokens = [
            token.type
            for token in tokenize.generate_tokens(io.StringIO(segment).readline)
            if token.string.strip()
        ]
        # adjacent literals would leave stray quotes in the schema, an f-string would vanish
        assert tokens == [tokenize.STRING], segment


def test_the_schema_of_the_tested_server_is_that_of_predict_py() -> None:
    schemas = json.loads((ROOT / "tests/server/openapi_schema.json").read_bytes())
    schemas = schemas["components"]["schemas"]
    properties = schemas["Input"]["properties"]
    assert sorted(properties, key=lambda name: properties[name]["x-order"]) == INPUTS
    for name, given in inputs().items():
        assert properties[name].get("default") == given.get("default"), name
        assert properties[name]["description"] == given["description"], name
        assert schemas.get(name, {}).get("enum") == given.get("choices"), name
        assert properties[name].get("maximum") == given.get("le"), name
        assert properties[name].get("minimum") == given.get("ge"), name
    assert schemas["Input"]["required"] == ["image"]
