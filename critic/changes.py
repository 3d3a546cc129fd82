"""How labels change from one text to another, and whether the judge's own noise would have done as much."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from critic.pairs import USABLE
from solon.intervals import Difference, Interval, difference, wilson
from solon.records import Discard, PreferencePair, Status, Verdict

Change = Literal["kept", "flipped", "became_tie", "became_decided", "unusable"]
"""`unusable`: not measured before, or not measured now; it is left out of all shares."""
CHANGES: Final[tuple[Change, ...]] = ("kept", "flipped", "became_tie", "became_decided")

Finding = Literal["unchanged", "within_noise", "beyond_noise", "noise_not_measured"]
"""`unchanged`: nothing in the sample changed. `within_noise`: judging the old text again may change as much."""


@dataclass(frozen=True)
class Outcome:
    """What a label or a verdict said, before or after."""

    status: Status
    p_a: float | None

    @property
    def side(self) -> Literal["a", "b", "tie"] | None:
        """None where nothing was measured."""
        if self.status not in USABLE or self.p_a is None:
            return None
        return "tie" if self.status is Status.TIE else "a" if self.p_a > 0.5 else "b"


@dataclass(frozen=True)
class Changes:
    """A tally of changes. Shares are in [0, 1] with Wilson's intervals at 95 %; None where nothing was compared."""

    n: int
    """Comparisons measured before and after."""
    unusable: int
    shares: dict[Change, Interval | None]
    changed: Interval | None
    """Share that is not `kept`."""
    mean_shift: float | None
    """Mean |p_a after - p_a before|."""

    def count(self, change: Change) -> int:
        """How many changed in this way."""
        share = self.shares[change]
        return round(share.value * share.n) if share is not None else 0


@dataclass(frozen=True)
class Effect:
    """A change of text beside the judge's noise."""

    changes: Changes
    noise: Changes | None
    """The same, for the old text judged again; None where the old text asks the judge nothing that changed."""
    beyond: Difference | None
    """Share changed by the new text less share changed by judging again."""
    finding: Finding


def outcome(found: PreferencePair | Verdict | Discard | None) -> Outcome:
    """What a label or a verdict says; nothing, where there is none."""
    if found is None or isinstance(found, Discard):
        return Outcome(Status.ERROR, None)
    return Outcome(found.status, found.p_a)


def change(before: Outcome, after: Outcome) -> Change:
    """What became of an outcome."""
    if before.side is None or after.side is None:
        return "unusable"
    if before.side == after.side:
        return "kept"
    if after.side == "tie":
        return "became_tie"
    return "became_decided" if before.side == "tie" else "flipped"


def tally(pairs: Iterable[tuple[Outcome, Outcome]]) -> Changes:
    """The changes from each first to each second outcome."""
    compared = list(pairs)
    counts = Counter(change(before, after) for before, after in compared)
    n = len(compared) - counts["unusable"]
    shifts = [abs(now.p_a - was.p_a) for was, now in compared if was.p_a is not None and now.p_a is not None]
    return Changes(
        n=n,
        unusable=counts["unusable"],
        shares={each: wilson(counts[each], n) for each in CHANGES},
        changed=wilson(n - counts["kept"], n),
        mean_shift=sum(shifts) / len(shifts) if shifts else None,
    )


def beside_noise(changes: Changes, noise: Changes | None) -> Effect:
    """The changes with the noise beside them.

    The finding is `beyond_noise` when the 95 % interval of the difference of the two shares lies above 0.
    """
    beyond = None
    if noise is not None and changes.changed is not None and noise.changed is not None:
        beyond = difference(changes.changed, noise.changed)
    return Effect(changes, noise, beyond, _finding(changes, beyond))


def _finding(changes: Changes, beyond: Difference | None) -> Finding:
    if changes.changed is None or changes.changed.value == 0:
        return "unchanged"
    if beyond is None:
        return "noise_not_measured"
    return "beyond_noise" if beyond.low > 0 else "within_noise"
