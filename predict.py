"""The Cog predictor: typed inputs to a Job, results to a string.

Cog reads the inputs from this file's text, so choices and defaults are literals here; a test holds
them against the tables in `deepocr.tasks`. The server may run without Cog's schema, so every input
is checked again by the package.
"""

import asyncio
import logging
import os
import pathlib
import signal
import threading
import time
from collections import Counter
from dataclasses import replace

import cog
from cog import BaseRunner, Input, Path

from deepocr.check.beside import Checking
from deepocr.check.repair import repaired
from deepocr.documents import DocumentProcesses
from deepocr.engines.registry import create_engine
from deepocr.errors import DeepOCRError, EngineBroken, InvalidInput, reason
from deepocr.pipeline import read_document, warm_up
from deepocr.render.text_forms import render_document
from deepocr.settings import load_settings
from deepocr.tasks import make_job, parse_dpi, refuse_unchecked_task
from deepocr.types import DocumentResult, Job

log = logging.getLogger(__name__)

END_AFTER_S = 5.0
"""From the engine's end to the process's: answers go out and the health check is seen."""

EXIT_ENGINE_BROKEN = 70

LOOP_ANSWERS_S = 4.0
"""Cog gives a health check 5 s."""


class Failure(Exception):
    """What a client is told. Cog puts the name of an exception's class before its text."""


Failure.__qualname__ = "error"


