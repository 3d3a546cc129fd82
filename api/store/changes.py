"""The change log: who changed what, when. It only grows; triggers in the database refuse anything else."""

import time
from typing import Literal

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api.ids import new_id
from api.store.database import reading
from api.store.tables import ChangeRow
from solon.records import Record


class Change(Record):
    """One change that was made."""

    object: Literal["change"] = "change"
    id: str
    project: str
    """Of whoever made it."""
    at: float
    """Unix time in seconds."""
    key: str | None
    """Id of the key; None for changes made on the server's machine without one."""
    name: str
    """Of the key."""
    action: str
    """Method and route, such as `POST /v1/keys`, or the command."""
    target: str
    """What was changed: the path, or the id of what was made."""
    status: int
    """Of the answer; 0 for a command."""
    request_id: str | None = None


class ChangeStore:
    """All changes of one database. Methods block; call them from a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(
        self,
        *,
        project: str,
        key: str | None,
        name: str,
        action: str,
        target: str,
        status: int = 0,
        request_id: str | None = None,
    ) -> Change:
        """The change as it is logged."""
        row = ChangeRow(
            id=new_id("chg"),
            project=project,
            at=time.time(),
            key=key,
            name=name[:100],
            action=action[:200],
            target=target[:500],
            status=status,
            request_id=request_id[:100] if request_id is not None else None,
        )
        with Session(self._engine) as session, session.begin():
            session.add(row)
            session.flush()
            return _change(row)

    def page(
        self, *, after: str | None, limit: int, order: Literal["asc", "desc"], project: str | None
    ) -> tuple[list[Change], bool]:
        """At most `limit` changes of a project, or of all, beyond `after`, and whether there are more."""
        query = select(ChangeRow).limit(limit + 1)
        query = query.order_by(ChangeRow.id.asc() if order == "asc" else ChangeRow.id.desc())
        if project is not None:
            query = query.where(ChangeRow.project == project)
        if after is not None:
            query = query.where(ChangeRow.id > after if order == "asc" else ChangeRow.id < after)
        with reading(self._engine) as session:
            rows = session.scalars(query).all()
        return [_change(row) for row in rows[:limit]], len(rows) > limit


def _change(row: ChangeRow) -> Change:
    return Change(
        id=row.id,
        project=row.project,
        at=row.at,
        key=row.key,
        name=row.name,
        action=row.action,
        target=row.target,
        status=row.status,
        request_id=row.request_id,
    )
