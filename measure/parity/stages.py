"""An implementation of the network against numbers from the official one.

A folder of cases holds `cases.json` and a `<case>.safetensors` of activations each; the pictures
lie in `../images`. Everything compared is derived from these files: which activations, how many
of their positions, which decoding settings (from the names of the keys) and how many tokens.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.sampling import NO_BAN, NGramBan
from deepocr.engines.deepseek.tiles import Views, make_views
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.errors import CheckpointError
from deepocr.tasks import find_preset
from measure.plain_sequence import PlainSequence

CASES_FILE = "cases.json"
TINY_IMAGE_ID = 1000
"""The id of an image slot in cases that do not name one."""

LAST_LOGITS = 64
"""Positions whose logits are computed; no case lists more."""

DECODER_NAMES = ("hidden.", "logits")

_SETTING = re.compile(
    r"greedy(?:_no_repeat_(?P<whole>\d+)|_windowed_(?P<size>\d+)_(?P<window>\d+))?"
)


@dataclass(frozen=True)
class Case:
    """One picture with a preset and a prompt. What is None is not known and not compared."""

    name: str
    image: Path
    preset: str
    prompt_ids: tuple[int, ...]
    image_id: int
    bos_id: int | None
    greedy: Mapping[str, tuple[int, ...]]
    exempt: frozenset[int]
    activations: Path
    grid: tuple[int, int] | None = None
    num_slots: int | None = None
    overview_sha256: str | None = None
    tile_sha256: tuple[str, ...] | None = None

    def prompt(self, num_slots: int) -> Prompt:
        start = () if self.bos_id is None else (self.bos_id,)
        ids = (*start, *[self.image_id] * num_slots, *self.prompt_ids)
        return Prompt(ids, len(start), num_slots)

    def views(self) -> Views:
        with Image.open(self.image) as image:
            return make_views(ImageOps.exif_transpose(image), find_preset(self.preset))


@dataclass(frozen=True)
class Limits:
    """Largest relative errors, and whether every token must be the same.

    The decoder's is its own: where two experts have nearly the same score, rounding decides.
    """

    encoder: float
    decoder: float
    same_tokens: bool


LIMITS: Mapping[torch.dtype, Limits] = {
    torch.float32: Limits(1e-4, 1e-4, same_tokens=True),
    torch.bfloat16: Limits(2e-2, 1e-1, same_tokens=False),
}


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    case: str
    what: str
    found: str
    wanted: str
    ok: bool


class Implementation(Protocol):
    """What is held against the numbers."""

    @property
    def name(self) -> str: ...

    def activations(self, views: Views, prompt: Prompt) -> Mapping[str, Tensor]:
        """`global.sam`, `global.clip` or `.qwen2`, `global.projected`, `local.projected` (with
        tiles), `image_embeds`, `hidden.0` to `hidden.<layers>` and `logits`, for all positions."""
        ...

    def greedy(
        self, views: Views, prompt: Prompt, ban: NGramBan, max_new_tokens: int
    ) -> Sequence[int]:
        """The tokens written, the end token included."""
        ...


class PlainImplementation:
    """The network called directly, one page at a time."""

    name = "plain"

    def __init__(self, model: OcrModel) -> None:
        self.model = model
        # the last picture's slots: three decoding settings share them
        self._slots: tuple[Views, Tensor] | None = None

    @torch.inference_mode()
    def activations(self, views: Views, prompt: Prompt) -> Mapping[str, Tensor]:
        model = self.model
        with _recording(
            outputs={"sam": model.sam_model, model.config.encoder.kind: model.encoder}
        ) as seen:
            overview = model.encode(model.to_input([views.overview]))
        found = {f"global.{name}": value for name, value in seen.items()}
        found["global.projected"] = overview
        tiles = model.encode(model.to_input(views.tiles)) if views.tiles else None
        if tiles is not None:
            found["local.projected"] = tiles
        slots = model.fill_slots(overview[0], tiles, views.grid)
        self._slots = (views, slots)
        layers = {f"hidden.{i}": layer for i, layer in enumerate(model.decoder.layers)}
        with _recording(inputs=layers) as hidden:
            last = PlainSequence(model, prompt, 0).prefill(slots)
        # the last layer's output is only listed after the final norm
        hidden[f"hidden.{len(layers)}"] = last
        return {
            **found,
            "image_embeds": slots,
            **hidden,
            "logits": model.logits(last[-LAST_LOGITS:]),
        }

    @torch.inference_mode()
    def greedy(
        self, views: Views, prompt: Prompt, ban: NGramBan, max_new_tokens: int
    ) -> Sequence[int]:
        if self._slots is None or self._slots[0] is not views:
            self._slots = (views, self.model.encode_views(views))
        sequence = PlainSequence(self.model, prompt, max_new_tokens)
        hidden = sequence.prefill(self._slots[1])
        end = self.model.config.decoder.eos_token_id
        return [written.token for written in sequence.write(hidden, ban, end)]


@contextmanager
def _recording(
    *,
    inputs: Mapping[str, torch.nn.Module] | None = None,
    outputs: Mapping[str, torch.nn.Module] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Keep what modules get first, or return, under the names given."""
    seen: dict[str, Tensor] = {}
    handles = []
    for name, module in (inputs or {}).items():
        handles.append(module.register_forward_pre_hook(_input_keeper(seen, name)))
    for name, module in (outputs or {}).items():
        handles.append(module.register_forward_hook(_output_keeper(seen, name)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _input_keeper(seen: dict[str, Tensor], name: str) -> Any:
    def keep(_module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        seen[name] = args[0]

    return keep


def _output_keeper(seen: dict[str, Tensor], name: str) -> Any:
    def keep(_module: torch.nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        seen[name] = output

    return keep


def read_cases(folder: Path) -> list[Case]:
    """Both forms of `cases.json`: a list of cases, or tokens by case name with shared ids.

    In the second form a case's name is its preset, an underscore, and its picture. Raises
    CheckpointError naming what is missing or cannot be understood.
    """
    file = folder / CASES_FILE
    try:
        raw = json.loads(file.read_bytes())
        entries = raw if isinstance(raw, list) else _entries_by_name(raw)
        return [_read_case(folder, entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file} cannot be read as a list of cases ({error!r}); see docs/parity.md for its form"
        ) from error


def _entries_by_name(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    shared = {name: value for name, value in raw.items() if not name.startswith("greedy")}
    settings = {name: value for name, value in raw.items() if name.startswith("greedy")}
    entries = []
    for name in raw["greedy"]:
        preset, _, image = name.partition("_")
        tokens = {setting: values[name] for setting, values in settings.items() if name in values}
        entries.append({"name": name, "mode": preset, "image": image, **shared, **tokens})
    return entries


def _read_case(folder: Path, raw: Mapping[str, Any]) -> Case:
    grid, tiles = raw.get("crop_ratio"), raw.get("crop_sha256")
    return Case(
        name=raw["name"],
        image=_find_image(folder, raw["image"]),
        preset=find_preset(raw["mode"].lower()).title,
        prompt_ids=tuple(raw["prompt_suffix_ids"]),
        image_id=raw.get("image_token_id", TINY_IMAGE_ID),
        bos_id=raw.get("bos_id", 0),
        greedy={key: tuple(value) for key, value in raw.items() if _SETTING.fullmatch(key)},
        exempt=frozenset(raw.get("windowed_whitelist", ())),
        activations=folder / f"{raw['name']}.safetensors",
        grid=None if grid is None else (grid[0], grid[1]),
        num_slots=raw.get("num_image_tokens"),
        overview_sha256=raw.get("global_view_sha256"),
        tile_sha256=None if tiles is None else tuple(tiles),
    )


def _find_image(folder: Path, name: str) -> Path:
    """The picture in `../images`, seen from the folder's name and from where a link leads."""
    places = [parent / "images" for parent in (folder.absolute().parent, folder.resolve().parent)]
    for place in places:
        if (place / name).is_file():
            return place / name
        if found := sorted(place.glob(f"{name}.*")):
            return found[0]
    raise FileNotFoundError(f"no picture {name!r} in {places[0]}")


def compare(implementation: Implementation, case: Case, limits: Limits) -> Iterator[Check]:
    """Every check of one case. Raises CheckpointError for activations that cannot be read."""
    views = case.views()
    yield from _compare_views(views, case)
    prompt = case.prompt(views.num_slots)
    found = implementation.activations(views, prompt)
    for name, wanted in sorted(_read_activations(case).items()):
        in_decoder = name.startswith(DECODER_NAMES)
        limit = limits.decoder if in_decoder else limits.encoder
        yield _compare_activation(case.name, name, found.get(name), wanted, limit)
    for setting, tokens in case.greedy.items():
        written = implementation.greedy(views, prompt, ban_of(setting, case), len(tokens))
        same = _same_start(written, tokens)
        complete = tuple(written) == tokens
        # in low precision rounding decides between tokens of nearly the same logit
        wanted_text = f"{len(tokens)} tokens" if limits.same_tokens else "told only"
        ok = complete or not limits.same_tokens
        yield Check(case.name, setting, f"{same} same", wanted_text, ok)


def _read_activations(case: Case) -> dict[str, Tensor]:
    try:
        return load_file(case.activations)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{case.activations} cannot be read: {error}; fetch the folder of cases again"
        ) from error


def _compare_views(views: Views, case: Case) -> Iterator[Check]:
    digests = tuple(_sha256(tile) for tile in views.tiles)
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("grid", views.grid, case.grid),
        ("slots", views.num_slots, case.num_slots),
        ("view sha256", _sha256(views.overview), case.overview_sha256),
        ("tiles sha256", digests, case.tile_sha256),
    )
    for what, found, wanted in pairs:
        if wanted is not None:
            yield Check(case.name, what, _brief(found), _brief(wanted), found == wanted)


def _compare_activation(
    case: str, name: str, found: Tensor | None, wanted: Tensor, max_error: float
) -> Check:
    limit = f"<= {max_error:.0e}"
    if found is None:
        return Check(case, name, "nothing", limit, False)
    try:
        part = listed_part(name, found, wanted.shape)
    except ValueError as error:
        return Check(case, name, str(error), limit, False)
    difference = relative_error(part, wanted)
    return Check(case, name, f"{difference:.1e}", limit, difference <= max_error)


def listed_part(name: str, found: Tensor, shape: Sequence[int]) -> Tensor:
    """What of an activation is listed: the last positions of the decoder's, and every n-th
    channel or position of the encoder's where the listed shape is that much smaller."""
    if found.dim() != len(shape):
        raise ValueError(f"shape {list(found.shape)}, listed {list(shape)}")
    if name.startswith(DECODER_NAMES):
        found = found[-shape[0] :]
    for axis, size in enumerate(shape):
        stride, rest = divmod(found.shape[axis], size)
        if rest or not stride:
            raise ValueError(f"shape {list(found.shape)}, listed {list(shape)}")
        index = torch.arange(0, found.shape[axis], stride, device=found.device)
        found = found.index_select(axis, index)
    return found


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over the norm of what is wanted."""
    wanted = wanted.double()
    difference = found.double().cpu() - wanted
    return float(difference.norm() / wanted.norm())


def ban_of(setting: str, case: Case) -> NGramBan:
    """The ban that a key of cases.json stands for."""
    match = _SETTING.fullmatch(setting)
    if match is None:
        raise CheckpointError(f"unknown decoding setting {setting!r} in {CASES_FILE}")
    if match["whole"]:
        return NGramBan(int(match["whole"]))
    if match["size"]:
        return NGramBan(int(match["size"]), int(match["window"]), case.exempt)
    return NO_BAN


def _same_start(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens agree before the first that does not."""
    count = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        count += 1
    return count


def _sha256(image: Image.Image) -> str:
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def _brief(value: Any) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        return " ".join(digest[:6] for digest in value)
    return value[:16] if isinstance(value, str) else str(value)
