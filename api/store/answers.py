"""Answers to requests with an Idempotency-Key: whoever asks again gets the answer that was given, for a day."""

import time
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, delete, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.store.preference_tables import AnswerRow
from solon.errors import InvalidInput, StillRunning

KEPT_S: Final = 86_400.0
CLAIM_S: Final = 15.0
"""Longest time for which a server that makes an answer may be silent before another one may make it."""


@dataclass(frozen=True)
class Answer:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes


class AnswerStore:
    """All answers of one database. Methods block; one method, one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, project: str, key: str, request_hash: str) -> Answer | None:
        """The answer that was given to this key; None where the caller is to make it.

        Raises InvalidInput where the key came with another request, StillRunning where the answer is being made.
        """
        now = time.time()
        try:
            with Session(self._engine) as session, session.begin():
                session.execute(delete(AnswerRow).where(AnswerRow.created_at < now - KEPT_S))
                row = session.get(AnswerRow, (project, key), with_for_update=True)
                if row is None:
                    values = {"project": project, "key": key, "request_hash": request_hash, "created_at": now}
                    session.add(AnswerRow(**values, claimed_until=now + CLAIM_S))
                    return None
                return _answer(row, request_hash, now)
        except IntegrityError as error:  # another request has claimed it at the same moment
            raise _still_running() from error

    def renew(self, project: str, key: str) -> None:
        """The answer is still being made."""
        self._set(project, key, claimed_until=time.time() + CLAIM_S)

    def keep(self, project: str, key: str, answer: Answer) -> None:
        """This is the answer from now on."""
        self._set(project, key, status=answer.status, headers=answer.headers, body=answer.body)

    def release(self, project: str, key: str) -> None:
        """There is no answer: whoever comes with the key again makes it."""
        with Session(self._engine) as session, session.begin():
            session.execute(delete(AnswerRow).where(AnswerRow.project == project, AnswerRow.key == key))

    def _set(self, project: str, key: str, **values: object) -> None:
        with Session(self._engine) as session, session.begin():
            named = update(AnswerRow).where(AnswerRow.project == project, AnswerRow.key == key)
            session.execute(named.values(**values))


def _answer(row: AnswerRow, request_hash: str, now: float) -> Answer | None:
    if row.request_hash != request_hash:
        raise InvalidInput("this key came with another request before", field="Idempotency-Key", remedy="use a new key")
    if row.status is not None:
        return Answer(row.status, row.headers or {}, row.body or b"")
    if row.claimed_until > now:
        raise _still_running()
    row.claimed_until = now + CLAIM_S  # whoever was making it is gone
    return None


def _still_running() -> StillRunning:
    remedy = f"try again in a second; where its server died, the key is free {CLAIM_S:g} s after that"
    return StillRunning("a request with this Idempotency-Key is being answered", remedy=remedy)
