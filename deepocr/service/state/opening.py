"""The store and the files that the settings ask for."""

from pathlib import Path

from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import DiskTaskFiles, TaskFiles
from deepocr.service.state.redis_store import RedisStore
from deepocr.service.state.sqlite_store import SqliteStore
from deepocr.service.state.store import Store


def open_store(settings: ServiceSettings) -> Store:
    """A file for one machine, or Redis for several."""
    if settings.redis_url is None:
        return SqliteStore(settings.local_dir / "tasks.db")
    return RedisStore(settings.redis_url.get_secret_value())


def open_files(settings: ServiceSettings) -> TaskFiles:
    """A folder, or an object store that machines share. Raises StorageError where a package for
    the store is missing."""
    if isinstance(settings.data_dir, Path):
        return DiskTaskFiles(settings.data_dir)
    # with its packages, which a service on a disk does without
    from deepocr.service.state.stored_files import StoredTaskFiles

    return StoredTaskFiles(settings.data_dir, settings.local_dir)
