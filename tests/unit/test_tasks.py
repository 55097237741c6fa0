"""Jobs are checked; predict.py's literals are these tables."""

import ast
import json
from pathlib import Path

import pytest

from deepocr.errors import InvalidInput
from deepocr.tasks import PAGES_TOGETHER, PRESETS, TASKS, make_job, prompt_for

ROOT = Path(__file__).resolve().parents[2]


def test_titles_and_slugs_name_the_same_job() -> None:
    assert make_job("free", preset="tiny") == make_job("Free OCR", preset="Tiny")


def test_free_ocr_is_not_markdown() -> None:
    assert prompt_for(make_job("Free OCR")) == "<image>\nFree OCR."
    assert "<|grounding|>" in prompt_for(make_job("Convert to Markdown"))


def test_the_reference_stands_in_the_prompt_as_it_is() -> None:
    job = make_job("Locate Object by Reference", "  a {brace} & 20% ")
    assert prompt_for(job) == "<image>\nLocate <|ref|>a {brace} & 20%<|/ref|> in the image."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "OCR"}, "unknown task 'OCR'; choose one of: Convert to Markdown"),
        ({"preset": "Huge"}, "unknown resolution 'Huge'"),
        ({"task": "locate"}, "needs a reference_text"),
        ({"task": "locate", "reference_text": "a<|/ref|>"}, "model tag"),
        ({"task": "locate", "reference_text": "x" * 1001}, "1001 characters"),
        ({"max_new_tokens": 0}, "from 1 to 32768"),
        ({"max_new_tokens": 32769}, "from 1 to 32768"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make_job(**arguments)  # type: ignore[arg-type]


def predictor_inputs() -> dict[str, dict[str, object]]:
    """Keyword arguments of each Input(...) in predict.py, read as Cog does: from the text."""
    tree = ast.parse((ROOT / "predict.py").read_text())
    run = next(n for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef) and n.name == "run")
    names = [argument.arg for argument in run.args.args[1:]]
    return {
        name: {
            keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg
        }
        for name, call in zip(names, run.args.defaults, strict=True)
        if isinstance(call, ast.Call)
    }


def test_predict_py_repeats_the_tables() -> None:
    inputs = predictor_inputs()
    assert inputs["task_type"]["choices"] == [*TASKS, PAGES_TOGETHER.title]
    assert inputs["resolution_size"]["choices"] == list(PRESETS)


def test_predict_py_agrees_with_the_schema_of_the_server_tests() -> None:
    schema = json.loads((ROOT / "tests" / "server" / "openapi_schema.json").read_text())
    schemas = schema["components"]["schemas"]
    properties = schemas["Input"]["properties"]
    inputs = predictor_inputs()
    assert list(inputs) == sorted(properties, key=lambda name: properties[name]["x-order"])
    for name, arguments in inputs.items():
        published = properties[name]
        assert arguments.get("default") == published.get("default")
        assert arguments["description"] == published["description"]
        assert arguments.get("choices") == schemas.get(name, {}).get("enum")
        assert arguments.get("ge") == published.get("minimum")
        assert arguments.get("le") == published.get("maximum")
