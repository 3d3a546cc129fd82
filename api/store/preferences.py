"""Preferences in the database: one method, one transaction. Methods block; call them from a thread.

A preference is one comparison under one text, by one judge: its id says so, and storing it again changes nothing. Where
it comes out differently (a judge that had failed answers now), that is a new version, and the old ones stay. The same
completions under another text are another preference with the same `comparison`.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from pydantic import Field
from sqlalchemy import Engine, Select, delete, func, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.ids import new_id
from api.store.preference_filter import Filter, narrowed
from api.store.preference_tables import (
    KEY_LENGTH,
    VALUE_LENGTH,
    DiscardRow,
    PreferenceMetadataRow,
    PreferenceRow,
    PreferenceVersionRow,
)
from solon.errors import Busy, InvalidInput, NotFound
from solon.formats import json_line
from solon.records import Discard, PreferencePair, Record, Status

Order = Literal["asc", "desc"]

_AT_ONCE: Final = 200
_ATTEMPTS: Final = 5


class Agreement(Record):
    """What people said of a preference, the latest of each person, and whether the label agrees."""

    reviews: int
    """All of them, those that were revised included."""
    a: int
    b: int
    tie: int
    majority: Literal["a", "b", "tie"] | None
    """None without reviews; as many for each side is a tie."""
    agrees: bool | None
    """Whether the label is what most people said; None without reviews, or where the judge measured nothing."""


class StoredPreference(PreferencePair):
    """A preference as it is kept."""

    version: int = Field(ge=1)
    """Counts up when the same comparison, text and judge come out differently."""
    created_at: float
    """Unix time in seconds at which it was first stored, as all times here."""
    stored_at: float
    """When this version was stored."""
    comparison: str
    """The same for the same prompt and completions, whatever text and judge they were labelled under."""
    source: str
    """What made this version: `request`, a step of a job such as `job_….01-label`, or a dataset."""
    people: Agreement

    def pair(self) -> PreferencePair:
        """The pair alone, as datasets hold it."""
        return PreferencePair(**{name: getattr(self, name) for name in PreferencePair.model_fields})


class LabelVersion(Record):
    """One of the labels that a comparison was given."""

    id: str
    version: int
    stored_at: float
    constitution: str
    constitution_version: str
    judge: str | None
    status: Status
    chosen: Literal["a", "b"] | None
    p_a: float | None


class StoredDiscard(Record):
    """A row that made no comparison, with its reason."""

    object: Literal["discard"] = "discard"
    id: str
    source: str
    prompt_id: str
    reason: str
    detail: str
    created_at: float


@dataclass(frozen=True)
class Stored:
    """What became of items that were to be stored."""

    new: int = 0
    changed: int = 0
    """New versions of preferences that were there."""
    unchanged: int = 0
    discards: int = 0

    def __add__(self, other: "Stored") -> "Stored":
        return Stored(
            self.new + other.new,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.discards + other.discards,
        )


class PreferenceStore:
    """All preferences of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, items: Iterable[PreferencePair | Discard], *, project: str, source: str) -> Stored:
        """Keep the items; pairs that are kept already stay as they are, and differing ones become new versions.

        Discards are kept each time. Raises Busy where others keep storing the same pairs at the same moment.
        """
        total = Stored()
        left = iter(items)
        while part := list(islice(left, _AT_ONCE)):
            total += self._add_retrying(part, project, source)
        return total

    def _add_retrying(self, items: Sequence[PreferencePair | Discard], project: str, source: str) -> Stored:
        for _ in range(_ATTEMPTS):
            try:
                with Session(self._engine) as session, session.begin():
                    return _add(session, items, project, source)
            except IntegrityError:  # another request has just stored one of them: now it is there
                continue
        raise Busy("the same preferences are being stored by others", retry_after_s=1)

    def get(self, preference: str, *, project: str, version: int | None = None) -> StoredPreference:
        """The preference, its latest version or the one asked for; raises NotFound."""
        with Session(self._engine) as session:
            row = find(session, preference, project)
            wanted = session.get(PreferenceVersionRow, (row.number, version or row.version))
            if wanted is None:
                raise NotFound("there is no such version", field="version", remedy=f"versions: 1 to {row.version}")
            return _stored(row, wanted)

    def page(
        self, wanted: Filter, *, project: str, after: str | None, limit: int, order: Order
    ) -> tuple[list[StoredPreference], bool]:
        """At most `limit` preferences beyond `after` in the order in which they were stored, and whether more follow.

        Raises InvalidInput where `after` is no preference.
        """
        with Session(self._engine) as session:
            query = _current(wanted, project)
            if after is not None:
                place = _place(session, select(PreferenceRow.number), PreferenceRow, after, project)
                query = query.where(PreferenceRow.number > place if order == "asc" else PreferenceRow.number < place)
            by = PreferenceRow.number.asc() if order == "asc" else PreferenceRow.number.desc()
            rows = session.execute(query.order_by(by).limit(limit + 1)).all()
            return [_stored(row, version) for row, version in rows[:limit]], len(rows) > limit

    def each(self, wanted: Filter, *, project: str) -> Iterator[StoredPreference]:
        """All preferences that the filter lets through, in the order in which they were stored, a part at a time."""
        last = 0
        while True:
            query = _current(wanted, project).where(PreferenceRow.number > last)
            with Session(self._engine) as session:
                rows = session.execute(query.order_by(PreferenceRow.number).limit(_AT_ONCE)).all()
            if not rows:
                return
            yield from (_stored(row, version) for row, version in rows)
            last = rows[-1][0].number

    def count(self, wanted: Filter, *, project: str) -> int:
        """How many preferences the filter lets through."""
        query = narrowed(select(func.count()).select_from(PreferenceRow), wanted, project)
        with Session(self._engine) as session:
            return session.scalar(query) or 0

    def history(self, comparison: str, *, project: str) -> list[LabelVersion]:
        """Every label of one comparison, under whatever text, oldest first."""
        query = (
            select(PreferenceRow, PreferenceVersionRow)
            .join(PreferenceVersionRow, PreferenceVersionRow.preference == PreferenceRow.number)
            .where(PreferenceRow.project == project, PreferenceRow.comparison == comparison)
            .order_by(PreferenceVersionRow.stored_at, PreferenceRow.number, PreferenceVersionRow.version)
        )
        with Session(self._engine) as session:
            return [_label_version(version) for _, version in session.execute(query)]

    def forget_discards(self, *, project: str, source: str) -> None:
        """Remove a source's discards, before they are stored again."""
        with Session(self._engine) as session, session.begin():
            session.execute(delete(DiscardRow).where(DiscardRow.project == project, DiscardRow.source == source))

    def discards(
        self, *, project: str, source: str | None, after: str | None, limit: int, order: Order
    ) -> tuple[list[StoredDiscard], bool]:
        """At most `limit` discards beyond `after`, and whether more follow; raises InvalidInput as `page` does."""
        query = select(DiscardRow).where(DiscardRow.project == project)
        if source is not None:
            within = DiscardRow.source.startswith(f"{source}.", autoescape=True)
            query = query.where(or_(DiscardRow.source == source, within))
        with Session(self._engine) as session:
            if after is not None:
                place = _place(session, select(DiscardRow.number), DiscardRow, after, project)
                query = query.where(DiscardRow.number > place if order == "asc" else DiscardRow.number < place)
            by = DiscardRow.number.asc() if order == "asc" else DiscardRow.number.desc()
            rows = session.scalars(query.order_by(by).limit(limit + 1)).all()
            return [_discard(row) for row in rows[:limit]], len(rows) > limit


