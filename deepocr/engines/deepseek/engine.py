"""DeepSeek-OCR as an engine: pictures prepared in threads, pages read together on one worker
thread, events on the caller's loop.

A page's life: pixels of its views (a thread of the pool), its place in the batch (the worker, see
`batching`), text and events (the caller). Whoever closes the iterator takes the page out of the
batch before the worker's next step.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

import torch

from deepocr.engines.base import Capabilities, check_task
from deepocr.engines.deepseek.batching import BatchedReader
from deepocr.engines.deepseek.build import (
    DTYPES,
    MAX_SEQUENCES,
    choose_device,
    make_reader,
)
from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.cpu import pack_for_cpu
from deepocr.engines.deepseek.deltas import DeltaWriter
from deepocr.engines.deepseek.family import Member, member_of
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops.choice import FastOps, choose_ops
from deepocr.engines.deepseek.page_in_batch import Failed, Finished, Token
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.start_report import StartReport
from deepocr.engines.deepseek.tokens import Prompt, TokenTable, read_tokens
from deepocr.engines.deepseek.vision import PreparedPage, joined, prepare
from deepocr.engines.deepseek.worker import Request, Worker
from deepocr.errors import (
    EngineBroken,
    EngineError,
    InvalidInput,
    SettingsError,
    UnsupportedTask,
)
from deepocr.settings import Settings
from deepocr.tasks import PAGES_TOGETHER, Preset, prompt_for
from deepocr.types import Event, Job, Page, PageDone, Usage
from deepocr.weights.download import ensure_weights

MAX_PICTURE_THREADS = 8


class DeepSeekEngine:
    """Reads up to `concurrency` pages at once; more wait in order of arrival."""

    def __init__(
        self,
        reader: BatchedReader,
        tokens: TokenTable,
        *,
        name: str,
        member: Member,
        context: int,
        concurrency: int,
        report: StartReport,
    ) -> None:
        self.capabilities = Capabilities(
            engine=name,
            tasks=frozenset(member.prompts),
            boxes=True,
            live_text=True,
            confidence=True,
            concurrency=concurrency,
            presets=frozenset(member.presets),
            notes=report.notes,
            start_s=report.seconds,
        )
        self._member = member
        self._tokens = tokens
        self._context = context
        self._worker = Worker(reader)
        threads = min(MAX_PICTURE_THREADS, os.cpu_count() or 1)
        self._pictures = ThreadPoolExecutor(threads, thread_name_prefix="pictures")

    @property
    def broken(self) -> EngineBroken | None:
        return self._worker.broken

    async def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
        check_task(self.capabilities, job)
        self._check_whole()
        request = await self._request(page, job)
        self._worker.inbox.put(("read", request))
        self._check_whole()
        deltas, count = DeltaWriter(self._tokens), 0
        finished: Finished | None = None
        try:
            while finished is None:
                match await request.updates.get():
                    case Token(token, probability):
                        count += 1
                        if delta := deltas.push(token, probability):
                            yield delta
                    case Failed(EngineBroken() as error):
                        raise EngineBroken(str(error)) from error
                    case Failed(error):
                        raise EngineError(str(error)) from error
                    case Finished() as finished:
                        pass
            if delta := deltas.finish():
                yield delta
            usage = Usage(len(request.prompt.ids), count)
            yield PageDone(finished.reason, usage, finished.seconds, self._page_notes())
        finally:
            if finished is None:
                self._worker.inbox.put(("cancel", request))

    def _page_notes(self) -> dict[str, str]:
        told = [f"{name}={note}" for name, note in self.capabilities.notes.items()]
        return {"operations": "; ".join(told)} if told else {}

    def _check_whole(self) -> None:
        if self.broken:
            # one error raised for many pages would collect all their tracebacks
            raise EngineBroken(str(self.broken))

    async def _request(self, page: Page, job: Job) -> Request:
        """Views and prompt of a page. Raises InvalidInput when they leave no room for output."""
        loop = asyncio.get_running_loop()
        preset = self._member.presets[job.preset]
        if job.task == PAGES_TOGETHER.title and preset.max_tiles:
            raise UnsupportedTask(
                f"{job.task!r} reads pages without tiles; choose the resolution Base"
            )
        prepared = await loop.run_in_executor(self._pictures, self._prepare, page, preset)
        prompt = self._tokens.prompt(prompt_for(job, self._member.prompts), prepared.num_slots)
        room = room_for_output(prompt, self._context)
        most = min(job.max_new_tokens * len(prepared.pages), room)
        long = job.task == PAGES_TOGETHER.title
        return Request(prompt, prepared, most, loop, asyncio.Queue(), long)

    def _prepare(self, page: Page, preset: Preset) -> PreparedPage:
        """In a thread, where it may have waited until after the engine's end."""
        self._check_whole()
        return joined(*(prepare(part.image, preset) for part in (page, *page.following)))

    async def close(self) -> None:
        """Pages that are being read end with EngineBroken."""
        self._worker.inbox.put(None)
        await asyncio.to_thread(self._worker.thread.join)
        # canceled futures would look like canceled readers; what waits finds the engine closed
        self._pictures.shutdown(wait=False)


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


