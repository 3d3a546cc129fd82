"""An audit of a judge: coverage, agreement with people, and how much the slot decides.

Tie rule, because agreement means nothing without one: `agreement` counts comparisons that both people and judge
decided; `three_way_agreement` counts all that both looked at, a tie being a third answer; `forced_agreement` takes the
judge's side even within the tie margin. People's verdict is the side with more votes; as many for each is a tie.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from critic.pairs import USABLE, logit
from critic.people import Choice, majority
from critic.pipeline import HUMAN_VOTES
from solon.intervals import Interval, wilson
from solon.records import Discard, PreferencePair, Status, Verdict
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
    position: PositionBias
    principles: dict[str, PrincipleAudit] = field(default_factory=dict[str, PrincipleAudit])

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return asdict(self)


def audit(items: Iterable[PreferencePair | Discard]) -> Audit:
    """The audit of labelled pairs; people's votes are in `extra["human_votes"]`, about the pair's a and b."""
    pairs: list[PreferencePair] = []
    discards: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Discard):
            discards[item.reason] += 1
        else:
            pairs.append(item)
    usable = [pair for pair in pairs if pair.status in USABLE]
    judged = [(human, pair) for pair in usable if (human := human_verdict(pair)) is not None]
    return Audit(
        pairs=len(pairs),
        statuses=_counts(pair.status.value for pair in pairs),
        discards=dict(sorted(discards.items())),
        flags=_counts(flag for pair in pairs for flag in pair.flags),
        coverage=wilson(len(usable), len(pairs)),
        human_labels=len(judged),
        human_ties=sum(human == "tie" for human, _ in judged),
        judge_ties=sum(pair.status is Status.TIE for pair in usable),
        agreement=_share(human == pair.chosen for human, pair in judged if human != "tie" and pair.chosen),
        three_way_agreement=_share(human == (pair.chosen or "tie") for human, pair in judged),
        forced_agreement=_share(
            (human == "a") == (pair.p_a > 0.5)
            for human, pair in judged
            if human != "tie" and pair.p_a is not None and pair.p_a != 0.5
        ),
        flip_rate=_share("position_inconsistent" in pair.flags for pair in usable),
        position=position_bias([verdict for pair in pairs for verdict in pair.verdicts]),
        principles=_by_principle(pairs),
    )


def human_votes(pair: PreferencePair) -> tuple[HumanVote, ...]:
    """People's votes on the pair's a and b; none where nobody voted."""
    return tuple(pair.extra.get(HUMAN_VOTES, ()))


def human_verdict(pair: PreferencePair) -> Choice | None:
    """What people's votes come to; None without votes."""
    return majority(human_votes(pair))


def position_bias(verdicts: Sequence[Verdict]) -> PositionBias:
    """The position bias over verdicts of which both orders answered."""
    both: list[tuple[float, float]] = []
    for verdict in verdicts:
        first = [vote.p_first for vote in verdict.votes if vote.p_first is not None]
        if len(first) == 2:
            both.append((first[0], first[1]))
    if not both:
        return PositionBias(0, None, None, None)
    votes = [p for pair in both for p in pair]
    return PositionBias(
        verdicts=len(both),
        same_position_rate=_share((ab > 0.5) == (ba > 0.5) for ab, ba in both),
        first_slot_share=sum(1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0 for p in votes) / len(votes),
        logit_bias=sum(logit(p) for p in votes) / len(votes),
    )


def _by_principle(pairs: Sequence[PreferencePair]) -> dict[str, PrincipleAudit]:
    found: dict[str, list[tuple[PreferencePair, Verdict]]] = {}
    for pair in pairs:
        for verdict in pair.verdicts:
            found.setdefault(verdict.principle, []).append((pair, verdict))
    return {
        principle: PrincipleAudit(
            verdicts=len(entries),
            decided=sum(verdict.status is Status.OK for _, verdict in entries),
            statuses=_counts(verdict.status.value for _, verdict in entries),
            agreement=_share(
                (human == "a") == (verdict.p_a > 0.5)
                for pair, verdict in entries
                if verdict.status is Status.OK
                and verdict.p_a is not None
                and (human := human_verdict(pair)) not in (None, "tie")
            ),
            position=position_bias([verdict for _, verdict in entries]),
        )
        for principle, entries in found.items()
    }


def _share(outcomes: Iterable[bool]) -> Interval | None:
    found = list(outcomes)
    return wilson(sum(found), len(found))


def _counts(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))
