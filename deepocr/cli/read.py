"""`deepocr read`: documents, page by page, into folders or to standard output."""

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from deepocr.book import engine_choice
from deepocr.book.engine_keeper import EngineKeeper
from deepocr.book.files import locked
from deepocr.book.inputs import InputFile, find_sources
from deepocr.book.options import ReadingOptions, RunOptions, WritingOptions
from deepocr.book.progress import describe, describe_verdicts, pages, say
from deepocr.book.run import SOURCE_NAME, read_documents
from deepocr.book.stopping import STOPPED, cancel_on_signals
from deepocr.cli.arguments import path, some_text
from deepocr.cli.engines import with_engine
from deepocr.cli.pipes import STANDARD_INPUT, keep_input, print_document, refuse_files
from deepocr.documents import DocumentProcesses
from deepocr.engines.base import Engine
from deepocr.engines.registry import create_engine
from deepocr.errors import DeepOCRError, EngineBroken, InvalidInput, SettingsError
from deepocr.render.forms import FORMS
from deepocr.settings import Settings, load_settings
from deepocr.tasks import DEFAULT_NEW_TOKENS, PRESETS, TASKS, make_job, parse_dpi
from deepocr.types import PageStatus, Verdict

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_BAD_INPUT = 2
EXIT_PAGES_FAILED = 3
EXIT_ENGINE_BROKEN = 4
EXIT_DOUBTED = 5
EXIT_INTERRUPTED = 130


def run(chosen: argparse.Namespace) -> int:
    """Read the documents that the command line names; returns the exit code."""
    _log_with_names()
    try:
        settings = load_settings()
        if chosen.text_layer:
            settings = settings.model_copy(update={"ppocr_text_layer": True})
        options = options_of(chosen)
        with ExitStack() as stack:

            def new_folder() -> Path:
                return Path(stack.enter_context(TemporaryDirectory(prefix="deepocr-")))

            inputs, shown = chosen.inputs, {}
            if STANDARD_INPUT in inputs:
                kept = str(keep_input(new_folder(), settings.max_bytes))
                inputs = [kept if text == STANDARD_INPUT else text for text in inputs]
                shown[kept] = "standard input"
            sources = find_sources(inputs, shown)
            if not engine_choice.is_elsewhere(chosen):
                settings = with_engine(settings, chosen.engine)
            out = chosen.out or new_folder()
            stack.enter_context(locked(out))
            return asyncio.run(_run(chosen, settings, options, sources, out))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(STOPPED if chosen.out else "stopped", sys.stderr)
        return EXIT_INTERRUPTED
    except DeepOCRError as error:
        return _complain(error, _code_for(error))


