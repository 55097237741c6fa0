"""Opens the documents of a shard, one after another, to count their pages."""

from dataclasses import replace

from deepocr.copies import Copies
from deepocr.corpus.finish import finish_shard
from deepocr.corpus.options import CorpusOptions
from deepocr.corpus.plan import OpenedDocument, Part, choose_pages
from deepocr.corpus.store import CorpusStore
from deepocr.documents import DocumentProcesses
from deepocr.errors import InvalidInput, StorageError, reason
from deepocr.parsing.text import encodable
from deepocr.pipeline import log


def open_shard(
    store: CorpusStore,
    shard: int,
    options: CorpusOptions,
    processes: DocumentProcesses,
    copies: Copies,
) -> list[Part]:
    """Open a shard and return its parts that are still to be read. Blocking.

    A document that cannot be opened, or lacks the pages asked for, is recorded with the reason. A
    shard without missing parts is finished. Raises StorageError.
    """
    if store.opened(shard) is None:
        opened = [_look(document, options, processes, copies) for document in store.listing(shard)]
        store.keep_opened(shard, opened)
    missing = store.missing(shard)
    if not missing:
        finish_shard(store, shard, options)
    return missing


def _look(
    document: OpenedDocument,
    options: CorpusOptions,
    processes: DocumentProcesses,
    copies: Copies,
) -> OpenedDocument:
    try:
        with copies.copy(document.document) as path, processes.open(path) as opened:
            num_pages = opened.num_pages
        choose_pages(
            document.document_id, document.pages, num_pages, one_at_random=options.sample > 0
        )
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - kept with the document
        if not isinstance(error, InvalidInput):
            log.exception("%s could not be opened", document.document)
        return replace(document, error=encodable(reason(error)))
    return replace(document, num_pages=num_pages)
