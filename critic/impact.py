"""What a change of text did to a sample of labels: counts with intervals, the largest flips, the cases."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from constitution.document import Constitution, Principle
from critic.audit import human_verdict
from critic.case_testing import Accuracy, CaseReport
from critic.changes import Changes, Effect, Outcome, beside_noise, outcome, tally
from solon.intervals import Interval, wilson
from solon.records import Discard, PreferencePair, Verdict

Relabelled = tuple[PreferencePair, PreferencePair | Discard]
"""A stored pair, and what it came to."""

_MOST_FLIPS: Final = 10


@dataclass(frozen=True)
class Edit:
    """Which parts ask the judge something else than before."""

    reworded: tuple[str, ...]
    """Principles of both texts whose `text` or `compare` differ."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    recombined: bool
    """Whether anything changed that needs no judge: weights, vetoes, scopes, rules or `combine`."""
    questions: tuple[str, ...]
    """Judge propositions of both texts whose question differs."""


@dataclass(frozen=True)
class PrincipleImpact:
    """What became of the verdicts under one reworded principle."""

    verdicts: Effect
    scopes: dict[str, Changes]


@dataclass(frozen=True)
class Flip:
    """A label that changed sides."""

    id: str
    prompt: str
    scope: str
    a: str
    b: str
    before: Literal["a", "b"]
    after: Literal["a", "b"]
    p_a_before: float
    p_a_after: float
    principles: dict[str, tuple[float | None, float | None]]
    """P(a is better) before and after under each principle where it differs; None: not there, or not judged."""
    people: str | None
    """People's verdict on a and b, where there is one."""


@dataclass(frozen=True)
class CaseEffect:
    """The new text's cases under the old text and under the new."""

    before: Accuracy
    after: Accuracy
    newly_failing: tuple[str, ...]
    newly_passing: tuple[str, ...]
    failing: tuple[str, ...]
    """Under the new text."""


@dataclass(frozen=True)
class Impact:
    """The effect on labels, all told."""

    labels: Effect
    scopes: dict[str, Effect]
    principles: dict[str, PrincipleImpact]
    flips: tuple[Flip, ...]
    """The largest first, ten at most."""
    agreement_before: Interval | None
    """With people, where both decided."""
    agreement_after: Interval | None


def edit(old: Constitution, new: Constitution) -> Edit:
    """What a new text asks that the old one did not."""
    before, after = ({each.id: each for each in text.principles} for text in (old, new))
    questions = {each.id: each.question for each in old.propositions if each.kind == "judge"}
    return Edit(
        reworded=tuple(name for name in before if name in after and _asks(before[name]) != _asks(after[name])),
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        recombined=_recombined(old, new, before, after),
        questions=tuple(
            each.id
            for each in new.propositions
            if each.kind == "judge" and each.id in questions and questions[each.id] != each.question
        ),
    )


def impact(sample: Sequence[Relabelled], control: Sequence[Relabelled], reworded: Iterable[str]) -> Impact:
    """The effect on the sample beside the noise of the control sample.

    Args:
        control: pairs whose votes under the reworded principles were given again under the old text; empty where the
            old text asks nothing that changed.
        reworded: ids of principles.
    """
    flips = [_flip(*each) for each in sample if _flipped(*each)]
    return Impact(
        labels=_effect(sample, control),
        scopes={
            scope: _effect(_of_scope(sample, scope), _of_scope(control, scope))
            for scope in sorted({pair.prompt.scope for pair, _ in sample})
        },
        principles={name: _principle(sample, control, name) for name in reworded},
        flips=tuple(sorted(flips, key=lambda flip: -abs(flip.p_a_after - flip.p_a_before))[:_MOST_FLIPS]),
        agreement_before=_agreement(pair for pair, _ in sample),
        agreement_after=_agreement(after for _, after in sample if isinstance(after, PreferencePair)),
    )


def case_effect(before: CaseReport, after: CaseReport) -> CaseEffect:
    """The effect on cases, from their reports under either text."""
    were, are = set(before.failed), set(after.failed)
    ids = [case.id for case in after.cases]
    return CaseEffect(
        before=before.label,
        after=after.label,
        newly_failing=tuple(name for name in ids if name in are - were),
        newly_passing=tuple(name for name in ids if name in were - are),
        failing=after.failed,
    )


def _asks(principle: Principle) -> tuple[str, str | None]:
    return principle.text, principle.compare


def _recombined(
    old: Constitution, new: Constitution, before: Mapping[str, Principle], after: Mapping[str, Principle]
) -> bool:
    kept = [name for name in before if name in after]
    placed = [[(text[name].weight, text[name].veto, text[name].scopes) for name in kept] for text in (before, after)]
    parts = [(text.combine, text.rules, text.propositions, set(text.scopes)) for text in (old, new)]
    return placed[0] != placed[1] or parts[0] != parts[1]


def _effect(sample: Sequence[Relabelled], control: Sequence[Relabelled]) -> Effect:
    return beside_noise(tally(map(_labels, sample)), tally(map(_labels, control)) if control else None)


def _labels(pair: Relabelled) -> tuple[Outcome, Outcome]:
    return outcome(pair[0]), outcome(pair[1])


def _principle(sample: Sequence[Relabelled], control: Sequence[Relabelled], name: str) -> PrincipleImpact:
    def verdicts(pairs: Sequence[Relabelled]) -> Changes:
        found = ((_verdict(before, name), _verdict(after, name)) for before, after in pairs)
        return tally((outcome(was), outcome(now)) for was, now in found if was)

    scopes = sorted({pair.prompt.scope for pair, _ in sample if _verdict(pair, name)})
    return PrincipleImpact(
        verdicts=beside_noise(verdicts(sample), verdicts(control) if control else None),
        scopes={scope: verdicts(_of_scope(sample, scope)) for scope in scopes},
    )


def _verdict(pair: PreferencePair | Discard, name: str) -> Verdict | None:
    verdicts = pair.verdicts if isinstance(pair, PreferencePair) else ()
    return next((each for each in verdicts if each.principle == name), None)


def _of_scope(pairs: Sequence[Relabelled], scope: str) -> list[Relabelled]:
    return [each for each in pairs if each[0].prompt.scope == scope]


def _flipped(before: PreferencePair, after: PreferencePair | Discard) -> bool:
    sides = before.chosen, after.chosen if isinstance(after, PreferencePair) else None
    return None not in sides and sides[0] != sides[1]


def _flip(before: PreferencePair, after: PreferencePair | Discard) -> Flip:
    assert isinstance(after, PreferencePair) and before.chosen and after.chosen  # noqa: S101, PT018 - it flipped
    assert before.p_a is not None and after.p_a is not None  # noqa: S101, PT018 - decided labels are measured
    was, now = ({each.principle: each.p_a for each in pair.verdicts} for pair in (before, after))
    return Flip(
        id=before.id,
        prompt=before.prompt.text,
        scope=before.prompt.scope,
        a=before.a.text,
        b=before.b.text,
        before=before.chosen,
        after=after.chosen,
        p_a_before=before.p_a,
        p_a_after=after.p_a,
        principles={
            name: (was.get(name), now.get(name))
            for name in dict.fromkeys([*was, *now])
            if was.get(name) != now.get(name)
        },
        people=human_verdict(before),
    )


def _agreement(pairs: Iterable[PreferencePair]) -> Interval | None:
    found = [
        human == pair.chosen for pair in pairs if pair.chosen and (human := human_verdict(pair)) not in (None, "tie")
    ]
    return wilson(sum(found), len(found))
