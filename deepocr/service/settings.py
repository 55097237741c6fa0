"""The service's part of the environment."""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from deepocr.settings import PREFIX, Settings


class ServiceSettings(Settings):
    """Everything of Settings, and what API, queue and workers need."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True
    )

    # where things are
    data_dir: Path | str = Field(
        default=Path("data"),
        union_mode="left_to_right",
        description="uploads, results, embedded queue; with Redis also s3://BUCKET/FOLDER",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        validate_default=True,
        validation_alias="REDIS_URL",
        description="broker and state for several machines; without it both are files",
    )

    # who may ask, and how much
    api_keys: SecretStr = Field(default=SecretStr(""), description="comma-separated; empty: open")
    cors_origins: str = Field(default="", description="comma-separated origins, or *")
    max_upload_bytes: int = Field(default=512 << 20, ge=1, description="bytes of one request")
    max_json_bytes: int = Field(default=64 << 20, ge=1, description="bytes of a JSON request")
    max_client_tasks: int = Field(default=100, ge=1, description="unfinished tasks of one client")
    max_pending_tasks: int = Field(default=5000, ge=1, description="unfinished tasks of all")
    max_client_bytes: int = Field(default=100 << 30, ge=1, description="kept for one client")
    max_data_bytes: int = Field(default=1 << 40, ge=1, description="kept for all clients")
    min_free_bytes: int = Field(
        default=512 << 20, ge=0, description="of the disk; with less free nothing is taken"
    )
    max_batch_files: int = Field(default=64, ge=1, description="documents in one batch request")
    fetch_urls: bool = Field(default=False, description="fetch documents from clients' URLs")

    # how long things take and stay
    page_timeout_s: float = Field(default=300, gt=0, description="hard limit for one page")
    page_grace_s: float = Field(
        default=10, gt=0, description="then the process that does not stop it is ended"
    )
    page_tries: int = Field(
        default=2, ge=1, le=10, description="failures a page may take, and losses of its worker"
    )
    stop_timeout_s: float = Field(
        default=60, gt=0, description="when stopping, pages in hand may take so long to finish"
    )
    task_timeout_s: float = Field(default=6 * 3600, gt=0, description="limit for one task")
    sync_timeout_s: float = Field(default=600, gt=0, description="limit for requests that wait")
    visibility_timeout_s: float = Field(
        default=0, ge=0, description="Redis: a lost page is read again after; 0: from page_timeout"
    )
    result_ttl_s: float = Field(default=24 * 3600, gt=0, description="results are deleted after")

    worker_pages: int = Field(
        default=0, ge=0, le=1024, description="pages at once in a worker; 0: as the engine says"
    )

    # webhooks
    webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="HMAC key; empty: no webhooks"
    )
    webhook_hosts: str = Field(
        default="", description="comma-separated host names that may be private addresses"
    )

    @field_validator("data_dir", mode="wrap")
    @classmethod
    def _keep_addresses(cls, value: object, as_path: Callable[[object], Path]) -> Path | str:
        """A path would make one slash of two."""
        if not isinstance(value, str) or not re.match(r"[a-z][a-z0-9+.-]+:/", value):
            return as_path(value)
        scheme, _, bucket = value.partition("://")
        if not bucket.strip("/") or scheme in ("http", "https"):
            raise ValueError(
                f"{value!r} is no address of a bucket; give one like s3://bucket/folder"
            )
        return value

    @field_validator("redis_url")
    @classmethod
    def _share_queue_too(cls, value: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if value is None and isinstance(others.data.get("data_dir"), str):
            raise ValueError("DEEPOCR_DATA_DIR in an object store needs a queue in Redis, too")
        return value

    @property
    def local_dir(self) -> Path:
        """A folder of this machine: the data's own, or for temporary files."""
        if isinstance(self.data_dir, Path):
            return self.data_dir
        name = hashlib.sha256(self.data_dir.encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"deepocr-{os.getuid()}-{name}"

    def key_digests(self) -> tuple[bytes, ...]:
        """SHA-256 of every API key."""
        keys = _split(self.api_keys.get_secret_value())
        return tuple(hashlib.sha256(key.encode()).digest() for key in keys)

    def origins(self) -> list[str]:
        return _split(self.cors_origins)

    def trusted_hosts(self) -> frozenset[str]:
        return frozenset(host.lower() for host in _split(self.webhook_hosts))

    def redelivery_s(self) -> float:
        """When the broker gives an unacknowledged page to another worker.

        A page may wait for one hard limit before it starts and is stopped after another.
        """
        return self.visibility_timeout_s or 2 * self.page_limit_s() + 30

    def page_limit_s(self) -> float:
        """Hard limit of a page in seconds, whatever the engine does."""
        return self.page_timeout_s + self.page_grace_s


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
