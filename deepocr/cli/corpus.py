"""`deepocr corpus`: any number of documents, read by a cluster into Parquet."""

import argparse
import logging
import math
import sys

from deepocr.book.engine_choice import PAGE_TIMEOUT_S, in_range, positive, seconds
from deepocr.book.options import ReadingOptions
from deepocr.book.progress import say
from deepocr.book.stopping import STOPPED
from deepocr.cli.arguments import some_text
from deepocr.corpus.options import PART_PAGES, SHARD_DOCUMENTS, ClusterOptions, CorpusOptions
from deepocr.corpus.run import read_corpus
from deepocr.corpus.samples import estimate_of
from deepocr.engines.registry import ENGINES
from deepocr.errors import (
    DeepOCRError,
    EngineBroken,
    InvalidInput,
    SettingsError,
)
from deepocr.settings import Settings, load_settings
from deepocr.tasks import DEFAULT_NEW_TOKENS, PRESETS, TASKS, make_job, parse_dpi

OK, ERROR, BAD_INPUT, PAGES_FAILED, ENGINE_BROKEN, INTERRUPTED = 0, 1, 2, 3, 4, 130


def run(chosen: argparse.Namespace) -> int:
    """Read the corpus and return the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        return _run(chosen)
    except KeyboardInterrupt:
        say(STOPPED, sys.stderr)
        return INTERRUPTED
    except DeepOCRError as error:
        say(f"error: {error}", sys.stderr)
        if isinstance(error, EngineBroken):
            return ENGINE_BROKEN
        return BAD_INPUT if isinstance(error, InvalidInput | SettingsError) else ERROR


def _run(chosen: argparse.Namespace) -> int:
    settings, options, cluster = settings_of(chosen), options_of(chosen), cluster_of(chosen)
    report = read_corpus(options, chosen.out, settings, cluster)
    say(report.text())
    if options.sample:
        say(estimate_of(chosen.out, options, report, cluster.price_per_hour))
    return PAGES_FAILED if report.pages.get("failed") or report.documents_failed else OK


def settings_of(chosen: argparse.Namespace) -> Settings:
    """Raises SettingsError."""
    settings = load_settings()
    changes: dict[str, object] = {"engine": chosen.engine} if chosen.engine else {}
    if chosen.text_layer:
        changes["ppocr_text_layer"] = True
    return settings.model_copy(update=changes)


def options_of(chosen: argparse.Namespace) -> CorpusOptions:
    """Raises InvalidInput."""
    job = make_job(chosen.task, chosen.reference, chosen.resolution, chosen.max_new_tokens)
    reading = ReadingOptions(
        job,
        parse_dpi(chosen.dpi),
        chosen.max_side,
        chosen.readings,
        chosen.check,
        chosen.page_timeout,
    )
    return CorpusOptions(
        sources=tuple(chosen.sources),
        reading=reading,
        limit=chosen.limit or 0,
        sample=chosen.sample or 0,
        markdown=chosen.markdown,
        part_pages=chosen.part_pages,
        shard_documents=chosen.shard_documents,
        tries=chosen.tries,
    )


def cluster_of(chosen: argparse.Namespace) -> ClusterOptions:
    return ClusterOptions(
        chosen.address, chosen.readers or 0, chosen.cpus, chosen.gpus, chosen.price_per_hour
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "A run that was stopped goes on when the same command is given again. Exit code: 0 every "
        "page was read, 3 some failed, 2 bad input, 1 another error, 4 the engine broke and "
        "starting it again did not help, 130 stopped."
    )
    parser.add_argument(
        "sources",
        nargs="+",
        type=some_text,
        metavar="SOURCE",
        help="folders with all below them, patterns, documents; lists: .txt with a path a line, "
        ".csv or .parquet with path, pages and columns to carry along. Paths or s3://, gs://",
    )
    parser.add_argument(
        "--out",
        type=some_text,
        required=True,
        metavar="DEST",
        help="folder for the results, or s3://, gs://",
    )
    _add_what(parser.add_argument_group("what is read"))
    _add_how(parser.add_argument_group("how"))
    _add_cluster(parser.add_argument_group("where"))


def _add_what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "only the first N documents"
    add("--limit", type=positive, metavar="N", help=text)
    text = "one page of each of N documents, into DEST/sample, with samples.html and an estimate"
    add("--sample", type=positive, metavar="N", help=text)
    add("--markdown", action="store_true", help="a Markdown file a document, too")
    text = f"pages in a file, and what is read again when a machine is lost ({PART_PAGES})"
    add("--part-pages", type=in_range(1, 10_000), default=PART_PAGES, metavar="N", help=text)
    text = f"documents in a row of the manifest's files ({SHARD_DOCUMENTS})"
    add("--shard-documents", type=in_range(1, 100_000), default=SHARD_DOCUMENTS, metavar="N",
        help=text)  # fmt: skip


def _add_how(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--engine", choices=sorted(ENGINES), help="else DEEPOCR_ENGINE decides")
    tasks = ", ".join(task.slug for task in TASKS.values())
    presets = ", ".join(preset.slug for preset in PRESETS.values())
    add("--task", default="markdown", help=f"{tasks} (or their titles)")
    add("--reference", default="", metavar="TEXT", help="what to locate")
    add("--resolution", default="gundam", help=f"{presets} (or their titles)")
    text = "most tokens to write for a page"
    add("--max-new-tokens", type=positive, default=DEFAULT_NEW_TOKENS, metavar="N", help=text)
    add("--dpi", default="auto", help="PDF pages are drawn at; auto: a scan at its own, else 144")
    add("--max-side", type=positive, metavar="PX", help="longer pages are made smaller to this")
    text = "most readings of a page that loops, is cut off or comes back empty (4)"
    add("--readings", type=positive, default=4, metavar="N", help=text)
    text = "pages held against a witness: those with a sound text layer, all (the CPU reader), none"
    add("--check", choices=("layer", "all", "none"), default="layer", help=text)
    text = "ppocr: use a PDF's own text where it says what the page shows"
    add("--text-layer", action="store_true", help=text)
    text = f"seconds that one reading of a page may take ({PAGE_TIMEOUT_S:.0f})"
    add("--page-timeout", type=seconds, default=PAGE_TIMEOUT_S, metavar="S", help=text)
    text = "a page is failed when so many processes ended while they read it and nothing else (2)"
    add("--tries", type=positive, default=2, metavar="N", help=text)


def _amount(text: str) -> float:
    try:
        if 0 <= (value := float(text)) < math.inf:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is no number from 0")


def _add_cluster(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "of a Ray cluster (RAY_ADDRESS); a Ray of this machine alone when there is none"
    add("--address", metavar="HOST:PORT", help=text)
    add("--readers", type=positive, metavar="N", help="engines at once (as many as fit)")
    add("--cpus", type=_amount, metavar="N", help="of a reader (deepseek 4, ppocr 2, others 1)")
    add("--gpus", type=_amount, metavar="N", help="of a reader (deepseek 1 unless on the CPU)")
    text = "what the whole cluster costs an hour; progress and report tell what is spent"
    add("--price-per-hour", type=seconds, metavar="X", help=text)
