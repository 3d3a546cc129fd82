"""Constitutions in the database. One method, one transaction, begun with its write; methods block."""

import time
from typing import Any, cast

from sqlalchemy import CursorResult, Engine, delete, select, union, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.store.database import reading
from api.store.tables import DraftRow, HappeningRow, LabelRow, VersionRow
from constitution.store import (
    Action,
    Draft,
    Happening,
    Label,
    Note,
    Precondition,
    Text,
    Version,
    etag_of,
    no_draft,
    no_version,
)
from solon.errors import Conflict, PreconditionFailed
from solon.settings import DEFAULT_PROJECT


class DatabaseStore:
    """One project's constitutions in a database; implements `constitution.store.Store`."""

    def __init__(self, engine: Engine, project: str = DEFAULT_PROJECT) -> None:
        self._engine = engine
        self._project = project

    def ids(self) -> tuple[str, ...]:
        """Constitutions with a draft or a version, sorted."""
        query = union(
            select(DraftRow.constitution).where(DraftRow.project == self._project),
            select(VersionRow.constitution).where(VersionRow.project == self._project),
        )
        with reading(self._engine) as session:
            return tuple(sorted(session.scalars(query)))

    def drafts(self, constitution: str) -> tuple[Draft, ...]:
        """All drafts by name."""
        query = select(DraftRow).filter_by(project=self._project, constitution=constitution).order_by(DraftRow.name)
        with reading(self._engine) as session:
            return tuple(map(_draft, session.scalars(query)))

    def draft(self, constitution: str, name: str) -> Draft:
        """The draft; raises NotFound."""
        with reading(self._engine) as session:
            row = session.get(DraftRow, (self._project, constitution, name))
            if row is None:
                raise no_draft()
            return _draft(row)

    def save_draft(self, constitution: str, name: str, raw: bytes, precondition: Precondition, note: Note) -> Draft:
        """The draft with its new text."""
        key = {"project": self._project, "constitution": constitution, "name": name}
        now = time.time()
        values: dict[str, Any] = {"etag": etag_of(raw), "raw": raw, "author": note.author, "updated_at": now}
        with Session(self._engine) as session, session.begin():
            if not _replaced(session, DraftRow, key, values, precondition):
                return _draft(session.get_one(DraftRow, (self._project, constitution, name)))
            self._happened(session, constitution, "draft_saved", name, note)
        return Draft(constitution=constitution, name=name, **values)  # not read again: by now it may be somebody else's

    def remove_draft(self, constitution: str, name: str, precondition: Precondition, note: Note) -> None:
        """The draft is gone, and its text with it."""
        with Session(self._engine) as session, session.begin():
            current = _etag(session, DraftRow, {"project": self._project, "constitution": constitution, "name": name})
            precondition.check(current)
            self._delete(session, constitution, name, current)
            self._happened(session, constitution, "draft_removed", name, note)

    def versions(self, constitution: str) -> tuple[Version, ...]:
        """Published versions in the order in which they were published."""
        query = select(VersionRow).filter_by(project=self._project, constitution=constitution)
        query = query.order_by(VersionRow.number)
        with reading(self._engine) as session:
            return tuple(map(_version, session.scalars(query)))

    def version_bytes(self, constitution: str, version: str) -> bytes:
        """The published text; raises NotFound."""
        query = select(VersionRow.raw).filter_by(project=self._project, constitution=constitution, version=version)
        with reading(self._engine) as session:
            raw = session.scalar(query)
        if raw is None:
            raise no_version()
        return raw

    def publish(self, draft: Draft, text: Text, note: Note) -> Version:
        """The draft's row becomes a version's row."""
        row = VersionRow(
            project=self._project,
            constitution=draft.constitution,
            version=text.version,
            etag=etag_of(text.raw),
            content_hash=text.content_hash,
            raw=text.raw,
            author=note.author,
            message=note.message,
            published_at=time.time(),
        )
        with Session(self._engine) as session, session.begin():
            self._delete(session, draft.constitution, draft.name, draft.etag)
            session.add(row)
            try:
                session.flush()
            except IntegrityError as error:
                raise Conflict(
                    "this version is there already", field="version", remedy="give the draft a new version"
                ) from error
            self._happened(session, draft.constitution, "published", text.version, note)
            return _version(row)

    def labels(self, constitution: str) -> tuple[Label, ...]:
        """All labels by name."""
        query = select(LabelRow).filter_by(project=self._project, constitution=constitution).order_by(LabelRow.label)
        with reading(self._engine) as session:
            return tuple(map(_label, session.scalars(query)))

    def move_label(self, constitution: str, label: str, version: str, precondition: Precondition, note: Note) -> Label:
        """The label, created where the precondition allows that, now names the version."""
        key = {"project": self._project, "constitution": constitution, "label": label}
        values = {"version": version, "etag": etag_of(f"{version}\n".encode())}
        with Session(self._engine) as session, session.begin():
            if _replaced(session, LabelRow, key, values, precondition):
                self._happened(session, constitution, "label_moved", label, note)
            return Label(constitution=constitution, label=label, version=version, etag=values["etag"])

    def history(self, constitution: str) -> tuple[Happening, ...]:
        """Everything that happened, newest first."""
        query = select(HappeningRow).filter_by(project=self._project, constitution=constitution)
        with reading(self._engine) as session:
            return tuple(map(_happening, session.scalars(query.order_by(HappeningRow.number.desc()))))

    def _delete(self, session: Session, constitution: str, name: str, etag: str | None) -> None:
        key = {"project": self._project, "constitution": constitution, "name": name}
        statement = delete(DraftRow).filter_by(**key).where(DraftRow.etag == etag)
        if cast(CursorResult[Any], session.execute(statement)).rowcount != 1:
            raise _changed()

    def _happened(self, session: Session, constitution: str, action: Action, name: str, note: Note) -> None:
        row = HappeningRow(
            project=self._project,
            constitution=constitution,
            action=action,
            name=name,
            author=note.author,
            message=note.message,
            at=time.time(),
        )
        session.add(row)