def create(settings: Settings) -> DeepSeekEngine:
    """Weights on the device, ready to read. Blocking.

    Raises EngineUnavailable (CheckpointError, DownloadError) naming what is missing.
    """
    device, dtype = choose_device(settings.device), DTYPES[settings.dtype]
    for_cpu = device.type == "cpu" and dtype == torch.bfloat16
    if settings.quantize != "none" and not for_cpu:
        raise SettingsError(
            f"DEEPOCR_QUANTIZE={settings.quantize} is for bf16 on the CPU, and this is "
            f"{settings.dtype} on {device}; set it to none"
        )
    folder = ensure_weights(settings)
    report = StartReport()
    with report.stage("open"):
        config = read_config(folder)
        tokens = read_tokens(folder, config.decoder.vocab_size)
        source = SafetensorsFolder(folder)
    ban = choose_ban(settings, member_of(config), tokens.table_cell_ids)
    ops = choose_ops(config, device, dtype, settings.ops, report)
    model = load_model(config, source, ops.network, device=device, dtype=dtype, report=report)
    if for_cpu:
        with report.stage("pack"):
            pack_for_cpu(model, ops.products, settings.quantize)
    return start(model, ops, tokens, settings, ban)


def choose_ban(settings: Settings, member: Member, cell_ids: frozenset[int]) -> NGramBan:
    """The model's own ban where nothing is set. `cell_ids` are the tags of a table's cells. Raises
    SettingsError."""
    own_size, own_window = member.ban
    size = own_size if settings.ngram_size is None else settings.ngram_size
    window = own_window if settings.ngram_window is None else settings.ngram_window
    if window < size:
        raise SettingsError(
            f"DEEPOCR_NGRAM_WINDOW={window} is shorter than DEEPOCR_NGRAM_SIZE={size}, so nothing "
            "would be banned; make it longer, or the size 0"
        )
    exempt = cell_ids if member.cells_may_repeat else frozenset()
    joined_window = member.joined_window if settings.ngram_window is None else None
    return NGramBan(size, window, exempt, joined_window)


def start(
    model: OcrModel, ops: FastOps, tokens: TokenTable, settings: Settings, ban: NGramBan
) -> DeepSeekEngine:
    """An engine over a loaded model."""
    concurrency = settings.batch or MAX_SEQUENCES[model.device.type]
    context = model.config.decoder.max_position_embeddings
    reader = make_reader(
        model,
        ops,
        ban=ban,
        end_id=tokens.eos_id,
        alphabet=tokens.alphabet,
        max_sequences=concurrency,
        cache_gb=settings.kv_cache_gb,
    )
    weights = settings.dtype if settings.quantize == "none" else settings.quantize
    member = member_of(model.config)
    return DeepSeekEngine(
        reader,
        tokens,
        name=f"{member.engine} {weights}",
        member=member,
        context=context,
        concurrency=concurrency,
        report=ops.report,
    )
