"""The service's audits, at work: each is a task of the server, and its report goes to the database.

    async with Auditor(store, settings, models) as auditor:
        auditor.start(audit.id, rows, constitution, request)

An audit ends with the server: one that was running then is failed when the next server starts.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from api.audit_page import document
from api.auditing import AuditRequest, audit_judge
from api.registry import Models
from api.store.audits import AuditStore
from constitution.document import Constitution
from critic.cache import Cache
from solon.errors import Busy, SolonError
from solon.rows import Row
from solon.settings import Settings

_INTERRUPTED: Final[dict[str, Any]] = {
    "message": "the server stopped while the audit was running",
    "remedy": "ask for it again",
    "field": None,
}


class Auditor:
    """Runs audits. Use as `async with Auditor(...) as auditor`."""

    def __init__(self, store: AuditStore, settings: Settings, models: Models, cache: Cache | None = None) -> None:
        self.store = store
        self._settings = settings
        self._models = models
        self._cache = cache
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.store.fail_interrupted, _INTERRUPTED)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.store.fail_interrupted, _INTERRUPTED)

    def require_room(self) -> None:
        """Raises Busy where as many audits run as the settings allow."""
        if len(self._tasks) >= self._settings.limits.audits_running:
            raise Busy("as many audits as the server takes are running", retry_after_s=30)

    def start(
        self,
        audit_id: str,
        rows: Mapping[str, Sequence[Row]],
        constitution: Constitution,
        request: AuditRequest,
        models: Models | None = None,
        cache: Cache | None = None,
    ) -> None:
        """Begin the audit stored under this id; `models` and `cache` are those of a project."""
        asked = (models, cache) if models is not None else (self._models, self._cache)
        task = asyncio.create_task(self._work(audit_id, rows, constitution, request, *asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(
        self,
        audit_id: str,
        rows: Mapping[str, Sequence[Row]],
        constitution: Constitution,
        request: AuditRequest,
        models: Models,
        cache: Cache | None,
    ) -> None:
        """The report, or why there is none: the one place where a failed audit becomes a stored error."""
        try:
            report = await audit_judge(rows, constitution, request, self._settings, lambda _: None, models, cache)
        except SolonError as error:
            said = {"message": error.message, "remedy": error.remedy, "field": error.field}
            await asyncio.to_thread(self.store.finish, audit_id, error=said)
        except Exception:
            said = {"message": "the audit failed; the server's log says why", "remedy": "", "field": None}
            await asyncio.to_thread(self.store.finish, audit_id, error=said)
            raise
        else:
            await asyncio.to_thread(self.store.finish, audit_id, report=document(report))
