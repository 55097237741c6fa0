"""A server that speaks Cog's HTTP API and misbehaves as it is told, page by page.

Pages are told apart by their width: page n is WIDTH_0 + n pixels wide.
"""

import base64
import gzip
import itertools
import json
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from deepocr.render.json import page_to_dict
from deepocr.types import PageResult, Region

WIDTH_0 = 400
SCHEMA: dict[str, Any] = {
    "components": {
        "schemas": {
            "Input": {
                "properties": {
                    "image": {},
                    "task_type": {},
                    "resolution_size": {},
                    "output_format": {},
                    "max_new_tokens": {},
                }
            },
            "output_format": {"enum": ["Raw", "Markdown", "JSON"]},
        }
    }
}


def answer(page: int, finish_reason: str = "stop", text: str | None = None) -> str:
    """What a predictor of this project says about a page in JSON."""
    said = f"text of page {page}" if text is None else text
    result = PageResult(
        1, "ok", (10, 10), said, (Region("text", said),) if said else (), confidence=0.9
    )
    plain = {**page_to_dict(result), "finish_reason": finish_reason}
    return json.dumps({"schema_version": 1, "pages": [plain]})


class FaultyServer:
    """`plan[page]` names what happens at each try of it, the last for all after; see FAULTS."""

    def __init__(
        self,
        plan: Mapping[int, Sequence[str]] | None = None,
        default: Sequence[str] = ("ok",),
        slots: int = 64,
        schema: Any = SCHEMA,
    ) -> None:
        self.plan = plan or {}
        self.default = default
        self.slots = slots
        self.schema = schema
        self.tries: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.most_at_once = 0
        self.at_once = 0
        self.health: object = "READY"
        self.stopped = False
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "FaultyServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Gone: connections are refused from now on, and open ones broken off."""
        self.stopped = True
        self._server.shutdown()
        self._server.server_close()

    def begin(self, page: int, inputs: dict[str, Any]) -> str | None:
        """Count the try; returns what is to happen, None when all slots are busy."""
        with self._lock:
            if self.at_once >= self.slots:
                return None
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            faults = self.plan.get(page, self.default)
            place = min(len(self.tries[page]), len(faults) - 1)
            self.tries[page].append({k: v for k, v in inputs.items() if k != "image"})
            return faults[place]

    def end(self) -> None:
        with self._lock:
            self.at_once -= 1


Handler = Any


def _say(handler: Handler, page: int, **kwargs: Any) -> None:
    handler.reply(200, {"status": "succeeded", "output": answer(page, **kwargs)})


def _half(handler: Handler, page: int) -> None:
    body = json.dumps({"status": "succeeded", "output": answer(page)}).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def _garbage(handler: Handler, page: int) -> None:
    body = b"<html>\x00\xff it works!"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _no_document(handler: Handler, page: int) -> None:
    handler.reply(200, {"status": "succeeded", "output": "[1, 2"})


def _silence(handler: Handler, page: int) -> None:
    time.sleep(60)


def _slow(handler: Handler, page: int) -> None:
    time.sleep(0.2)
    _say(handler, page)


def _loop(handler: Handler, page: int) -> None:
    _say(handler, page, finish_reason="repetition", text="la la " * 300)


def _loop_unless_large(handler: Handler, page: int) -> None:
    if handler.inputs["resolution_size"] == "Large":
        _say(handler, page)
    else:
        _loop(handler, page)


def _crash(handler: Handler, page: int) -> None:
    handler.faulty.health = "UNHEALTHY"
    handler.faulty.default = ("409",)
    handler.reply(200, {"status": "failed", "error": "Worker crashed"})


def _send(handler: Handler, body: bytes, **headers: str) -> None:
    handler.send_response(200)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def _trouble_in(charset: str) -> Callable[[Handler, int], None]:
    return lambda handler, _: handler.reply(
        500, {"error": "boom"}, f"text/plain; charset={charset}"
    )


def _succeed_with(raw: str) -> Callable[[Handler, int], None]:
    """A prediction whose document is this text."""
    return lambda handler, _: handler.reply(200, {"status": "succeeded", "output": raw})


def _page_with(**changes: Any) -> Callable[[Handler, int], None]:
    """The usual page but for some keys."""

    def say(handler: Handler, page: int) -> None:
        document = json.loads(answer(page))
        document["pages"][0].update(changes)
        _succeed_with(json.dumps(document))(handler, page)

    return say


def _region_with(**changes: Any) -> Callable[[Handler, int], None]:
    region = {"label": "text", "text": "far away", "boxes_px": [], "boxes_raw": [], **changes}
    return _page_with(regions=[region])


