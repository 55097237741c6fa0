"""Errors as RFC 9457 problem details: JSON that says what is wrong and what would be right."""

import logging
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


class Problem(Exception):
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


# the first class that fits, so the special ones stand before their bases
_INPUT_PROBLEMS: tuple[tuple[type[InvalidInput], int, str], ...] = (
    (DocumentTooLarge, 413, "document-too-large"),
    (UnknownFormat, 415, "unsupported-document"),
    (PageTooCostly, 422, "page-too-costly"),
    (UnreadableDocument, 422, "unreadable-document"),
    (PasswordNeeded, 422, "password-needed"),
    (PageRangeError, 422, "bad-page-range"),
    (UnsupportedTask, 422, "unsupported-task"),
    (AddressRefused, 422, "address-refused"),
    (InvalidInput, 422, "invalid-input"),
)


def problem_of(error: Exception) -> Problem | None:
    """The problem that an exception means to a client; None for a mistake of our own."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InvalidInput):
        for kind, status, slug in _INPUT_PROBLEMS:
            if isinstance(error, kind):
                return Problem(status, slug, str(error))
    retry = {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(error, TooManyTasksError):
        detail = "you have as many unfinished tasks as one client may have; wait for some to end"
        return Problem(429, "too-many-tasks", detail, retry)
    if isinstance(error, QueueFullError):
        return Problem(503, "queue-full", "the queue is full; try again later", retry)
    if isinstance(error, TooManyBytesError):
        detail = "you keep as many bytes as one client may; delete tasks or wait until they expire"
        return Problem(413, "too-many-bytes", detail, retry)
    if isinstance(error, NoBytesLeftError):
        detail = "the service keeps as many bytes as it may; try again when tasks have expired"
        return Problem(507, "storage-full", detail, retry)
    if isinstance(error, StoreUnavailableError):
        log.error("the queue cannot be reached: %s", error)
        detail = "the queue cannot be reached just now; try again later"
        return Problem(503, "queue-unavailable", detail, retry)
    if isinstance(error, HelperFailed):
        return Problem(503, "took-too-long", f"the answer could not be made: {error}", retry)
    if isinstance(error, NoRoomError):
        log.error("the data folder takes no more: %s", error)
        return Problem(503, "storage-full", "there is no room for more documents now", retry)
    return None


def refuse_options(options: Mapping[str, Any], refused: Mapping[str, tuple[Any, ...]]) -> None:
    """Raises InvalidInput for what is not heeded here, unless its value asks for nothing."""
    for name, harmless in refused.items():
        if options.get(name) is not None and options[name] not in harmless:
            raise InvalidInput(f"{name} is not supported here; leave it out")


def add_problem_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every error response of the app a problem. `routes` are asked which methods a path has:
    Starlette tells those of the first route alone."""

    def known(request: Request, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        assert problem is not None
        return problem.response(**_openai_error(request, problem))

    def validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        # not the value itself: it may be a whole document, or a password
        found = [
            {"where": ".".join(map(str, item["loc"])), "message": item["msg"]}
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

    def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("a request failed", exc_info=error)
        return Problem(500, "internal-error", "the service failed; its log says why").response()

    for kind in (
        Problem,
        InvalidInput,
        TooManyTasksError,
        QueueFullError,
        TooManyBytesError,
        NoBytesLeftError,
        StoreUnavailableError,
        NoRoomError,
        HelperFailed,
    ):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


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
    """For a route's `responses`: which problems it answers with."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "model": ProblemDetails,
            "content": {MEDIA_TYPE: {}},
        }
        for status in statuses
    }
