"""The report to be read, in the form of PERFORMANCE.md."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

BATCH_COLUMNS = {
    "batch": "batch",
    "ms_per_step": "ms a step",
    "tokens_s": "tokens/s",
    "pages_s": "pages/s",
    "floor_share": "share of the byte floor",
    "first_token_s": "first token, s",
    "vision_s": "vision, s",
    "prefill_s": "prefill, s",
    "peak_gb": "peak memory, GB",
    "same_tokens": "same tokens as plain",
}


def to_markdown(report: Mapping[str, Any]) -> str:
    parts = report["parts"]
    lines = ["# GPU report", "", *table(["part", "outcome", "seconds"], _outcomes(parts)), ""]
    for name, part in parts.items():
        lines += [f"## {name}", ""]
        if found := part.get("found"):
            lines += [*FORMS.get(name, _tree)(found), ""]
        if said := part.get("said"):
            lines += [f"{part['outcome']}. The end of what it said:", "", "```", said, "```", ""]
        elif not found:
            lines += [part["outcome"], ""]
    return "\n".join(lines)


def _outcomes(parts: Mapping[str, Any]) -> Iterator[list[Any]]:
    for name, part in parts.items():
        yield [name, part["outcome"], part["seconds"]]
    yield ["all", "", round(sum(part["seconds"] for part in parts.values()), 1)]


def table(head: Sequence[str], rows: Iterator[list[Any]] | Sequence[list[Any]]) -> list[str]:
    body = [[_cell(value) for value in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in ([*head], ["---"] * len(head), *body)]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _tree(found: Mapping[str, Any]) -> list[str]:
    """A table for what is flat, a list for what is nested."""
    flat = [[name, value] for name, value in found.items() if not isinstance(value, dict)]
    lines = table(["what", "found"], flat) if flat else []
    for name, value in found.items():
        if isinstance(value, dict) and value:
            rows = [[key, _plainly(inner)] for key, inner in value.items()]
            lines += ["", *table([name, ""], rows)]
    return lines


def _plainly(value: Any) -> Any:
    if isinstance(value, dict):
        return "; ".join(f"{name}={inner}" for name, inner in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    return value


def _bench(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{found['machine']['device']}, torch {found['machine']['torch']}; {found['preset']}, "
        f"{found['prompt_tokens']} tokens of prompt, {found['new_tokens']} written; a plain read "
        f"gives {found['read_gb_s']} GB/s.",
        "",
    ]
    for engine in found["engines"]:
        rows = [[entry[name] for name in BATCH_COLUMNS] for entry in engine["batches"]]
        lines += [*table(list(BATCH_COLUMNS.values()), rows), ""]
        if turns := engine.get("turns"):
            wall = turns["wall"]
            rows = [
                [name, ms, wall["times_faster_than"].get(name, "")]
                for name, ms in wall["ms_per_token"].items()
            ]
            lines += [*table(["batch 1, in turns", "ms a token", "ours is faster by"], rows), ""]
    if plain := found.get("plain"):
        lines += table(["the plain path", ""], [[name, value] for name, value in plain.items()])
    return lines


def _steps(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, step in found.items():
        lines += [
            f"{name}: {step['nodes a step']} nodes ({step['launches by reading']} launches counted "
            f"without a device), {step['microseconds a step']} µs a step.",
            "",
            *table(["kernel", "a step", "µs a step"], [[*row.values()] for row in step["kernels"]]),
            "",
        ]
    return lines


FORMS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "bench-base": _bench,
    "bench-gundam": _bench,
    "steps": _steps,
}
