"""Projects and API keys in the database: one method, one transaction. Methods block; call them from a thread.

Of a key its SHA-256 is kept and its last characters. 256 random bits need no slow hash, and looking one up by its
digest tells a guesser nothing about the digests that are there.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Engine, exists, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.ids import new_id
from api.store.database import reading
from api.store.tables import KeyRow, ProjectRow
from solon.errors import Conflict, NotFound
from solon.records import Record
from solon.settings import DEFAULT_PROJECT, Quota

PREFIX: Final = "sk-solon-"
_RANDOM_BYTES: Final = 32
_HINT: Final = 4
_USED_EVERY_S: Final = 60.0


class Project(Record):
    """A tenant: what is made with its keys is seen with its keys only."""

    object: Literal["project"] = "project"
    id: str
    created_at: float
    """Unix time in seconds, as all times here."""
    quota: Quota | None = None
    """Null: that of the settings."""


class Key(Record):
    """An API key without the key itself, which nobody but its holder has."""

    object: Literal["key"] = "key"
    id: str
    project: str
    name: str
    hint: str
    """The last characters of the key."""
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    """Within a minute."""


class NewKey(Key):
    """A key at the one moment when it can be read."""

    key: str
    """Goes into `Authorization: Bearer`; it is shown this once."""


@dataclass(frozen=True)
class KeyRequest:
    """What a new key may do, and until when."""

    name: str
    scopes: Sequence[str]
    project: str = DEFAULT_PROJECT
    expires_at: float | None = None


def digest_of(key: str) -> str:
    """SHA-256 of a key, in hex: what the database has of it."""
    return hashlib.sha256(key.encode()).hexdigest()


class KeyStore:
    """All projects and keys of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.made = False
        """Whether this object knows of a key."""

    def any_key(self) -> bool:
        """Whether a key was ever made; revoking the last one does not open the service again."""
        if not self.made:
            with reading(self._engine) as session:
                self.made = bool(session.scalar(select(exists().where(KeyRow.id.is_not(None)))))
        return self.made

    def valid(self, key: str, now: float | None = None) -> Key | None:
        """The key's record, if it is neither expired nor revoked; its use is noted."""
        now = time.time() if now is None else now
        digest = digest_of(key)
        with reading(self._engine) as session:
            row = session.scalars(select(KeyRow).where(KeyRow.hash == digest)).one_or_none()
            if row is None or not hmac.compare_digest(row.hash, digest):
                return None
            found = _key(row)
        if found.revoked_at is not None or (found.expires_at is not None and found.expires_at <= now):
            return None
        if found.last_used_at is None or found.last_used_at < now - _USED_EVERY_S:
            self._used(found.id, now)
        return found

    def create(self, request: KeyRequest) -> NewKey:
        """A new key; raises NotFound where there is no such project."""
        key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        row = KeyRow(
            id=new_id("key"),
            project=request.project,
            name=request.name,
            hash=digest_of(key),
            hint=key[-_HINT:],
            scopes=sorted(request.scopes),
            created_at=time.time(),
            expires_at=request.expires_at,
        )
        with Session(self._engine) as session, session.begin():
            if session.get(ProjectRow, request.project) is None:
                if request.project != DEFAULT_PROJECT:
                    raise no_project()
                session.add(_new_project(DEFAULT_PROJECT))
                session.flush()
            session.add(row)
            session.flush()
            made = NewKey(**dict(_key(row)), key=key)
        self.made = True
        return made

    def keys(self, *, project: str | None) -> list[Key]:
        """Keys of a project, or of all, in the order in which they were made."""
        query = select(KeyRow).order_by(KeyRow.id)
        with reading(self._engine) as session:
            rows = session.scalars(query if project is None else query.where(KeyRow.project == project))
            return [_key(row) for row in rows]

    def get(self, key_id: str, *, project: str | None) -> Key:
        """One key; raises NotFound, for one of another project too."""
        with reading(self._engine) as session:
            return _key(_row(session, key_id, project))

    def revoke(self, key_id: str, *, project: str | None) -> Key:
        """The key, which is valid no longer; one that was revoked before stays as it is."""
        with Session(self._engine) as session, session.begin():
            row = _row(session, key_id, project)
            if row.revoked_at is None:
                row.revoked_at = time.time()
            return _key(row)

    def create_project(self, project: str, quota: Quota | None = None) -> Project:
        """A new project; raises Conflict where there is one of this id."""
        row = _new_project(project, quota)
        with Session(self._engine) as session, session.begin():
            session.add(row)
            try:
                session.flush()
            except IntegrityError as error:
                raise Conflict("there is such a project already", field="id", remedy="take another id") from error
            return _project(row)

    def projects(self) -> list[Project]:
        """All projects by id; the default one from the first key on."""
        with reading(self._engine) as session:
            return [_project(row) for row in session.scalars(select(ProjectRow).order_by(ProjectRow.id))]

    def project(self, project: str) -> Project:
        """One project; raises NotFound."""
        with reading(self._engine) as session:
            row = session.get(ProjectRow, project)
            if row is None:
                raise no_project()
            return _project(row)

    def set_quota(self, project: str, quota: Quota | None) -> Project:
        """The project with this quota; None: that of the settings. Raises NotFound."""
        with Session(self._engine) as session, session.begin():
            row = session.get(ProjectRow, project)
            if row is None:
                raise no_project()
            row.quota = None if quota is None else quota.model_dump(mode="json", exclude_none=True)
            return _project(row)

    def salt(self, project: str) -> str | None:
        """What keeps a project's prompts apart in a model server's prefix cache; None for the default project."""
        if project == DEFAULT_PROJECT:
            return None
        with reading(self._engine) as session:
            row = session.get(ProjectRow, project)
            if row is None:
                raise no_project()
            return row.salt

    def _used(self, key_id: str, now: float) -> None:
        stale = or_(KeyRow.last_used_at.is_(None), KeyRow.last_used_at < now - _USED_EVERY_S)
        with Session(self._engine) as session, session.begin():
            session.execute(update(KeyRow).where(KeyRow.id == key_id, stale).values(last_used_at=now))


def no_project() -> NotFound:
    """What is raised where there is no such project."""
    return NotFound("there is no such project", field="project", remedy="make it: solon project create ID")


def _new_project(project: str, quota: Quota | None = None) -> ProjectRow:
    limits = None if quota is None else quota.model_dump(mode="json", exclude_none=True)
    return ProjectRow(id=project, salt=secrets.token_hex(_RANDOM_BYTES), created_at=time.time(), quota=limits)


def _row(session: Session, key_id: str, project: str | None) -> KeyRow:
    query = select(KeyRow).where(KeyRow.id == key_id)
    row = session.scalars(query if project is None else query.where(KeyRow.project == project)).one_or_none()
    if row is None:
        raise NotFound("there is no such key", field="id", remedy="GET /v1/keys lists the keys")
    return row


def _project(row: ProjectRow) -> Project:
    quota = None if row.quota is None else Quota.model_validate(row.quota)
    return Project(id=row.id, created_at=row.created_at, quota=quota)


def _key(row: KeyRow) -> Key:
    return Key(
        id=row.id,
        project=row.project,
        name=row.name,
        hint=row.hint,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
