"""Log lines: JSON on standard error, or coloured lines on a terminal; every one passes the redaction.

All of Python's logging goes the same way, so what libraries say (uvicorn, SQLAlchemy) is redacted as our own lines are.
Prompts and completions are not logged: a line has no such field, and an exception is told by its class and where it was
raised; the message is given only of errors of our own making and of the system.
"""

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import structlog
from pydantic import ValidationError
from structlog.typing import EventDict, Processor

from api.redaction import Secrets
from api.request_ids import REQUEST_ID
from solon.errors import SolonError, UsageError

Format = Literal["auto", "json", "console"]
LEVELS: Final = ("debug", "info", "warning", "error")

_TEXTS: Final = frozenset(
    {
        "prompt",
        "prompts",
        "completion",
        "completions",
        "messages",
        "text",
        "body",
        "content",
        "response_a",
        "response_b",
    }
)
"""Fields that would hold what people or models wrote."""
_FRAMES: Final = 12


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines are events with fields; where nothing is set up, as in a script, warnings are seen."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def set_up(secrets: Secrets, level: str = "info", form: Format = "auto", stream: TextIO | None = None) -> None:
    """Send every log line of the process to the stream, by default standard error."""
    where = stream or sys.stderr
    console = form == "console" or (form == "auto" and where.isatty())
    drawn: Processor = (
        structlog.dev.ConsoleRenderer(colors=where.isatty()) if console else structlog.processors.JSONRenderer()
    )
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _Redaction(secrets), drawn]
    handler = logging.StreamHandler(where)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):  # theirs would be written twice, and not redacted
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    dbos = logging.getLogger("dbos")  # where it finds no handler, it adds one of its own and passes nothing on
    dbos.handlers[:] = [logging.NullHandler()]
    dbos.propagate = True
    for name in ("httpx2", "httpcore2", "sqlalchemy.engine", "asyncio", "alembic.runtime.plugins"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _is_news(record: logging.LogRecord) -> bool:
    """Not what `api.traffic` has said already, with the request's id."""
    return not record.getMessage().startswith("Exception in ASGI application")


def _add_request_id(_: Any, __: str, event: EventDict) -> EventDict:
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    return event


def _add_exception(_: Any, __: str, event: EventDict) -> EventDict:
    """An exception as fields: class, places, and its message where that is no echo of somebody's text."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["error"] = describe(error)
        event["where"] = places(error.__traceback__)
    return event


def describe(error: BaseException) -> str:
    """The class of an error and those it came from, with the messages that may be shown."""
    told: list[str] = []
    current: BaseException | None = error
    while current is not None and len(told) < 5:
        name = type(current).__name__
        if isinstance(current, ValidationError):
            name += f" in {current.title}"
        elif isinstance(current, SolonError | OSError) and not isinstance(current, UsageError):
            name += f": {current}"
        told.append(name)
        current = current.__cause__ or current.__context__
    return "; from ".join(told)


def places(where: TracebackType | None) -> list[str]:
    """File, line and function of each frame, the one that raised last; no source text, no values."""
    frames = traceback.extract_tb(where)[-_FRAMES:]
    return [f"{frame.filename.rpartition('/site-packages/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


def _drop_texts(_: Any, method: str, event: EventDict) -> EventDict:
    if method == "debug":
        return event
    for name in _TEXTS & event.keys():
        event[name] = "[text]"
    return event


_SHARED: Final[list[Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _add_request_id,
    _add_exception,
    _drop_texts,
]


class _Redaction:
    """The last word on every line."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """The line without secrets."""
        return {name: self._secrets.cleaned({name: value})[name] for name, value in event.items()}
