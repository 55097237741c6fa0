"""The store that the settings ask for."""

from deepocr.service.settings import ServiceSettings
from deepocr.service.state.redis_store import RedisStore
from deepocr.service.state.sqlite_store import SqliteStore
from deepocr.service.state.store import Store


def open_store(settings: ServiceSettings) -> Store:
    """A file for one machine, or Redis for several."""
    if settings.redis_url is None:
        return SqliteStore(settings.data_dir / "tasks.db")
    return RedisStore(settings.redis_url.get_secret_value())
