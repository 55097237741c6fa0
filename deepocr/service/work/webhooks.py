"""A signed message to the client's address when its task is final."""

import asyncio
import hashlib
import hmac
import json
import time

from deepocr.errors import InvalidInput
from deepocr.service.http import fetch
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.records import Snapshot

SIGNATURE = "X-DeepOCR-Signature"


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """`t=TIMESTAMP,v1=HEX`: HMAC-SHA256 over the timestamp, a dot and the body."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"t={timestamp},v1={digest.hexdigest()}"


async def check_webhook(settings: ServiceSettings, url: str) -> None:
    """Raises InvalidInput when no webhook could ever reach this address."""
    if not settings.webhook_secret.get_secret_value():
        raise InvalidInput("webhooks are off here: DEEPOCR_WEBHOOK_SECRET is not set")
    await fetch.pin(url, trusted_hosts=settings.trusted_hosts())


def send_webhook(settings: ServiceSettings, snapshot: Snapshot) -> None:
    """What became of the task, without its text. Blocking.

    Raises httpx.HTTPError when it should be sent again.
    """
    record = snapshot.record
    if record.webhook is None:
        return
    content = {
        "task_id": record.task_id,
        "status": snapshot.state,
        "error": snapshot.error,
        "pages": len(record.numbers),
        "finished_at": snapshot.finished_s,
    }
    body = json.dumps(content).encode()
    signature = sign(settings.webhook_secret.get_secret_value(), int(time.time()), body)
    headers = {"Content-Type": "application/json", SIGNATURE: signature}
    asyncio.run(fetch.post(record.webhook, body, headers, settings.trusted_hosts()))
