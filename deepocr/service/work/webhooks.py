"""Signed messages to clients' addresses when their tasks are final, after Standard Webhooks."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import threading
import time

from deepocr.errors import InvalidInput, StorageError, reason
from deepocr.service.http import fetch
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.records import Snapshot
from deepocr.service.state.store import Store

log = logging.getLogger(__name__)

PAUSES_S = (2, 10, 60, 300, 1800)
"""Pauses after failed tries in seconds; there is one more try than pauses."""

AT_ONCE = 16
TRY_S = 30.0
LOOK_S = 0.5


def headers_of(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Standard Webhooks' headers, and the service's own older one.

    Libraries take the key in base64 after `whsec_`; any other secret is the key itself.
    """
    key = secret.encode()
    if secret.startswith("whsec_"):
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    own = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
        "X-DeepOCR-Signature": f"t={timestamp},v1={own}",
    }


async def check_webhook(settings: ServiceSettings, url: str) -> None:
    """Raises InvalidInput when no webhook could ever reach this address."""
    if not settings.webhook_secret.get_secret_value():
        raise InvalidInput("webhooks are off here: DEEPOCR_WEBHOOK_SECRET is not set")
    await fetch.pin(url, trusted_hosts=settings.trusted_hosts())


class WebhookSender:
    """Sends due webhooks. The store keeps the due times, so a restart loses none."""

    def __init__(self, settings: ServiceSettings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._sending: set[asyncio.Task[None]] = set()

    def run(self, stop: threading.Event) -> None:
        """Send until stopped. Blocking, with its own event loop."""
        asyncio.run(self._send_until(stop))

    async def _send_until(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                while len(self._sending) < AT_ONCE:
                    now_s = time.time()
                    taken = await asyncio.to_thread(
                        self._store.take_webhook, now_s, now_s + 2 * TRY_S
                    )
                    if taken is None:
                        break
                    task = asyncio.create_task(self._try(*taken))
                    self._sending.add(task)
                    task.add_done_callback(self._sending.discard)
            except StorageError as error:
                log.warning("webhooks are put off: %s", error)
            await asyncio.sleep(LOOK_S)

    async def _try(self, task_id: str, tries: int) -> None:
        """One try; if the store is unavailable, it is tried again when the lease ends."""
        try:
            snapshot = await asyncio.to_thread(self._store.task, task_id)
            due_s = None
            if snapshot is not None and not await self._sent(snapshot) and tries <= len(PAUSES_S):
                due_s = time.time() + PAUSES_S[tries - 1]
            await asyncio.to_thread(self._store.put_webhook, task_id, due_s)
        except StorageError as error:
            log.warning("a webhook is put off: %s", error)

    async def _sent(self, snapshot: Snapshot) -> bool:
        """Send the task's final state, without its text. False if it should be sent again."""
        record = snapshot.record
        if record.webhook is None:
            return True
        content = {
            "task_id": record.task_id,
            "status": snapshot.state,
            "error": snapshot.error,
            "pages": len(record.numbers),
            "finished_at": snapshot.finished_s,
        }
        body = json.dumps(content).encode()
        secret = self._settings.webhook_secret.get_secret_value()
        headers = headers_of(secret, record.task_id, int(time.time()), body)
        try:
            async with asyncio.timeout(TRY_S):
                await fetch.post(record.webhook, body, headers, self._settings.trusted_hosts())
        except Exception as error:  # noqa: BLE001 - a client's address must not stop the others
            log.warning("webhook of task %s failed: %s", record.task_id, reason(error))
            return False
        return True
