"""The environment, read once into one frozen object.

Every variable is `DEEPOCR_` and the field's name in capitals. Unknown `DEEPOCR_*` names are
refused: a misspelled setting that is silently ignored is worse than an error.
"""

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deepocr.errors import InvalidInput, SettingsError
from deepocr.tasks import parse_dpi
from deepocr.types import Dpi

PREFIX = "DEEPOCR_"

SERVICE_NAMES = frozenset({
    "api_keys", "cors_origins", "data_dir", "fetch_urls", "max_batch_files", "max_client_bytes",
    "max_client_tasks", "max_data_bytes", "max_json_bytes", "max_pending_tasks", "max_upload_bytes",
    "min_free_bytes", "page_grace_s", "page_timeout_s", "page_tries", "redis_url", "result_ttl_s",
    "stop_timeout_s", "sync_timeout_s", "task_timeout_s", "visibility_timeout_s", "webhook_hosts",
    "webhook_secret", "worker_pages",
})  # fmt: skip
"""The service's own settings, by field; programs that have no use for them know them too, so that
one environment serves all."""


def _dpi(value: object) -> Dpi:
    try:
        return parse_dpi(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from error


class Settings(BaseSettings):
    """Defaults suit the container; see the README for each."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    engine: Literal["deepseek", "ppocr", "scripted", "remote"] = Field(
        default="deepseek", description="what reads: deepseek, ppocr, remote, or scripted (tests)"
    )

    # documents in
    dpi: Annotated[Dpi, BeforeValidator(_dpi)] = Field(
        default="auto",
        description="resolution PDF pages are drawn at; auto: a scan's own, at least 1,600 pixels",
    )
    max_pixels: int = Field(default=180_000_000, ge=1, description="pixels a page may have")
    max_bytes: int = Field(default=1 << 30, ge=1, description="bytes a document may have")
    max_pages: int = Field(default=5000, ge=1, description="pages one request may read")
    draw_processes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="processes that open and draw; 0 is one a core, at most 4",
    )
    draw_timeout_s: float = Field(
        default=60, gt=0, description="for drawing a page, and for opening a document"
    )
    draw_memory_bytes: int = Field(
        default=3 << 30, ge=1 << 26, description="memory of a process that opens and draws"
    )

    page_window: int = Field(
        default=8, ge=1, le=256, description="pages of one document in memory at once"
    )
    warm_up: bool = Field(default=True, description="read a page in setup()")

    script: Path | None = Field(default=None, description="JSON for the scripted engine")

    # ppocr
    ppocr_threads: int = Field(default=0, ge=0, le=256, description="threads; 0 is every core")
    ppocr_text_layer: bool = Field(
        default=False, description="use a PDF's own text where it says what the page shows"
    )

    # remote: Cog servers that read for this one
    remote_urls: str = Field(default="", description="their addresses, with spaces between")
    remote_jobs: int = Field(default=16, ge=1, le=1024, description="requests under way at once")
    remote_timeout_s: float = Field(default=600, gt=0, description="for one answer")

    # deepseek
    checkpoints: Path = Field(
        default=Path("checkpoints"), description="folder that holds the weights or gets them"
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="auto: CUDA if there is one, else cpu; mps: Apple's",
    )
    dtype: Literal["bf16", "fp32"] = Field(
        default="bf16", description="type of weights and activations"
    )
    ngram_size: int | None = Field(
        default=None,
        ge=0,
        le=8192,
        description="repeats of so many tokens are banned, 0: none; the model's own unless set",
    )
    ngram_window: int | None = Field(
        default=None,
        ge=1,
        le=8192,
        description="how many tokens back such repeats are looked for; the model's own unless set",
    )

    quantize: Literal["none", "int8", "int4"] = Field(
        default="none", description="weights of the decoder on the CPU; changes what is written"
    )
    batch: int = Field(
        default=0, ge=0, le=512, description="pages read at once; 0 is 64 on CUDA, 8 on the CPU"
    )
    kv_cache_gb: float = Field(
        default=0, ge=0, description="memory for keys and values; 0 suits what is free"
    )
    ops: str = Field(
        default="",
        description="fast operations that are forced, such as graphs=plain; see docs/network.md",
    )

    model: Literal["deepseek-ocr", "deepseek-ocr-2", "unlimited-ocr"] = Field(
        default="deepseek-ocr",
        description="which is fetched: deepseek-ocr, deepseek-ocr-2 or unlimited-ocr",
    )
    # where missing weights come from; a folder that holds a checkpoint is used as it is
    weights_download: bool = Field(default=True, description="fetch weights when there are none")
    weights_source: Literal["auto", "pget", "hub"] = Field(
        default="auto", description="auto: pget where it is installed, else huggingface_hub"
    )
    weights_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="tar of the checkpoint, for pget; the model's own unless set",
    )
    weights_repo: str | None = Field(
        default=None, description="the same on the model hub; the model's own unless set"
    )
    weights_revision: str | None = Field(
        default=None, description="its commit or branch; the model's own unless set"
    )
    weights_stall_s: float = Field(
        default=600, gt=0, description="give up when nothing arrives for so long"
    )


AnySettings = TypeVar("AnySettings", bound=Settings)


def load_settings() -> Settings:
    """Raises SettingsError naming the variable and what would be right."""
    return load_settings_as(Settings)


def load_settings_as(kind: type[AnySettings]) -> AnySettings:
    """The same for a program with more settings of its own, such as the service."""
    known = {name.upper() for name in {*kind.model_fields, *SERVICE_NAMES}}
    fields = [name.removeprefix(PREFIX) for name in sorted(os.environ) if name.startswith(PREFIX)]
    _refuse_unknown(fields, known, PREFIX)
    return _made(kind, {}, lambda field: PREFIX + field.upper())


def make_settings(environment: bool = False, **given: Any) -> Settings:
    """Settings from arguments, named as the fields are; what is not given is as by default, or,
    with `environment`, as the variables say. Raises SettingsError."""
    if environment:
        load_settings()  # for what is wrong with the variables alone
    _refuse_unknown(given, set(Settings.model_fields), "")
    return _made(Settings if environment else _Given, given, str)


class _Given(Settings):
    """Without the environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic names it
        init_settings: Any,
        *_: Any,
        **__: Any,
    ) -> tuple[Any, ...]:
        return (init_settings,)


def _refuse_unknown(names: Iterable[str], known: Set[str], prefix: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or sorted(known)
            told = ", ".join(prefix + other for other in near)
            hint = f"did you mean {told}?" if len(near) == 1 else f"known are: {told}"
            # its value may be a key
            raise SettingsError(f"unknown setting {prefix}{name}; {hint}")


def _made(
    kind: type[AnySettings], given: Mapping[str, Any], name_of: Callable[[str], str]
) -> AnySettings:
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        field = "_".join(str(part) for part in first["loc"])
        shown = f"={first['input']!r}" if _may_be_shown(kind, field) else ""
        raise SettingsError(f"{name_of(field.lower())}{shown}: {first['msg']}") from None


def _may_be_shown(kind: type[Settings], field: str) -> bool:
    """Numbers and choices; a text may be a key, or an address with one in it."""
    known = kind.model_fields.get(field.lower())
    annotation = known.annotation if known else None
    return annotation in (int, float, bool, Dpi) or get_origin(annotation) is Literal