def _without_end(piece: bytes, pause_s: float = 0.0) -> Callable[[Handler, int], None]:
    """Chunks for ever: as fast as they are taken, or a drip that no timeout of a read notices."""

    def say(handler: Handler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for _turn in itertools.count():
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            time.sleep(pause_s)

    return say


def _told(**content: Any) -> Callable[[Handler, int], None]:
    return lambda handler, page: handler.reply(200, {"output": answer(page), **content})


DEEP = "[" * 200_000
HOSTILE: Mapping[str, Callable[[Handler, int], None]] = {
    "deep answer": lambda handler, _: _send(handler, b'{"output": ' + DEEP.encode()),
    "deep document": _succeed_with(DEEP),
    "half a pair": _page_with(raw="\ud800", regions=[]),
    "not UTF-8": lambda handler, _: _send(handler, b'{"status": "succeeded", "output": "\xff"}'),
    "a long number": _succeed_with('{"pages": [{"status": "ok", "raw": "", "usage": ' + "9" * 9999),
    "box of words": _region_with(boxes_px=[["a", "b", "c", "d"]]),
    "box of NaN": _region_with(boxes_px=[[float("nan"), 0, 5, 5]]),
    "box of infinity": _region_with(boxes_px=[[0, 0, float("inf"), 5]]),
    "box of three": _region_with(boxes_px=[[1, 2, 3]]),
    "no text": _region_with(text=None),
    "a list for a page": _succeed_with('{"pages": [[]]}'),
    "a text for regions": _page_with(regions="abc"),
    "countless regions": _page_with(regions=[{"label": "text", "text": "x"}] * 100_000),
    "more tokens than there are": _page_with(usage={"prompt_tokens": 10**30, "output_tokens": -1}),
    "a surety beyond 1": _page_with(confidence=1e300),
    "no reason to end": _page_with(finish_reason=["stop"]),
    "list for a status": _told(status=["succeeded"]),
    "object for an output": _told(status="succeeded", output={"pages": []}),
    "numbers for an output": _told(status="succeeded", output=[1, 2]),
    "an odd error": _told(status="failed", error={"why": ["\ud800\x1b[31m\n"] * 99_999}),
    "a long error": _told(status="failed", error="no " * 99_999),
    "an error of the page": _page_with(status="failed", error="\x1b[2J" + "no " * 99_999),
    "compressed": lambda handler, _: _send(
        handler, gzip.compress(bytes(1 << 28)), Content_Encoding="gzip"
    ),
    "an odd encoding": lambda handler, _: _send(handler, b"{}", Content_Encoding="gzip, br"),
    "endless": _without_end(b" " * 65536),
    "drip": _without_end(b" ", 0.05),
    "a moved server": lambda handler, _: (
        handler.send_response(302),
        handler.send_header("Location", "http://169.254.169.254/"),
        handler.send_header("Content-Length", "0"),
        handler.end_headers(),
    )[0],
}
"""Answers that nothing can be read from."""

ODD: Mapping[str, Callable[[Handler, int], None]] = {
    "box beyond all numbers": _region_with(boxes_px=[[10**30, 10**30, 10**31, 10**31]]),
    "box far below": _region_with(boxes_px=[[0, -(10**9), 10**9, 10**9]]),
    "a tall line": _region_with(
        boxes_px=[[0, 0, 50, 50]],
        lines=[
            {
                "text": "far away",
                "quad_px": [[0, 0], [10**9, 0], [10**9, 10**9], [0, 10**9]],
                "confidence": 1.0,
            }
        ],
    ),
    "endless seconds": _told(status="succeeded", metrics={"predict_time": float("inf")}),
    "seconds beyond all numbers": _told(status="succeeded", metrics={"predict_time": 10**400}),
    "text for seconds": _told(status="succeeded", metrics=["x"]),
}
"""Answers with something odd in them, which is left out."""

FAULTS: Mapping[str, Callable[[Handler, int], None]] = {
    **HOSTILE,
    **ODD,
    "ok": _say,
    "slow": _slow,
    "401": lambda handler, _: handler.reply(401, {"error": "who are you"}),
    "409": lambda handler, _: handler.reply(409, {"error": "At capacity"}),
    "422": lambda handler, _: handler.reply(422, {"detail": "no"}),
    "500": lambda handler, _: handler.reply(500, {"error": "boom"}),
    "500 in hex": _trouble_in("hex"),
    "500 in UTF-16": _trouble_in("utf-16"),
    "503": lambda handler, _: handler.reply(503, {"error": "not yet"}),
    "failed": lambda handler, _: handler.reply(200, {"status": "failed", "error": "bad page"}),
    "garbage": _garbage,
    "no document": _no_document,
    "half": _half,
    "silence": _silence,
    "loop": _loop,
    "loop unless large": _loop_unless_large,
    "empty": lambda handler, page: _say(handler, page, text=""),
    "cut": lambda handler, page: _say(handler, page, finish_reason="length"),
    "crash": _crash,
}


def _handler(faulty: FaultyServer) -> type[BaseHTTPRequestHandler]:
    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        inputs: dict[str, Any]

        def reply(self, code: int, content: Any, kind: str = "application/json") -> None:
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            if self.path == "/health-check":
                self.reply(200, {"status": faulty.health})
            elif self.path == "/openapi.json" and faulty.schema is not None:
                self.reply(200, faulty.schema)
            else:
                self.reply(503, {})

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self.inputs = json.loads(self.rfile.read(length))["input"]
            png = base64.b64decode(self.inputs["image"].partition(",")[2])
            page = struct.unpack(">I", png[16:20])[0] - WIDTH_0
            if faulty.stopped:
                self.close_connection = True
                return
            fault = faulty.begin(page, self.inputs)
            if fault is None:
                self.reply(409, {"error": "At capacity"})
                return
            try:
                FAULTS[fault](self, page)
            except OSError:
                # the client has given up
                self.close_connection = True
            finally:
                faulty.end()

        def log_message(self, *_: object) -> None:
            pass

    _Handler.faulty = faulty  # type: ignore[attr-defined]
    return _Handler
