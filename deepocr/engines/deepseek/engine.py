"""DeepSeek-OCR as an engine: pages on a worker thread, events on the caller's loop.

A page's life: views and features (vision), the prompt (prefill), token by token (decode), done.
Whoever closes the iterator sets a flag that the worker looks at before every step.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from deepocr.engines.base import Capabilities, check_task
from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.deltas import DeltaWriter
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import Ops
from deepocr.engines.deepseek.ops.attention import choose_attention
from deepocr.engines.deepseek.ops.experts import plain_experts
from deepocr.engines.deepseek.plain import PlainSequence
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.tiles import make_views
from deepocr.engines.deepseek.tokens import Prompt, TokenTable, read_tokens
from deepocr.errors import EngineError, EngineUnavailable, InvalidInput, SettingsError
from deepocr.settings import Settings
from deepocr.tasks import PRESETS, TASKS, prompt_for
from deepocr.types import Event, FinishReason, Job, Page, PageDone, Usage
from deepocr.weights.download import ensure_weights

log = logging.getLogger(__name__)

DTYPES: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(eq=False)
class Request:
    """One page on its way. `post` may be called from any thread."""

    page: Page
    job: Job
    post: Callable[[Event | BaseException], None]
    canceled: threading.Event = field(default_factory=threading.Event)


class DeepSeekEngine:
    """Reads one page after the other, in order of arrival."""

    def __init__(self, model: OcrModel, tokens: TokenTable, ban: NGramBan, name: str) -> None:
        self.capabilities = Capabilities(
            engine=name, tasks=frozenset(TASKS), boxes=True, live_text=True, confidence=True
        )
        self._model = model
        self._tokens = tokens
        self._ban = ban
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="deepseek")
        self._requests: set[Request] = set()
        self._closed = False

    async def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
        check_task(self.capabilities, job)
        if self._closed:
            raise EngineError(f"{self.capabilities.engine} is closed; make a new engine")
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | BaseException] = asyncio.Queue()

        def post(event: Event | BaseException) -> None:
            # a loop that is closed has no reader left
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, event)

        request = Request(page, job, post)
        self._requests.add(request)
        work = self._worker.submit(self._work, request)
        try:
            while True:
                event = await events.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
                if isinstance(event, PageDone):
                    return
        finally:
            request.canceled.set()
            work.cancel()
            self._requests.discard(request)

    async def close(self) -> None:
        """Pages that are being read end with an EngineError."""
        self._closed = True
        for request in list(self._requests):
            request.canceled.set()
            request.post(EngineError(f"{self.capabilities.engine} was closed"))
        await asyncio.to_thread(self._worker.shutdown, wait=True, cancel_futures=True)

    def _work(self, request: Request) -> None:
        """On the worker thread: everything about one page, errors included, is posted."""
        try:
            self._read(request)
        except torch.OutOfMemoryError as error:
            request.post(EngineError(f"out of memory on page {request.page.number}: {error}"))
        except RuntimeError as error:
            log.exception("page %d failed", request.page.number)
            request.post(EngineError(f"page {request.page.number} failed: {error}"))
        except BaseException as error:  # noqa: BLE001 - raised again by the reader
            request.post(error)

    @torch.inference_mode()
    def _read(self, request: Request) -> None:
        job, clock = request.job, StageClock()
        views = make_views(request.page.image, PRESETS[job.preset])
        prompt = self._tokens.prompt(prompt_for(job), views.num_slots)
        room = room_for_output(prompt, self._model.config.decoder.max_position_embeddings)
        if request.canceled.is_set():
            return
        slots = self._model.encode_views(views)
        clock.stage("vision")
        if request.canceled.is_set():
            return
        most = min(job.max_new_tokens, room)
        sequence = PlainSequence(self._model, prompt, most)
        hidden = sequence.prefill(slots)
        clock.stage("prefill")
        deltas, count, token = DeltaWriter(self._tokens), 0, -1
        for written in sequence.write(hidden, self._ban, self._tokens.eos_id):
            if request.canceled.is_set():
                return
            count, token = count + 1, written.token
            if delta := deltas.push(token, written.probability):
                request.post(delta)
        if delta := deltas.finish():
            request.post(delta)
        clock.stage("decode")
        reason: FinishReason = "stop" if token == self._tokens.eos_id else "length"
        request.post(PageDone(reason, Usage(len(prompt.ids), count), clock.seconds))


class StageClock:
    """Seconds by stage, each from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def stage(self, name: str) -> None:
        now_s = time.perf_counter()
        self.seconds[name] = now_s - self._last_s
        self._last_s = now_s


def room_for_output(prompt: Prompt, context: int) -> int:
    """Tokens that may be written after a prompt. Raises InvalidInput when there is no room."""
    room = context - len(prompt.ids)
    if room < 1:
        raise InvalidInput(
            f"the prompt has {len(prompt.ids)} tokens, {prompt.num_slots} of them for the picture, "
            f"and the model's context holds {context}, output included; choose a smaller "
            "resolution or a shorter reference text"
        )
    return room


def choose_device(name: str) -> torch.device:
    """Raises EngineUnavailable for a device that is not there; never takes another instead."""
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineUnavailable(
            f"DEEPOCR_DEVICE={name}, and PyTorch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device


def create(settings: Settings) -> DeepSeekEngine:
    """Weights on the device, ready to read. Blocking.

    Raises EngineUnavailable (CheckpointError, DownloadError) naming what is missing.
    """
    if 0 < settings.ngram_window < settings.ngram_size:
        raise SettingsError(
            f"DEEPOCR_NGRAM_WINDOW={settings.ngram_window} is shorter than DEEPOCR_NGRAM_SIZE="
            f"{settings.ngram_size}, so nothing would be banned; make it longer, or the size 0"
        )
    device, dtype = choose_device(settings.device), DTYPES[settings.dtype]
    folder = ensure_weights(settings)
    config = read_config(folder)
    tokens = read_tokens(folder, config.decoder.vocab_size)
    ops = Ops(choose_attention(device, dtype), plain_experts)
    model = load_model(config, SafetensorsFolder(folder), ops, device=device, dtype=dtype)
    ban = NGramBan(settings.ngram_size, settings.ngram_window, tokens.table_cell_ids)
    return DeepSeekEngine(model, tokens, ban, f"deepseek {settings.dtype}")