def comparison_id(pair: PreferencePair) -> str:
    """The same for the same conversation and completions, in whichever order these are listed."""
    turns = [[message.role, message.content] for message in pair.prompt.messages]
    parts = json.dumps([turns, sorted((pair.a.text, pair.b.text))])
    return "cmp_" + hashlib.sha256(parts.encode()).hexdigest()[:26]


def find(session: Session, preference: str, project: str, *, lock: bool = False) -> PreferenceRow:
    """The row of a preference, for this transaction alone where it is to be changed.

    Raises NotFound, for another project's as for one that never was.
    """
    query = select(PreferenceRow).where(PreferenceRow.project == project, PreferenceRow.id == preference)
    row = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound("there is no such preference", field="id", remedy="GET /v1/preferences lists them")
    return row


def _place(session: Session, query: Select[Any], table: Any, after: str, project: str) -> int:
    number = session.scalar(query.where(table.project == project, table.id == after))
    if number is None:
        raise InvalidInput("is nothing in this list", field="after", remedy="give a `last_id` of this list")
    return int(number)


def _add(session: Session, items: Sequence[PreferencePair | Discard], project: str, source: str) -> Stored:
    """Pairs and discards in one transaction; the last of two with one id counts as the newer version."""
    pairs = {item.id: item for item in items if isinstance(item, PreferencePair)}
    discards = [item for item in items if isinstance(item, Discard)]
    now = time.time()
    if discards:
        session.execute(insert(DiscardRow), [_discard_values(each, project, source, now) for each in discards])
    known = {
        row.id: (row, record)
        for row, record in session.execute(
            select(PreferenceRow, PreferenceVersionRow.record)
            .join(
                PreferenceVersionRow,
                (PreferenceVersionRow.preference == PreferenceRow.number)
                & (PreferenceVersionRow.version == PreferenceRow.version),
            )
            .where(PreferenceRow.project == project, PreferenceRow.id.in_(pairs))
            .with_for_update(of=PreferenceRow)
        )
    }
    fresh = [pair for key, pair in pairs.items() if key not in known]
    rows = [PreferenceRow(project=project, created_at=now, version=1, id=each.id) for each in fresh]
    for row, pair in zip(rows, fresh, strict=True):
        _describe(row, pair, source)
    session.add_all(rows)
    session.flush()
    changed = [(row, pairs[key]) for key, (row, record) in known.items() if json_line(pairs[key]) != record]
    for row, pair in changed:
        row.version += 1
        _describe(row, pair, source)
    versions = [*zip(rows, fresh, strict=True), *changed]
    if versions:
        session.execute(insert(PreferenceVersionRow), [_version_values(*each, source, now) for each in versions])
    entries = [entry for row, pair in zip(rows, fresh, strict=True) for entry in _metadata(row.number, pair)]
    if entries:
        session.execute(insert(PreferenceMetadataRow), entries)
    return Stored(len(fresh), len(changed), len(pairs) - len(fresh) - len(changed), len(discards))


