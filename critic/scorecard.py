"""A scorecard: all that is measured of a set of opinions, whoever holds them (a judge, one principle, a control)."""

from collections.abc import Sequence
from dataclasses import dataclass

from critic.agreement import bootstrap, cohen_kappa, gwet_ac2, krippendorff_alpha
from critic.audit import PositionBias, position_bias
from critic.length_control import LengthControlled, length_controlled, longer_share, rank_correlation
from critic.opinions import Opinion
from critic.people import SCALE
from critic.reliability import Calibration, calibration
from solon.intervals import Interval


@dataclass(frozen=True)
class Agreement:
    """With people; intervals are bootstraps over prompts.

    Tie rule: `forced` takes the judge's side even within the tie margin, over comparisons that people decided;
    `decided` counts those that both decided; all others take a tie as a third answer.
    """

    n: int
    """Comparisons with people's votes."""
    people_ties: int
    judge_ties: int
    forced: Interval | None
    decided: Interval | None
    three_way: Interval | None
    kappa: Interval | None
    """Cohen's, three answers."""
    ac2: Interval | None
    """Gwet's, a tie being half a disagreement (linear weights)."""
    alpha: Interval | None
    """Krippendorff's, nominal, judge and majority as two raters."""


@dataclass(frozen=True)
class LengthBias:
    """What length, in words, has to do with it."""

    longer_preferred: Interval | None
    """How often the judge's side is the longer one, among completions of different length; ties of the judge too."""
    longer_preferred_by_people: Interval | None
    """The same for people, where they decided."""
    rank_correlation: float | None
    """Spearman's, of the difference in length and P(a is better)."""
    agreement: LengthControlled | None
    """How often the judge's side is people's, with the length of people's choice taken out."""


@dataclass(frozen=True)
class Scorecard:
    """All measurements over one set of opinions."""

    opinions: int
    agreement: Agreement | None
    """None where people said nothing."""
    calibration: Calibration | None
    length: LengthBias
    position: PositionBias


def scorecard(opinions: Sequence[Opinion]) -> Scorecard:
    """The scorecard of a set of opinions; what cannot be measured on them is None."""
    decided = [each for each in opinions if each.people in ("a", "b")]
    return Scorecard(
        opinions=len(opinions),
        agreement=_agreement(opinions),
        calibration=calibration(
            [each.p_a for each in decided], [each.people == "a" for each in decided], _prompts(decided)
        ),
        length=_length(opinions, decided),
        position=position_bias([verdict for each in opinions for verdict in each.verdicts]),
    )


def _agreement(opinions: Sequence[Opinion]) -> Agreement | None:
    voted = [each for each in opinions if each.people is not None]
    if not voted:
        return None
    people, judged = [each.people or "tie" for each in voted], [each.choice for each in voted]
    units = [[one, other] for one, other in zip(people, judged, strict=True)]
    prompts = _prompts(voted)
    sided = [each for each in voted if each.people != "tie" and each.p_a != 0.5]
    both = [each for each in sided if each.choice != "tie"]
    return Agreement(
        n=len(voted),
        people_ties=people.count("tie"),
        judge_ties=judged.count("tie"),
        forced=bootstrap([float(_sides_with_people(each)) for each in sided], _prompts(sided)),
        decided=bootstrap([float(each.choice == each.people) for each in both], _prompts(both)),
        three_way=bootstrap([float(one == other) for one, other in units], prompts),
        kappa=cohen_kappa(people, judged, prompts),
        ac2=gwet_ac2(units, SCALE, groups=prompts),
        alpha=krippendorff_alpha(units, SCALE, groups=prompts),
    )


def _length(opinions: Sequence[Opinion], decided: Sequence[Opinion]) -> LengthBias:
    sided = [each for each in opinions if each.p_a != 0.5]
    longer_choice = [each.longer_by if each.people == "a" else -each.longer_by for each in decided]
    return LengthBias(
        longer_preferred=longer_share(
            [each.p_a > 0.5 for each in sided], [each.longer_by for each in sided], _prompts(sided)
        ),
        longer_preferred_by_people=longer_share(
            [each.people == "a" for each in decided], [each.longer_by for each in decided], _prompts(decided)
        ),
        rank_correlation=rank_correlation([each.longer_by for each in opinions], [each.p_a for each in opinions]),
        agreement=length_controlled(
            [0.5 if each.p_a == 0.5 else float(_sides_with_people(each)) for each in decided],
            longer_choice,
            _prompts(decided),
        ),
    )


def _sides_with_people(opinion: Opinion) -> bool:
    return (opinion.p_a > 0.5) == (opinion.people == "a")


def _prompts(opinions: Sequence[Opinion]) -> list[str]:
    return [each.prompt for each in opinions]
