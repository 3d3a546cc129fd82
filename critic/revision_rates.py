"""How often revisions win, per principle, and why the others were turned away."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from critic.judge import is_decided
from critic.pairs import USABLE
from solon.intervals import Interval, wilson
from solon.records import Revision, RevisionChain


@dataclass
class Rates:
    """Of the revisions written under one principle, or under all."""

    revisions: int = 0
    """Rounds, whatever became of them."""
    kept: int = 0
    rejected: Counter[str] = field(default_factory=lambda: Counter[str]())
    """Why the others were not kept."""
    compared: int = 0
    """Compared with their originals, with a measured outcome."""
    wins: float = 0.0
    """Better than the original under the whole constitution; a tie counts half."""
    principle_wins: float = 0.0
    """The same under the round's principle alone."""

    def add(self, revision: Revision, tie_margin: float) -> None:
        """Count a revision."""
        self.revisions += 1
        self.kept += revision.kept
        if revision.rejected is not None:
            self.rejected[revision.rejected] += 1
        if revision.status in USABLE:
            self.compared += 1
            self.wins += _won(revision.p_better, tie_margin)
            self.principle_wins += _won(revision.p_better_under_principle, tie_margin)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, with the win rates and their 95 % intervals."""
        return {
            "revisions": self.revisions,
            "kept": self.kept,
            "rejected": dict(sorted(self.rejected.items())),
            "compared": self.compared,
            "win_rate": _plain(wilson(self.wins, self.compared)),
            "win_rate_under_principle": _plain(wilson(self.principle_wins, self.compared)),
        }


class RevisionRates:
    """The rates of all chains that were added."""

    def __init__(self, tie_margin: float) -> None:
        self.total = Rates()
        self.by_principle: dict[str, Rates] = {}
        self._tie_margin = tie_margin

    def add(self, chains: Iterable[RevisionChain]) -> None:
        """Count every revision of the chains."""
        for chain in chains:
            for revision in chain.revisions:
                self.total.add(revision, self._tie_margin)
                self.by_principle.setdefault(revision.principle, Rates()).add(revision, self._tie_margin)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: the totals, and each principle's rates under `by_principle`."""
        each = {principle: rates.to_dict() for principle, rates in sorted(self.by_principle.items())}
        return {**self.total.to_dict(), "by_principle": each}


def _won(p_better: float | None, tie_margin: float) -> float:
    if p_better is None or not is_decided(p_better, tie_margin):
        return 0.5
    return 1.0 if p_better > 0.5 else 0.0


def _plain(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)
