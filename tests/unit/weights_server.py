"""A file server that misbehaves as it is told, with the model hub's addresses beside plain ones."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Site:
    """Files by name, and what goes wrong with them.

    `fault` is one of none, truncate (half of the body, then the connection closes), stall (half,
    then silence), 404 and 500; it concerns files whose name ends with `fault_suffix`.
    """

    files: dict[str, bytes]
    fault: str = "none"
    fault_suffix: str = ""
    url: str = ""
    gets: list[str] = field(default_factory=list)
    complete: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)

    def fault_of(self, name: str) -> str:
        return self.fault if name.endswith(self.fault_suffix) else "none"


class Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/api/models/"):
            self.api(path, body)
            return
        name = path.rsplit("/", 1)[-1]
        fault = self.site.fault_of(name)
        if fault in ("404", "500") or name not in self.site.files:
            self.send(int(fault) if fault == "500" else 404, b"sorry", {}, body)
            return
        if body:
            self.site.gets.append(name)
        self.file(name, fault, body)

    def api(self, path: str, body: bool) -> None:
        """The two listings that the hub's client may ask for."""
        if self.site.fault in ("404", "500") and not self.site.fault_suffix:
            self.send(int(self.site.fault), b"{}", {"Content-Type": "application/json"}, body)
            return
        listing: object
        if "/tree/" in path:
            listing = [
                {"type": "file", "path": name, "size": len(data), "oid": blob_id(data)}
                for name, data in self.site.files.items()
            ]
        else:
            listing = {
                "id": "owner/Fake",
                "sha": COMMIT,
                "siblings": [{"rfilename": name} for name in self.site.files],
            }
        answer = json.dumps(listing).encode()
        self.send(200, answer, {"Content-Type": "application/json"}, body)

    def file(self, name: str, fault: str, body: bool) -> None:
        data = self.site.files[name]
        first = 0
        wanted = self.headers.get("Range")
        if wanted is not None and body:
            first = int(wanted.removeprefix("bytes=").split("-")[0])
        headers = {"ETag": f'"{blob_id(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        part = data[first:]
        self.send_response(206 if first else 200)
        for key, value in {**headers, "Content-Length": str(len(part))}.items():
            self.send_header(key, value)
        self.end_headers()
        if not body:
            return
        if fault == "none":
            self.wfile.write(part)
            self.site.complete.add(name)
            return
        self.wfile.write(part[: len(part) // 2])
        self.wfile.flush()
        if fault == "stall":
            self.site.released.wait(60)
        self.close_connection = True

    def send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


def blob_id(data: bytes) -> str:
    """An identity for a file's content."""
    return hashlib.sha256(data).hexdigest()[:40]


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """The site on a port of its own; `site.url` says where."""
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
