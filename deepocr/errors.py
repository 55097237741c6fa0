"""One tree of exceptions. Each message says what is wrong, the value, and the remedy."""

import re


class DeepOCRError(Exception):
    """Everything this package raises on purpose."""


class InvalidInput(DeepOCRError):
    """The request itself is wrong; asking again unchanged will fail again."""


class UnreadableDocument(InvalidInput):
    """The bytes are no picture or PDF that can be opened: empty, damaged, unknown."""


class UnknownFormat(UnreadableDocument):
    """The bytes begin like nothing that is read here."""


class DocumentTooLarge(InvalidInput):
    """More pixels, bytes or pages than the settings allow; found before decoding."""


class PageTooCostly(UnreadableDocument):
    """Opening or drawing took more time or memory than the settings allow, and was stopped."""


class PasswordNeeded(InvalidInput):
    """An encrypted PDF, and no password or a wrong one."""


class PageRangeError(InvalidInput):
    """A page range that cannot be read or does not fit the document."""


class UnsupportedTask(InvalidInput):
    """The engine in use cannot do this task."""


class SettingsError(DeepOCRError):
    """An environment variable that is unknown or has a value out of range."""


class EngineError(DeepOCRError):
    """The engine failed on a page or cannot be had."""


class EngineUnavailable(EngineError):
    """The engine cannot run here: a package, weights or memory is missing."""


class CheckpointError(EngineUnavailable):
    """Weights, configuration or tokenizer are missing, damaged or of another model."""


class DownloadError(EngineUnavailable):
    """The weights could not be fetched."""


class EngineBroken(EngineError):
    """The engine can read no page until it is started again: its thread is dead, its device gone.

    No page is to blame: whoever drives the engine keeps the pages in hand unread and starts the
    engine, or its process, again. A page is failed only when it breaks the engine twice.
    """


class RemoteError(EngineError):
    """Another server refused, failed or answered what cannot be understood."""


class StorageError(DeepOCRError):
    """Results cannot be written or read: disk full, quota, read-only, or a store out of reach."""


MAX_REASON_CHARS = 400

_PATH = re.compile(r"(?<![\w:/])(?:/[\w.@+-]+)+/")

_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (MemoryError, "out of memory"),
    (RecursionError, "nested too deeply"),
    (UnicodeError, "text that cannot be encoded"),
    (TimeoutError, "out of time"),
    (OSError, "a file or a connection failed"),
)


def reason(error: BaseException) -> str:
    """The error for a user: its kind in plain words and its text, in one line.

    Errors of this package speak for themselves. Texts of others lose their folders: these are
    the server's business.
    """
    if isinstance(error, DeepOCRError):
        return str(error)
    kind = next((words for known, words in _KINDS if isinstance(error, known)), "an internal error")
    if isinstance(error, OSError):
        text = error.strerror or ("" if error.args[1:] else str(error))
    else:
        text = repr(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = _PATH.sub("", " ".join(text.split()))
    if len(text) > MAX_REASON_CHARS:
        text = f"{text[:MAX_REASON_CHARS]}…"
    return f"{kind}: {text}" if text else kind