def _log_with_names() -> None:
    """Show warnings to the user with the document's name, as many documents are read at once."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(source)s%(message)s"))

    def name_source(record: logging.LogRecord) -> bool:
        record.source = f"{name}: " if (name := SOURCE_NAME.get()) else ""
        return True

    handler.addFilter(name_source)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _code_for(error: DeepOCRError) -> int:
    if isinstance(error, EngineBroken):
        return EXIT_ENGINE_BROKEN
    return EXIT_BAD_INPUT if isinstance(error, InvalidInput | SettingsError) else EXIT_ERROR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Read books and other documents, page by page, and lose none. A run that was stopped goes "
        "on where it was when the same command is given again."
    )
    parser.epilog = (
        "Exit code: 0 every page was read, 3 some failed, 2 bad input, 1 another error, 4 the "
        "engine broke and starting it again did not help, 5 some are doubted (--fail-on), 130 "
        "stopped."
    )
    text = "PDFs, pictures, folders of them, patterns; - is standard input"
    parser.add_argument("inputs", nargs="+", type=some_text, metavar="INPUT", help=text)
    text = "folder for the results; without it the text goes to standard output"
    parser.add_argument("-o", "--out", type=path, help=text)
    engine_choice.add_arguments(parser.add_argument_group("where it reads"))
    _add_reading_arguments(parser.add_argument_group("what is read, and how"))
    _add_writing_arguments(parser.add_argument_group("what is written"))


def _add_reading_arguments(group: argparse._ArgumentGroup) -> None:
    add, positive = group.add_argument, engine_choice.positive
    tasks = ", ".join(task.slug for task in TASKS.values())
    presets = ", ".join(preset.slug for preset in PRESETS.values())
    add("--task", default="markdown", help=f"{tasks} (or their titles)")
    add("--reference", default="", metavar="TEXT", help="what to locate")
    add("--resolution", default="gundam", help=f"{presets} (or their titles)")
    text = "most tokens to write for a page"
    add("--max-new-tokens", type=positive, default=DEFAULT_NEW_TOKENS, metavar="N", help=text)
    add("--pages", default="", help="like 1-3,7 or 5-; all when not given")
    add("--password", default="", help="of an encrypted PDF")
    text = "PDF pages are drawn at; auto: a scan's own, at least 1,600 pixels (auto)"
    add("--dpi", default="auto", help=text)
    text = "ppocr: use a PDF's own text where it says what the page shows"
    add("--text-layer", action="store_true", help=text)
    add("--max-side", type=positive, metavar="PX", help="longer pages are made smaller to this")
    text = "most readings of a page that loops, is cut off or comes back empty (4)"
    add("--readings", type=positive, default=4, metavar="N", help=text)
    check = group.add_mutually_exclusive_group().add_argument
    text = (
        "hold every page against a witness, the CPU reader where the PDF has no sound text of its "
        "own; without this only pages that have some"
    )
    check("--check", action="store_const", const="all", default="layer", help=text)
    text = "no witness at all"
    check("--no-check", dest="check", action="store_const", const="none", help=text)
    text = "exit with 5 when a page is contradicted by its witness, or doubtful"
    add("--fail-on", choices=("contradicted", "doubtful"), help=text)
    add("--restart", action="store_true", help="drop pages of earlier runs and begin anew")


SWITCHES = {
    "--drop-headers": "no running heads and page numbers in document.mmd",
    "--join-pages": "paragraphs and tables that run over a page are joined in document.mmd",
    "--front-matter": "title and page count above document.mmd",
    "--repair": "what a check finds missing, inserted as <ins> in document.mmd and the other forms",
}

FORM_SWITCHES = {
    "--raw": ("raw", "page_NNNN.raw.txt, as it was written"),
    "--searchable-pdf": ("pdf", "searchable.pdf: the original pages with invisible text"),
    "--html": ("html", "document.html: pages beside their text, one file"),
    "--docx": ("docx", "document.docx, for word processors"),
}
"""Forms that also have options of their own besides `--format`."""


def _add_writing_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = f"also write {', '.join(FORMS)}; several with commas between"
    add("--format", dest="forms", action="extend", type=_forms, default=[], help=text)
    for option, (name, text) in FORM_SWITCHES.items():
        add(option, dest="forms", action="append_const", const=name, help=text)
    for option, text in SWITCHES.items():
        add(option, action="store_true", help=text)
    text = "the pages with their regions drawn on them: a PNG each, or one PDF"
    add("--overlay", nargs="?", const="png", choices=("png", "pdf"), help=text)


def _forms(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in FORMS:
            raise argparse.ArgumentTypeError(f"{name!r}; choose from: {', '.join(FORMS)}")
    return names


def options_of(chosen: argparse.Namespace) -> RunOptions:
    """Raises InvalidInput."""
    if chosen.repair and chosen.check == "none":
        raise InvalidInput("--repair inserts what a check finds; leave --no-check out")
    if chosen.out is None:
        refuse_files(chosen.forms, overlay=chosen.overlay, restart=chosen.restart)
    job = make_job(chosen.task, chosen.reference, chosen.resolution, chosen.max_new_tokens)
    return RunOptions(
        reading=ReadingOptions(
            job,
            parse_dpi(chosen.dpi),
            chosen.max_side,
            chosen.readings,
            chosen.check,
            engine_choice.page_timeout_s(chosen),
        ),
        writing=WritingOptions(
            frozenset(chosen.forms),
            chosen.overlay,
            chosen.drop_headers,
            chosen.join_pages,
            chosen.front_matter,
            chosen.repair,
        ),
        pages=chosen.pages,
        password=chosen.password,
        restart=chosen.restart,
    )


async def _run(
    chosen: argparse.Namespace,
    settings: Settings,
    options: RunOptions,
    sources: Sequence[InputFile],
    out: Path,
) -> int:
    async def start_again() -> Engine:
        engine, _ = await engine_choice.start(chosen, settings)
        return engine

    with cancel_on_signals():
        engine, jobs = await engine_choice.start(chosen, settings)
        keeper = EngineKeeper(engine, start_again)
        processes = DocumentProcesses.of(settings)
        reader = None
        try:
            reader = await _start_reader(settings, options, engine)
            options = replace(options, jobs=jobs)
            return await _read_all(keeper, processes, options, sources, out, chosen, reader)
        finally:
            if reader is not None:
                await reader.close()
            # first, as a thread may wait for a page that never ends
            processes.close()
            await keeper.close()


async def _start_reader(settings: Settings, options: RunOptions, engine: Engine) -> Engine | None:
    """The CPU reader as a witness, unless it is the engine itself. Raises EngineUnavailable."""
    if options.reading.check != "all" or engine.capabilities.engine.startswith("ppocr"):
        return None
    plain = settings.model_copy(update={"engine": "ppocr", "ppocr_text_layer": False})
    return await asyncio.to_thread(create_engine, plain)


async def _read_all(
    keeper: EngineKeeper,
    processes: DocumentProcesses,
    options: RunOptions,
    sources: Sequence[InputFile],
    out: Path,
    chosen: argparse.Namespace,
    reader: Engine | None,
) -> int:
    """Read all documents; a bad one does not stop the others. The last line printed counts the
    pages."""
    counts: Counter[PageStatus] = Counter()
    verdicts: Counter[Verdict] = Counter()
    worst = EXIT_OK
    news = sys.stdout if chosen.out else sys.stderr
    outcomes = read_documents(keeper, sources, out, options, processes, reader)
    try:
        async with aclosing(outcomes):
            async for outcome in outcomes:
                counts += outcome.counts
                verdicts += outcome.verdicts
                for sentence in outcome.not_written:
                    worst = _complain(DeepOCRError(sentence), EXIT_ERROR, outcome.source)
                if outcome.error is not None:
                    worst = _complain(outcome.error, _code_for(outcome.error), outcome.source)
                    continue
                if chosen.out is None and outcome.folder is not None:
                    print_document(outcome.folder, chosen.forms)
                else:
                    say(f"{outcome.source.shown} -> {outcome.folder}/document.mmd")
    except DeepOCRError:
        say(_last_line(counts, verdicts), news)
        raise
    say(_last_line(counts, verdicts), news)
    doubted = verdicts["contradicted"]
    if chosen.fail_on == "doubtful":
        doubted += verdicts["doubtful"]
    if worst or counts["failed"]:
        return worst or EXIT_PAGES_FAILED
    return EXIT_DOUBTED if chosen.fail_on and doubted else EXIT_OK


def _last_line(counts: Counter[PageStatus], verdicts: Counter[Verdict]) -> str:
    told = f"; checked: {describe_verdicts(verdicts)}" if verdicts else ""
    return f"{pages(counts.total())}: {describe(counts)}{told}"


def _complain(error: Exception, code: int, source: InputFile | None = None) -> int:
    where = f"{source.shown}: " if source else ""
    say(f"error: {where}{error}", sys.stderr)
    return code
