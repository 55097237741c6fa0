"""Errors as RFC 9457 problem details: JSON that says what is wrong and what to do."""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

from deepocr.errors import (
    DeepOCRError,
    DocumentTooLarge,
    InvalidInput,
    PageRangeError,
    PageTooCostly,
    PasswordNeeded,
    UnknownFormat,
    UnreadableDocument,
    UnsupportedTask,
)
from deepocr.service.http.fetch import AddressRefused
from deepocr.service.state.files import NoRoomError
from deepocr.service.state.records import (
    NoBytesLeftError,
    QueueFullError,
    TooManyBytesError,
    TooManyTasksError,
)
from deepocr.service.state.store import StoreUnavailableError
from deepocr.service.work.helpers import HelperFailed

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 10


class ProblemDetails(BaseModel):
    """What every error of the service looks like."""

    type: str = Field(examples=["urn:deepocr:problem:document-too-large"])
    title: str = Field(examples=["Content Too Large"])
    status: int = Field(examples=[413])
    detail: str = Field(examples=["the file has 2,000,000 bytes; at most 1,000,000 are read"])


class Problem(DeepOCRError):
    """An error with its HTTP status; `slug` becomes the problem's type."""

    def __init__(
        self, status: int, slug: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self, **more: Any) -> JSONResponse:
        details = ProblemDetails(
            type=f"urn:deepocr:problem:{self.slug}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
        )
        content = {**details.model_dump(), **more}
        return JSONResponse(
            content, status_code=self.status, headers=self.headers, media_type=MEDIA_TYPE
        )


# the first match counts, so subclasses come before their bases; without a text of its own the
# error's message is used
_PROBLEMS: tuple[tuple[type[DeepOCRError], int, str, str], ...] = (
    (DocumentTooLarge, 413, "document-too-large", ""),
    (UnknownFormat, 415, "unsupported-document", ""),
    (PageTooCostly, 422, "page-too-costly", ""),
    (UnreadableDocument, 422, "unreadable-document", ""),
    (PasswordNeeded, 422, "password-needed", ""),
    (PageRangeError, 422, "bad-page-range", ""),
    (UnsupportedTask, 422, "unsupported-task", ""),
    (AddressRefused, 422, "address-refused", ""),
    (InvalidInput, 422, "invalid-input", ""),
    (TooManyTasksError, 429, "too-many-tasks",
     "you have as many unfinished tasks as one client may have; wait for some to end"),
    (QueueFullError, 503, "queue-full", "the queue is full; try again later"),
    (TooManyBytesError, 413, "too-many-bytes",
     "you keep as many bytes as one client may; delete tasks or wait until they expire"),
    (NoBytesLeftError, 507, "storage-full",
     "the service keeps as many bytes as it may; try again when tasks have expired"),
    (StoreUnavailableError, 503, "queue-unavailable",
     "the queue cannot be reached just now; try again later"),
    (HelperFailed, 503, "took-too-long", "the answer could not be made: {}"),
    (NoRoomError, 503, "storage-full", "there is no room for more documents now"),
)  # fmt: skip


def problem_of(error: Exception) -> Problem | None:
    """The Problem for an exception that concerns the client; None for our own bugs."""
    if isinstance(error, Problem):
        return error
    for kind, status, slug, detail in _PROBLEMS:
        if isinstance(error, kind):
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                log.error("%s: %s", slug, error)
            wrong = isinstance(error, InvalidInput)
            headers = {} if wrong else {"Retry-After": str(RETRY_AFTER_S)}
            return Problem(status, slug, detail.format(error) or str(error), headers)
    return None


def refuse_options(options: Mapping[str, Any], refused: Mapping[str, tuple[Any, ...]]) -> None:
    """Raises InvalidInput for unsupported options, unless their value means "off"."""
    for name, harmless in refused.items():
        if options.get(name) is not None and options[name] not in harmless:
            raise InvalidInput(f"{name} is not supported here; leave it out")


def add_problem_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every error response of the app a problem. `routes` tell which methods a path allows:
    Starlette reports those of the first route only."""

    def known(request: Request, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        return problem.response(**_openai_error(request, problem)) if problem else failed(error)

    def validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        # without the value: it may be a whole document, or a password
        found = [
            {"where": _where(item["loc"]), "message": _SENTENCES.get(item["type"], item["msg"])}
            for item in error.errors()
        ]
        first = found[0] if found else {"where": "request", "message": "is not valid"}
        detail = f"{first['where']}: {first['message']}"
        problem = Problem(422, "invalid-request", detail)
        return problem.response(errors=found, **_openai_error(request, problem))

    def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        slug = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        problem = Problem(error.status_code, slug, str(error.detail), error.headers)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            problem.headers["Allow"] = ", ".join(sorted(_methods(routes, request)))
        return problem.response(**_openai_error(request, problem))

    def failed(error: Exception) -> JSONResponse:
        log.error("a request failed", exc_info=error)
        return Problem(500, "internal-error", "the service failed; its log says why").response()

    app.add_exception_handler(DeepOCRError, known)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, lambda _, error: failed(error))


_SENTENCES: Mapping[str, str] = {
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dict_type"), "Input should be an object"
    ),
    "list_type": "Input should be a list",
}
"""Replacements for pydantic messages that use Python terms."""

_INNER = re.compile(r"[A-Z\[]|^(str|int|constrained-str)$")
"""Class names of union members, which pydantic puts between the field names."""


def _where(place: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in place if not _INNER.search(str(part)))


def _methods(routes: Sequence[BaseRoute], request: Request) -> set[str]:
    return {
        method
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE
        for method in route.methods or ()
    }


def _openai_error(request: Request, problem: Problem) -> dict[str, Any]:
    """OpenAI's and Mistral's clients look for an error here; problem details may have more keys."""
    if not request.url.path.startswith("/v1/"):
        return {}
    kind = "server_error" if problem.status >= 500 else "invalid_request_error"
    return {"error": {"message": problem.detail, "type": kind, "code": problem.slug}}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses` for OpenAPI: the problems it may return."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "model": ProblemDetails,
            "content": {MEDIA_TYPE: {}},
        }
        for status in statuses
    }
