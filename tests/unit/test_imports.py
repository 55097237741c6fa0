"""Who may import whom: each layer only what stands before it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS: list[set[str]] = [
    {"types", "errors"},
    {
        "allowance",
        "files",
        "machine",
        "tasks",
        "settings",
        "documents",
        "parsing",
        "render",
        "weights",
    },
    {"storage", "copies"},
    {"engines.base"},
    {"engines"},
    {"engines.registry"},
    {"pipeline"},
    {"check"},
    {"book", "service", "evaluation"},
    {"verification", "library", "corpus"},
    {"mcp_server"},
    {"cli"},
    {"__main__"},
    {"predict", "measure"},
    {"scripts"},
]

DEEPSEEK_LAYERS: list[set[str]] = [
    {"ops"},
    {"model"},
    {"runner", "graphs"},
    {"engine"},
]
DEEPSEEK = "deepocr.engines.deepseek."


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path) -> set[str]:
    """Full names of modules of ours that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import; say the whole name")
    return {
        name for name in found if name.split(".")[0] in ("deepocr", "measure", "predict", "scripts")
    }


def layer_of(module: str, layers: list[set[str]]) -> int | None:
    """The last layer with a member that the module is or lies in (longest name wins)."""
    best: tuple[int, int] | None = None
    for index, members in enumerate(layers):
        for member in members:
            inside = module == member or module.startswith(member + ".")
            if inside and (best is None or len(member) > best[0]):
                best = (len(member), index)
    return best[1] if best else None


SOURCES = sorted(
    [
        *(ROOT / "deepocr").rglob("*.py"),
        *(ROOT / "measure").rglob("*.py"),
        ROOT / "predict.py",
        *(ROOT / "scripts").glob("*.py"),
    ]
)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_backward(path: Path) -> None:
    importer = module_name(path)
    own = layer_of(importer.removeprefix("deepocr."), LAYERS)
    assert own is not None or importer == "deepocr", f"{importer} has no layer; add it"
    for imported in imported_modules(path):
        layer = layer_of(imported.removeprefix("deepocr."), LAYERS)
        if layer is not None and own is not None:
            assert layer <= own, f"{importer} may not import {imported}"


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if module_name(p).startswith(DEEPSEEK)], ids=module_name
)
def test_inside_the_engine(path: Path) -> None:
    own = layer_of(module_name(path).removeprefix(DEEPSEEK), DEEPSEEK_LAYERS)
    for imported in imported_modules(path):
        layer = layer_of(imported.removeprefix(DEEPSEEK), DEEPSEEK_LAYERS)
        if own is not None and layer is not None and imported.startswith(DEEPSEEK):
            assert layer <= own, f"{module_name(path)} may not import {imported}"


@pytest.mark.parametrize("name", ["sequence", "kv_blocks", "scheduler"])
def test_scheduling_knows_no_torch(name: str) -> None:
    path = ROOT / "deepocr" / "engines" / "deepseek" / f"{name}.py"
    tree = ast.parse(path.read_text())
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert "torch" not in names


def test_pipeline_knows_the_protocol_only() -> None:
    engines = {
        name
        for name in imported_modules(ROOT / "deepocr" / "pipeline.py")
        if name.startswith("deepocr.engines")
    }
    assert all(name.startswith("deepocr.engines.base") for name in engines)