def _describe(row: PreferenceRow, pair: PreferencePair, source: str) -> None:
    """What lists are filtered by, of this version."""
    made = pair.provenance
    row.comparison = comparison_id(pair)
    row.prompt_id, row.scope = _plain(pair.prompt.id, 200), pair.prompt.scope
    row.constitution, row.constitution_version = made.constitution, made.constitution_version
    row.constitution_hash, row.judge, row.policy = made.constitution_hash, made.judge.get("name"), made.policy
    row.status, row.margin, row.label = pair.status.value, pair.margin, label_of(pair)
    row.flags = "".join(("|", *(f"{flag}|" for flag in pair.flags))) if pair.flags else ""
    row.source = source


def _version_values(row: PreferenceRow, pair: PreferencePair, source: str, now: float) -> dict[str, Any]:
    key = {"preference": row.number, "version": row.version}
    return key | {"stored_at": now, "source": source, "record": json_line(pair)}


def label_of(pair: PreferencePair) -> Literal["a", "b", "tie"] | None:
    """The label as people give theirs; None where nothing was measured."""
    return pair.chosen if pair.status is Status.OK else "tie" if pair.status is Status.TIE else None


def _metadata(number: int, pair: PreferencePair) -> Iterator[dict[str, Any]]:
    """Entries that lists can be filtered by: short keys with a text, a number or a truth value."""
    for key, value in pair.prompt.metadata.items():
        text = value if isinstance(value, str) else json.dumps(value)
        plain = isinstance(value, str | int | float | bool) and "\0" not in key + text
        if plain and len(key) <= KEY_LENGTH and len(text) <= VALUE_LENGTH:
            yield {"preference": number, "key": key, "value": text}


def _discard_values(discard: Discard, project: str, source: str, now: float) -> dict[str, Any]:
    return {
        "id": new_id("disc"),
        "project": project,
        "source": source,
        "prompt_id": _plain(discard.prompt_id, 200),
        "reason": _plain(discard.reason, 100),
        "detail": _plain(discard.detail, 2000),
        "created_at": now,
    }


def _plain(text: str, most: int) -> str:
    """Text that every database takes: without NUL, not too long."""
    return text.replace("\0", "\ufffd")[:most]


def _current(wanted: Filter, project: str) -> Select[PreferenceRow, PreferenceVersionRow]:
    """Rows with their current versions."""
    query = select(PreferenceRow, PreferenceVersionRow).join(
        PreferenceVersionRow,
        (PreferenceVersionRow.preference == PreferenceRow.number)
        & (PreferenceVersionRow.version == PreferenceRow.version),
    )
    return narrowed(query, wanted, project)


def _stored(row: PreferenceRow, version: PreferenceVersionRow) -> StoredPreference:
    pair = PreferencePair.model_validate_json(version.record)
    return StoredPreference(
        **dict(pair),
        version=version.version,
        created_at=row.created_at,
        stored_at=version.stored_at,
        comparison=row.comparison,
        source=version.source,
        people=_people(row, pair),
    )


def _people(row: PreferenceRow, pair: PreferencePair) -> Agreement:
    a, b, tie = row.votes_a, row.votes_b, row.votes_tie
    most = None
    if a + b + tie:
        most = "tie" if a == b or tie > max(a, b) else "a" if a > b else "b"
    agrees = None if most is None or row.label is None else most == label_of(pair)
    return Agreement(reviews=row.reviews, a=a, b=b, tie=tie, majority=most, agrees=agrees)


def _label_version(version: PreferenceVersionRow) -> LabelVersion:
    pair = PreferencePair.model_validate_json(version.record)
    return LabelVersion(
        id=pair.id,
        version=version.version,
        stored_at=version.stored_at,
        constitution=pair.provenance.constitution,
        constitution_version=pair.provenance.constitution_version,
        judge=pair.provenance.judge.get("name"),
        status=pair.status,
        chosen=pair.chosen,
        p_a=pair.p_a,
    )


def _discard(row: DiscardRow) -> StoredDiscard:
    return StoredDiscard(
        id=row.id,
        source=row.source,
        prompt_id=row.prompt_id,
        reason=row.reason,
        detail=row.detail,
        created_at=row.created_at,
    )