def _etag(session: Session, table: type[DraftRow | LabelRow], key: dict[str, str]) -> str | None:
    row = session.get(table, tuple(key.values()))
    return None if row is None else row.etag


def _replaced(
    session: Session,
    table: type[DraftRow | LabelRow],
    key: dict[str, str],
    values: dict[str, Any],
    precondition: Precondition,
) -> bool:
    """Whether the row changed; the statement that writes compares what was read again, so nobody comes between."""
    current = _etag(session, table, key)
    precondition.check(current)
    if current == values["etag"]:
        return False
    if current is None:
        session.add(table(**key, **values))
        try:
            session.flush()
        except IntegrityError as error:
            raise PreconditionFailed(
                "there is one already", remedy="read it, and send If-Match with its ETag"
            ) from error
        return True
    statement = update(table).filter_by(**key).where(table.etag == current).values(**values)
    if cast(CursorResult[Any], session.execute(statement)).rowcount != 1:
        raise _changed()
    return True


def _changed() -> PreconditionFailed:
    return PreconditionFailed(
        "it was changed after you read it", remedy="read it again, redo the change, and send its new ETag"
    )


def _draft(row: DraftRow) -> Draft:
    return Draft(
        constitution=row.constitution,
        name=row.name,
        etag=row.etag,
        author=row.author,
        updated_at=row.updated_at,
        raw=row.raw,
    )


def _version(row: VersionRow) -> Version:
    return Version(
        constitution=row.constitution,
        version=row.version,
        etag=row.etag,
        content_hash=row.content_hash,
        author=row.author,
        message=row.message,
        published_at=row.published_at,
    )


def _label(row: LabelRow) -> Label:
    return Label(constitution=row.constitution, label=row.label, version=row.version, etag=row.etag)


def _happening(row: HappeningRow) -> Happening:
    return Happening(
        id=str(row.number),
        action=cast(Action, row.action),
        name=row.name,
        author=row.author,
        message=row.message,
        at=row.at,
    )
