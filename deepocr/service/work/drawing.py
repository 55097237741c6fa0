"""Documents that stay open between the pages of a task."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from deepocr.documents import Document, DocumentProcesses
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import TaskRecord

KEPT_OPEN = 16
"""Most documents that stay open while none of their pages is being read."""


@dataclass
class _Entry:
    opening: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    document: Document | None = None
    opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


class OpenDocuments:
    """Safe from many threads."""

    def __init__(self, processes: DocumentProcesses, files: TaskFiles) -> None:
        self._processes = processes
        self._files = files
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    @contextlib.contextmanager
    def open(self, record: TaskRecord) -> Iterator[Document]:
        """The task's document, kept open while it is in use. Raises InvalidInput."""
        with self._lock:
            # the most recently used is last
            entry = self._entries.pop(record.task_id, None) or _Entry()
            self._entries[record.task_id] = entry
            entry.users += 1
        try:
            with entry.opening:
                if entry.document is None:
                    entry.document = self._open(entry.opened, record)
            yield entry.document
        finally:
            for opened in self._leave(entry):
                opened.close()

    def _open(self, opened: contextlib.ExitStack, record: TaskRecord) -> Document:
        with contextlib.ExitStack() as opening:
            path = opening.enter_context(self._files.copy(record.task_id, "upload"))
            document = self._processes.open(
                path,
                dpi=record.dpi,
                password=self._files.password(record.task_id),
                with_words=record.check,
            )
            opening.enter_context(document)
            opened.push(opening.pop_all())
        return document

    def _leave(self, entry: _Entry) -> list[contextlib.ExitStack]:
        """The least recently used documents, to be closed."""
        with self._lock:
            entry.users -= 1
            idle = [task_id for task_id, found in self._entries.items() if not found.users]
            closing = [self._entries.pop(task_id) for task_id in idle[: len(idle) - KEPT_OPEN]]
        return [found.opened for found in closing]
