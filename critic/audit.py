"""An audit of a judge: coverage, agreement with people, and how much the slot decides.

Tie rule, because agreement means nothing without one: `agreement` counts comparisons that both people and judge
decided; `three_way_agreement` counts all that both looked at, a tie being a third answer; `forced_agreement` takes the
judge's side even within the tie margin. People's verdict is the side with more votes; as many for each is a tie.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from critic.pairs import USABLE, logit
from critic.people import Choice, majority
from critic.pipeline import HUMAN_VOTES
from solon.intervals import Interval, wilson
from solon.records import POSITION_INCONSISTENT, Discard, PreferencePair, Status, Verdict
from solon.rows import HumanVote


@dataclass(frozen=True)
class PositionBias:
    """How much the slot decides, over verdicts with both orders; None where there are none."""

    verdicts: int
    same_position_rate: Interval | None
    """Share of verdicts where both orders chose the same slot (the content that wins depends on the order)."""
    first_slot_share: float | None
    """Mean over votes of [the first-listed won], an exact half counting as half; 0.5 is unbiased."""
    logit_bias: float | None
    """Mean of (logit p_ab + logit p_ba) / 2; 0 is unbiased, above 0 favours the first slot."""


@dataclass(frozen=True)
class PrincipleAudit:
    """One principle across all comparisons."""

    verdicts: int
    decided: int
    """Verdicts outside the tie margin."""
    statuses: dict[str, int]
    agreement: Interval | None
    """With people, where both decided; a principle need not agree with an overall preference."""
    position: PositionBias


@dataclass(frozen=True)
class Failure:
    """What most of the judge's failed answers have in common."""

    status: str
    """The most frequent one."""
    detail: str
    """The most frequent reason for it, for people; empty where none is known."""
    votes: int
    """Failed answers of this status for this reason."""

    def __str__(self) -> str:
        return f"{self.status}: {self.detail}" if self.detail else self.status


@dataclass(frozen=True)
class Audit:
    """What an audit found. Shares are in [0, 1]; intervals are Wilson's, at 95 %."""

    pairs: int
    statuses: dict[str, int]
    discards: dict[str, int]
    flags: dict[str, int]
    coverage: Interval | None
    """Share of pairs that are `ok` or `tie`."""
    human_labels: int
    """Pairs with a measured probability and a human verdict."""
    human_ties: int
    judge_ties: int
    agreement: Interval | None
    three_way_agreement: Interval | None
    forced_agreement: Interval | None
    flip_rate: Interval | None
    """Share of labels, all principles combined, whose side depends on the order of listing."""
    longer_chosen: Interval | None
    """Share of decided labels that prefer the longer text, where lengths differ; 0.5 is what a blind one scores."""
    position: PositionBias
    failure: Failure | None = None
    """Why the judge's answers failed, most often; None where none did."""
    principles: dict[str, PrincipleAudit] = field(default_factory=dict[str, PrincipleAudit])

    @property
    def is_blank(self) -> bool:
        """Whether there are comparisons and not one of them could be judged."""
        return bool(self.pairs) and not any(self.statuses.get(each.value) for each in USABLE)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return asdict(self)


def audit(items: Iterable[PreferencePair | Discard]) -> Audit:
    """The audit of labelled pairs; people's votes are in `extra["human_votes"]`, about the pair's a and b.

    Items are counted as they come, and none is kept.
    """
    tally = _Tally()
    for item in items:
        if isinstance(item, Discard):
            tally.discards[item.reason] += 1
        else:
            tally.add(item)
    return tally.audit()


@dataclass
class _Share:
    """How often something was so."""

    hits: int = 0
    of: int = 0

    def add(self, hit: bool) -> None:
        self.hits += hit
        self.of += 1

    @property
    def interval(self) -> Interval | None:
        return wilson(self.hits, self.of)


@dataclass
class _Slots:
    """Votes by the slot that they chose."""

    same: _Share = field(default_factory=_Share)
    first: float = 0.0
    logits: float = 0.0

    def add(self, verdict: Verdict) -> None:
        votes = [vote.p_first for vote in verdict.votes if vote.p_first is not None]
        if len(votes) == 2:
            self.same.add((votes[0] > 0.5) == (votes[1] > 0.5))
            self.first += sum(1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0 for p in votes)
            self.logits += sum(logit(p) for p in votes)

    def bias(self) -> PositionBias:
        if not self.same.of:
            return PositionBias(0, None, None, None)
        votes = 2 * self.same.of
        return PositionBias(self.same.of, self.same.interval, self.first / votes, self.logits / votes)


