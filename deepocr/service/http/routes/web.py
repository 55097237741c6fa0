"""The web page: static files, its own and the viewer's, and a policy that allows nothing else."""

from collections.abc import Mapping
from importlib import resources

from fastapi import APIRouter, Response

from deepocr.render.html import viewer_asset
from deepocr.service.http.problems import Problem

router = APIRouter(include_in_schema=False)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

_TYPES = {
    "app.js": "text/javascript",
    "api.js": "text/javascript",
    "uploads.js": "text/javascript",
    "app.css": "text/css",
    "icon.svg": "image/svg+xml",
    "viewer.js": "text/javascript",
    "viewer.css": "text/css",
    "example.pdf": "application/pdf",
}


def _load() -> Mapping[str, bytes]:
    folder = resources.files("deepocr.service.http") / "web"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["example.pdf"] = (resources.files("deepocr") / "samples/report.pdf").read_bytes()
    return {**files, **{name: viewer_asset(name).encode() for name in ("viewer.js", "viewer.css")}}


_FILES = _load()


@router.get("/")
def index() -> Response:
    return Response(_FILES["index.html"], media_type="text/html", headers=HEADERS)


@router.get("/static/{name}")
def static(name: str) -> Response:
    if name not in _TYPES:
        raise Problem(404, "not-found", "there is no such file")
    return Response(_FILES[name], media_type=_TYPES[name], headers=HEADERS)
