"""Errors as RFC 9457 problem+json. They name the field and the remedy and never repeat what the client sent."""

import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import TimeoutError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.request_ids import REQUEST_ID
from solon.documents import dotted, place
from solon.errors import (
    Busy,
    Conflict,
    NotFound,
    SolonError,
    StillRunning,
    StorageUnavailable,
    Unauthorized,
    UsageError,
)

MEDIA_TYPE = "application/problem+json"
MAX_BODY_BYTES = 4 << 20
"""Of a request; uploads have a limit of their own."""
_TOO_LARGE = (f"the body has more than {MAX_BODY_BYTES >> 20} MiB", "send less at once, or upload a file to /v1/files")
_HOST = ("the service is not reached by the name in Host", "an operator adds it to `hosts` of the settings")
_UNREADABLE = "send JSON in UTF-8"
_QUOTED = re.compile(r"""(?<!\w)(['"]).*?\1(?!\w)""")


class Problem(BaseModel):
    """An error answer, RFC 9457."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None
    """Dotted path of what is wrong in the request."""
    remedy: str | None = None
    """What to do."""
    errors: list[dict[str, str | None]] | None = None
    """All that is wrong in the request, each with `field` and `message`."""
    components: list[dict[str, Any]] | None = None
    """Of /readyz: what the service needs, each with `name`, `status`, `detail` and `remedy`."""
    request_id: str | None = None
    """Stands in the server's log lines about this request."""


RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457).",
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
}
"""For the OpenAPI document: every route may answer with a problem."""


def problem(status: int, detail: str = "", *, headers: dict[str, str] | None = None, **members: Any) -> JSONResponse:
    """A problem document with its extension members."""
    named: dict[str, Any] = {"request_id": REQUEST_ID.get()} | members
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, **named)
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def install(app: FastAPI) -> None:
    """Answer every error of the app as a problem."""
    app.add_exception_handler(SolonError, _solon_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(TimeoutError, _no_connection)
    app.add_exception_handler(Exception, _bug)


async def _solon_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SolonError)  # noqa: S101 - registered for this class
    return solon_problem(error)


def solon_problem(error: SolonError) -> JSONResponse:
    """The answer to an error of ours."""
    # The message of a NotFound holds the name that was asked for; field and remedy say what is known.
    detail = "the request names something that is not here" if isinstance(error, NotFound) else error.message
    if isinstance(error, UsageError):
        detail = _QUOTED.sub("...", detail)  # what our messages quote is what they were given
    return problem(error.http_status, detail, headers=_headers(error), field=error.field, remedy=error.remedy or None)


def _headers(error: SolonError) -> dict[str, str]:
    """When to try again, or that it is of no use: OpenAI's clients try again after a 409 unless they are told."""
    match error:
        case Busy() | StorageUnavailable():
            return {"Retry-After": f"{max(1, round(error.retry_after_s))}"}
        case StillRunning():
            return {"Retry-After": "1"}
        case Conflict():
            return {"x-should-retry": "false"}
        case Unauthorized():
            return {"WWW-Authenticate": 'Bearer realm="solon"'}
        case _:
            return {}


async def _invalid_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    if isinstance(error.body, bytes):  # it was not read as JSON, whatever it is
        remedy = "send it with Content-Type: application/json"
        return problem(415, "the body is not said to be JSON", field="Content-Type", remedy=remedy)
    # In the body, keep what the body has: pydantic also names the member of a union that it tried.
    errors = [{"field": _field(found, error.body), "message": _message(found)} for found in error.errors()]
    first = errors[0]
    detail = f"{first['field']}: {first['message']}" if first["field"] else str(first["message"])
    return problem(422, detail, field=first["field"], errors=errors)


def _field(found: dict[str, Any], body: Any) -> str | None:
    where, *path = found["loc"]
    # A key or parameter that is not expected is the client's own text.
    shown = path[:-1] if found["type"] == "extra_forbidden" else path
    if where != "body":
        return dotted(tuple(shown))
    return dotted(place(tuple(shown), body, absent=found["type"] == "missing"))


def _message(found: dict[str, Any]) -> str:
    if found["type"] == "json_invalid":
        return "the body is not JSON"
    return str(found["msg"]).removeprefix("Value error, ")


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            detail, remedy = "see /docs for the routes", None
        case 405:
            headers["Allow"] = allowed = _methods(request)
            detail, remedy = "the route does not have this method", f"it has: {allowed}"
        case 413:
            detail, remedy = _TOO_LARGE
        case 400:
            detail, remedy = _unreadable(error.__cause__), _UNREADABLE
        case _:
            detail, remedy = "", None
    return problem(error.status_code, detail, headers=headers, remedy=remedy)


def _methods(request: Request) -> str:
    """Of all routes with the request's path; starlette names those of the first one."""
    contexts = iter_route_contexts(request.app.routes)
    found = [each.methods or set() for each in contexts if each.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted(set().union(*found)))


def _unreadable(error: BaseException | None) -> str:
    """What is wrong with a body that breaks the parser."""
    match error:
        case UnicodeDecodeError():
            return "the body is not UTF-8"
        case RecursionError():
            return "the body is nested too deeply"
        case ValueError():
            return "a number in the body has too many digits"
        case _:
            return "the body cannot be read"


async def _no_connection(_: Request, error: Exception) -> JSONResponse:
    """The pool of database connections: all were in use for as long as one waits."""
    return solon_problem(Busy("all connections to the database are in use", retry_after_s=5))


async def _bug(_: Request, error: Exception) -> JSONResponse:
    """A defect of ours: the client learns that much; starlette raises it again into the server's log."""
    return bug()


def bug() -> JSONResponse:
    """The answer to a request on which we failed."""
    return problem(500, "the server failed on this request; its log says why", remedy="report it with the request_id")


class PlainErrors:
    """Middleware that turns the plain-text errors of other middleware (host, body size) into problems."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and its answer back."""
        replaced = False

        async def answer(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and _is_plain_error(message):
                replaced = True
                detail, remedy = {400: _HOST, 413: _TOO_LARGE}.get(message["status"], ("", None))
                await problem(message["status"], detail, remedy=remedy)(scope, receive, send)
            elif not replaced:
                await send(message)

        await self._app(scope, receive, answer)


def _is_plain_error(message: Message) -> bool:
    kind = Headers(raw=message["headers"]).get("content-type", "")
    return message["status"] >= 400 and kind.startswith("text/plain")
