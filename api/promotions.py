"""Which snapshot of a policy is the one to use: an append-only record, ARTIFACTS/promotions.jsonl.

A recipe's `promote` step writes a line when a snapshot beats the promoted one beyond doubt; a person may write one too.
The latest line of a name is what is in force, and nothing is ever taken back by deleting.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from api.ids import new_id
from solon.errors import InvalidInput
from solon.journal import Journal
from solon.records import Record
from solon.settings import Settings


class Promotion(Record):
    """One decision to use a snapshot."""

    id: str = Field(default_factory=lambda: new_id("prom"))
    project: str = "default"
    name: str
    """Of the policy: what the snapshot is a snapshot of, such as a registered name."""
    snapshot: str
    """Name of the snapshot: a step of a run, or a registered model."""
    path: str
    """Its directory on this machine."""
    digest: str
    """Of its weights."""
    replaces: str | None = None
    """Digest of the snapshot that was in force before."""
    gain: tuple[float, float, float] | None = None
    """Rating points over the one replaced: value and both ends of the interval; None where a person decided."""
    by: str
    """The recipe or the person that decided."""
    forced: bool = False
    """Whether it was done without an evaluation that speaks for it."""
    reason: str = ""
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Promotions:
    """The record of a deployment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, settings: Settings) -> "Promotions":
        """The one in the settings' artifacts."""
        return cls(settings.artifacts / "promotions.jsonl")

    def add(self, promotion: Promotion) -> None:
        """Put it in force; the same snapshot in place of itself is no promotion and leaves the record as it is."""
        current = self.current(promotion.name, project=promotion.project)
        if current is not None and current.digest == promotion.digest:
            return
        with self._journal() as journal:
            journal.append(promotion.model_dump(mode="json"))

    def history(self, name: str | None = None, *, project: str = "default") -> list[Promotion]:
        """All promotions of a policy, or of all of them, oldest first."""
        return [each for each in self._all() if each.project == project and name in (None, each.name)]

    def current(self, name: str, *, project: str = "default") -> Promotion | None:
        """What is in force; None before anything was promoted."""
        return next(reversed(self.history(name, project=project)), None)

    def _all(self) -> Iterator[Promotion]:
        if not self.path.exists():
            return
        with self._journal() as journal:
            for number, entry in enumerate(journal.entries(), start=1):
                try:
                    yield Promotion.model_validate(entry)
                except ValidationError as error:
                    where = f"{self.path}: entry {number}"
                    raise InvalidInput("no promotion", field=where, remedy="mend it or take it out") from error

    @contextmanager
    def _journal(self) -> Generator[Journal]:
        journal = Journal(self.path, "the record of promotions")
        try:
            yield journal
        finally:
            journal.close()