class Predictor(BaseRunner):
    """Reads a picture or PDF with the engine that DEEPOCR_ENGINE names."""

    loop: asyncio.AbstractEventLoop | None = None

    async def setup(self) -> None:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
        self.settings = load_settings()
        self.engine = await asyncio.to_thread(create_engine, self.settings)
        self.checking = Checking(self.engine, self.settings)
        self.processes = DocumentProcesses.of(self.settings)
        self.start_s = dict(self.engine.capabilities.start_s)
        if self.settings.warm_up:
            began_s = time.perf_counter()
            await warm_up(self.engine)
            self.start_s["first page"] = time.perf_counter() - began_s

    def healthcheck(self) -> bool:
        """For the server's /health-check: false once the engine can read nothing any more, or
        something holds the event loop. Called outside of that loop."""
        answered = threading.Event()
        if self.loop:
            self.loop.call_soon_threadsafe(answered.set)
        return self.engine.broken is None and (not self.loop or answered.wait(LOOP_ANSWERS_S))

    @cog.concurrent(max=16)
    async def run(
        self,
        image: Path = Input(description="Picture (PNG, JPEG, WebP, TIFF, ...) or PDF to read"),
        task_type: str = Input(
            description="What to do with it",
            default="Convert to Markdown",
            choices=[
                "Convert to Markdown",
                "Free OCR",
                "Parse Figure",
                "Locate Object by Reference",
                "OCR with Boxes",
                "Describe Image",
                "Parse Pages Together",
            ],
        ),
        reference_text: str = Input(
            description="What to locate, for 'Locate Object by Reference'", default=""
        ),
        resolution_size: str = Input(
            description="Resolution preset: speed against accuracy",
            default="Gundam (Recommended)",
            choices=["Gundam (Recommended)", "Tiny", "Small", "Base", "Large"],
        ),
        output_format: str = Input(
            description="Raw: as the model writes it, boxes in tags. Markdown: tags removed. JSON: regions with pixel boxes. hOCR, ALTO: for archives. Chunks: JSON Lines for retrieval",
            default="Raw",
            choices=["Raw", "Markdown", "JSON", "hOCR", "ALTO", "Chunks"],
        ),
        pages: str = Input(
            description="Pages of a PDF or TIFF, like 1-3,7; all when empty", default=""
        ),
        max_new_tokens: int = Input(
            description="Most tokens to write for a page", default=8192, ge=1, le=32768
        ),
        password: str = Input(description="Password of an encrypted PDF", default=""),
        check: bool = Input(
            description="Hold every page against a second reader; JSON has what it finds, metrics counts verdicts",
            default=False,
        ),
        dpi: str = Input(
            description="Resolution PDF pages are drawn at: 36 to 1200, or auto: a scan's own; as the server is set when empty",
            default="",
        ),
        repair: bool = Input(
            description="With check: insert what the text lacks, marked <ins>; not for Raw",
            default=False,
        ),
    ) -> str:
        self.loop = asyncio.get_running_loop()
        try:
            job = make_job(
                task_type, reference_text, resolution_size, max_new_tokens, may_join_pages=True
            )
            if repair and (not check or output_format == "Raw"):
                raise InvalidInput(
                    "repair inserts what a check finds, and Raw is as the engine wrote it; set "
                    "check and another output_format, or leave repair out"
                )
            return await self.read(image, job, output_format, pages, password, check, dpi, repair)
        except Exception as error:
            if not isinstance(error, DeepOCRError):
                log.exception("a prediction failed")
            raise Failure(reason(error)) from None

    async def read(
        self,
        image: Path,
        job: Job,
        output_format: str,
        pages: str,
        password: str,
        check: bool,
        dpi: str,
        repair: bool,
    ) -> str:
        """The document in the format asked for. Raises DeepOCRError."""
        if not isinstance(image, Path):
            # Cog passes a plain string through unopened; it could name any file of the machine
            raise InvalidInput(
                f"image is the text {str(image)[:60]!r}; send a data: URL or an http(s) URL, "
                "or with the cog command -i image=@page.png"
            )
        for name, text in (("pages", pages), ("password", password)):
            if not isinstance(text, str):
                raise InvalidInput(f"{name} is no text; put it in quotes")
        if check:
            refuse_unchecked_task(job)
        document = await asyncio.to_thread(
            self.processes.open,
            image,
            dpi=parse_dpi(dpi) if dpi else self.settings.dpi,
            password=password,
            with_words=check or self.settings.ppocr_text_layer,
        )
        with document:
            numbers = document.select(pages)
            try:
                result = await read_document(
                    self.engine,
                    document,
                    numbers,
                    job,
                    window=self.settings.page_window,
                    also=self.checking.checked if check else None,
                )
            except EngineBroken:
                asyncio.get_running_loop().call_later(END_AFTER_S, end_server)
                raise
        self.record(result)
        if repair:
            result = replace(result, pages=tuple(map(repaired, result.pages)))
        return render_document(result, output_format, paged=document.kind != "picture")

    def record(self, result: DocumentResult) -> None:
        """Figures into the answer's `metrics`: pages, tokens, seconds by stage, statuses,
        verdicts; into the first one also the seconds of the start."""
        while self.start_s:
            stage, seconds = self.start_s.popitem()
            self.record_metric(f"start_s.{stage.replace(' ', '_')}", round(seconds, 3))
        self.record_metric("pages", len(result.pages))
        tokens_in = sum(page.usage.prompt_tokens for page in result.pages)
        tokens_out = sum(page.usage.output_tokens for page in result.pages)
        if tokens_in or tokens_out:
            self.record_metric("prompt_tokens", tokens_in)
            self.record_metric("output_tokens", tokens_out)
        stages = {stage for page in result.pages for stage in page.seconds}
        for stage in sorted(stages):
            seconds = sum(page.seconds.get(stage, 0.0) for page in result.pages)
            self.record_metric(f"seconds.{stage}", round(seconds, 4))
        for status in sorted({page.status for page in result.pages}):
            count = sum(page.status == status for page in result.pages)
            self.record_metric(f"status.{status}", count)
        verdicts = Counter(page.check.verdict for page in result.pages if page.check)
        for verdict, count in sorted(verdicts.items()):
            self.record_metric(f"verdict.{verdict.replace(' ', '_')}", count)


def end_server() -> None:
    """End the Cog server that started this process, so that its host starts another one."""
    server = os.getppid()
    command = pathlib.Path(f"/proc/{server}/cmdline")
    if not command.exists() or b"cog.server" not in command.read_bytes():
        return
    log.error("the engine is broken: the server ends")
    os.kill(server, signal.SIGTERM)
    os._exit(EXIT_ENGINE_BROKEN)
