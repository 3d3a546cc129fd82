"""Whether a judge favours what its own family of models wrote, more than people or another judge do."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from critic.agreement import bootstrap
from critic.judge import is_decided
from critic.opinions import Opinion
from solon.intervals import Interval
from solon.records import PreferencePair


@dataclass(frozen=True)
class SelfPreference:
    """Comparisons in which exactly one completion is by a model of the judge's family."""

    family: str
    n: int
    judge: Interval
    """How often the judge prefers its family's completion; a tie is a half."""
    people: Interval | None
    """The same for people, where they voted."""
    control: Interval | None
    """The same for another judge."""
    excess: Interval | None
    """Judge less people, on the comparisons that people voted on; above 0 the judge favours its own."""


def self_preference(
    kin: Container[str],
    pairs: Sequence[PreferencePair],
    opinions: Sequence[Opinion],
    *,
    tie_margin: float,
    control: Mapping[str, float] | None = None,
) -> SelfPreference | None:
    """The judge's preference for its own family; None where no comparison is between the family and another model.

    Args:
        kin: names of the models of the family, see `solon.families.Kin`.
        pairs: those that the opinions are about, in the same order.
        tie_margin: of the control's verdicts; the opinions have had theirs.
        control: another judge's P(a is better) by pair id.
    """
    sided = [(pair, each, side) for pair, each in zip(pairs, opinions, strict=True) if (side := _side(pair, kin))]
    if not sided:
        return None
    judge = bootstrap([_share(each.choice, side) for _, each, side in sided], [each.prompt for _, each, _ in sided])
    assert judge is not None, "there are comparisons"  # noqa: S101 - checked above
    voted = [(each, each.people, side) for _, each, side in sided if each.people is not None]
    prompts = [each.prompt for each, _, _ in voted]
    other = [(control[pair.id], each, side) for pair, each, side in sided if control and pair.id in control]
    return SelfPreference(
        str(kin),
        len(sided),
        judge,
        bootstrap([_share(people, side) for _, people, side in voted], prompts),
        bootstrap(
            [_share(_choice(p, tie_margin), side) for p, _, side in other], [each.prompt for _, each, _ in other]
        ),
        bootstrap([_share(each.choice, side) - _share(people, side) for each, people, side in voted], prompts),
    )


def _side(pair: PreferencePair, kin: Container[str]) -> Literal["a", "b"] | None:
    """Which completion is by the family, None where both or neither are, or nobody says."""
    if pair.a.model is None or pair.b.model is None:
        return None
    a, b = pair.a.model in kin, pair.b.model in kin
    return None if a == b else "a" if a else "b"


def _share(choice: str, side: str) -> float:
    return 0.5 if choice == "tie" else float(choice == side)


def _choice(p: float, tie_margin: float) -> str:
    return "tie" if not is_decided(p, tie_margin) else "a" if p > 0.5 else "b"