@dataclass
class _PrincipleTally:
    statuses: Counter[str] = field(default_factory=Counter[str])
    agreement: _Share = field(default_factory=_Share)
    slots: _Slots = field(default_factory=_Slots)

    def add(self, verdict: Verdict, human: Choice | None) -> None:
        self.statuses[verdict.status.value] += 1
        self.slots.add(verdict)
        if verdict.status is Status.OK and verdict.p_a is not None and human in ("a", "b"):
            self.agreement.add((human == "a") == (verdict.p_a > 0.5))

    def audit(self) -> PrincipleAudit:
        return PrincipleAudit(
            verdicts=self.statuses.total(),
            decided=self.statuses[Status.OK.value],
            statuses=dict(sorted(self.statuses.items())),
            agreement=self.agreement.interval,
            position=self.slots.bias(),
        )


@dataclass
class _Tally:
    statuses: Counter[str] = field(default_factory=Counter[str])
    discards: Counter[str] = field(default_factory=Counter[str])
    flags: Counter[str] = field(default_factory=Counter[str])
    covered: _Share = field(default_factory=_Share)
    flipped: _Share = field(default_factory=_Share)
    longer: _Share = field(default_factory=_Share)
    human: Counter[str] = field(default_factory=Counter[str])
    agreement: _Share = field(default_factory=_Share)
    three_way: _Share = field(default_factory=_Share)
    forced: _Share = field(default_factory=_Share)
    slots: _Slots = field(default_factory=_Slots)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Votes by status and reason."""
    principles: dict[str, _PrincipleTally] = field(default_factory=dict[str, _PrincipleTally])

    def add(self, pair: PreferencePair) -> None:
        self.statuses[pair.status.value] += 1
        self.flags.update(pair.flags)
        human, usable = human_verdict(pair), pair.status in USABLE
        self.covered.add(usable)
        for verdict in pair.verdicts:
            self.slots.add(verdict)
            self.failed.update((each.status.value, each.detail) for each in verdict.votes if each.status not in USABLE)
            self.principles.setdefault(verdict.principle, _PrincipleTally()).add(verdict, human)
        if usable:
            self.flipped.add(POSITION_INCONSISTENT in pair.flags)
        chosen, rejected = pair.chosen_text, pair.rejected_text
        if chosen is not None and rejected is not None and len(chosen) != len(rejected):
            self.longer.add(len(chosen) > len(rejected))
        if usable and human is not None:
            self._agree(pair, human)

    def _agree(self, pair: PreferencePair, human: Choice) -> None:
        self.human[human] += 1
        self.three_way.add(human == (pair.chosen or "tie"))
        if human != "tie" and pair.chosen:
            self.agreement.add(human == pair.chosen)
        if human != "tie" and pair.p_a is not None and pair.p_a != 0.5:
            self.forced.add((human == "a") == (pair.p_a > 0.5))

    def audit(self) -> Audit:
        return Audit(
            pairs=self.statuses.total(),
            statuses=dict(sorted(self.statuses.items())),
            discards=dict(sorted(self.discards.items())),
            flags=dict(sorted(self.flags.items())),
            coverage=self.covered.interval,
            human_labels=self.human.total(),
            human_ties=self.human["tie"],
            judge_ties=self.statuses[Status.TIE.value],
            agreement=self.agreement.interval,
            three_way_agreement=self.three_way.interval,
            forced_agreement=self.forced.interval,
            flip_rate=self.flipped.interval,
            longer_chosen=self.longer.interval,
            position=self.slots.bias(),
            failure=_failure(self.failed),
            principles={name: each.audit() for name, each in self.principles.items()},
        )


def _failure(failed: Counter[tuple[str, str]]) -> Failure | None:
    by_status = Counter[str]()
    for (status, _), votes in failed.items():
        by_status[status] += votes
    if not by_status:
        return None
    most = by_status.most_common(1)[0][0]
    detail, votes = Counter({why: n for (status, why), n in failed.items() if status == most}).most_common(1)[0]
    return Failure(most, detail, votes)


def human_votes(pair: PreferencePair) -> tuple[HumanVote, ...]:
    """People's votes on the pair's a and b; none where nobody voted."""
    return tuple(pair.extra.get(HUMAN_VOTES, ()))


def human_verdict(pair: PreferencePair) -> Choice | None:
    """What people's votes come to; None without votes."""
    return majority(human_votes(pair))


def position_bias(verdicts: Iterable[Verdict]) -> PositionBias:
    """The position bias over verdicts of which both orders answered."""
    slots = _Slots()
    for verdict in verdicts:
        slots.add(verdict)
    return slots.bias()
