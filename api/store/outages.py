"""A database that cannot work just now: its driver's errors become StorageUnavailable, which says what to do.

Whatever was being written is rolled back as a whole. All other errors of a driver are defects of ours and stay as they
are.
"""

from typing import Final

from sqlalchemy import Engine, ExceptionContext, event

from solon.errors import StorageUnavailable

_RETRY_S: Final = 5.0
_AGAIN: Final = "nothing was changed; try again"

_SQLITE: Final = {
    "SQLITE_FULL": ("the disk of the database is full", "make room on it; nothing was changed"),
    "SQLITE_BUSY": ("the database is locked by another process", f"{_AGAIN}, and see which process holds it"),
    "SQLITE_LOCKED": ("the database is locked by another process", f"{_AGAIN}, and see which process holds it"),
    "SQLITE_IOERR": ("the disk of the database fails", "see the disk; nothing was changed"),
    "SQLITE_READONLY": ("the database may not be written to", "give Solon the right to write to its file and folder"),
    "SQLITE_CANTOPEN": ("the database cannot be opened", "see that its folder exists and may be written to"),
}
"""By the name of the error without its extension, as in SQLITE_BUSY_SNAPSHOT."""
_POSTGRESQL: Final = {
    "53100": ("the disk of the database is full", "make room on it; nothing was changed"),
    "53": ("the database is out of resources", f"{_AGAIN}, and see its memory and max_connections"),
    "55P03": ("the database is locked by another process", f"{_AGAIN}, and see which process holds the lock"),
    "57P": ("the database is being shut down or starts", _AGAIN),
    "40": ("another transaction came between", _AGAIN),
    "25006": ("the database may not be written to", "name the primary server in `database`, not a replica"),
}
"""By the beginning of SQLSTATE."""


def explain_outages(engine: Engine) -> None:
    """From now on the engine raises StorageUnavailable where the database cannot work just now."""
    event.listen(engine, "handle_error", _explain)


def outage(error: BaseException) -> StorageUnavailable | None:
    """What a driver's error says of the database; None where it says nothing of it."""
    name, state = getattr(error, "sqlite_errorname", None), getattr(error, "sqlstate", None)
    known, code = (_SQLITE, name) if name is not None else (_POSTGRESQL, state)
    found = next((said for start, said in known.items() if (code or "").startswith(start)), None)
    return None if found is None else _unavailable(*found)


def _explain(context: ExceptionContext) -> None:
    if context.is_pre_ping:
        return  # the pool connects again
    error = context.original_exception
    found = outage(error)
    connecting = context.connection is None and type(error).__name__ in ("OperationalError", "ConnectionTimeout")
    if found is None and (context.is_disconnect or connecting):
        found = _unavailable("the database cannot be reached", "see that it runs and that `database` names it")
    if found is not None:
        raise found from error


def _unavailable(message: str, remedy: str) -> StorageUnavailable:
    return StorageUnavailable(message, remedy=remedy, retry_after_s=_RETRY_S)
