"""An S3 of one's own: moto's server, spoken to as any other."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of an empty bucket; the environment leads there, for child processes too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    before = dict(os.environ)
    os.environ.update({**SETTINGS, "AWS_ENDPOINT_URL": url})
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(url)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # those of another server
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    finally:
        server.kill()
        server.wait()
        os.environ.clear()
        os.environ.update(before)


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the S3 server does not answer")
