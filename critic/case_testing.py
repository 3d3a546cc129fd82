"""A constitution's own cases, put to a judge: `better` must win over `worse`.

Every case is labelled like any other comparison, by all principles and rules that apply and in both orders. It passes
when the label prefers `better`; a tie does not pass. Beside that, each principle that a case names under `because` is
held to it alone: a principle whose wording the judge misreads shows up here even where the others outvote it.
"""

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from constitution.document import Case, Constitution
from critic.concurrency import in_order
from critic.judge import Judge, Usage
from critic.labelling import Labeller, spent, total
from critic.pairs import USABLE
from solon.intervals import Interval, wilson
from solon.records import Comparison, Completion, Message, PreferencePair, Prompt, Status, Verdict

Mark = Literal["right", "tie", "wrong", "unjudged"]
"""What a judgement makes of a case; `unjudged` is a failed judgement, or a principle that does not apply."""
MARKS: Final[tuple[Mark, ...]] = ("right", "tie", "wrong", "unjudged")

_CASES_IN_FLIGHT: Final = 16


@dataclass(frozen=True)
class Judgement:
    """What one judgement makes of a case."""

    mark: Mark
    status: Status | None
    """None where a principle does not apply to the case."""
    p_better: float | None
    """P(`better` is better); None unless status is `ok` or `tie`."""
    consistent: bool | None = None
    """Of a principle: whether both orders prefer the same completion."""


@dataclass(frozen=True)
class CaseResult:
    """One case."""

    id: str
    label: Judgement
    """All principles and rules together."""
    principles: dict[str, Judgement]
    """The principles that the case names, each alone."""

    @property
    def passed(self) -> bool:
        """Whether the label prefers `better`."""
        return self.label.mark == "right"


@dataclass(frozen=True)
class Accuracy:
    """How often judgements are right."""

    marks: dict[Mark, int]
    accuracy: Interval | None
    """Share that is `right` among those that were judged, ties included; None where none was."""
    consistent: Interval | None = None
    """Share of a principle's verdicts in which both orders prefer the same completion."""


@dataclass(frozen=True)
class CaseReport:
    """All cases of a constitution."""

    cases: tuple[CaseResult, ...]
    label: Accuracy
    principles: dict[str, Accuracy]
    """Of every principle, in the constitution's order; those that no case names have no accuracy."""
    failed: tuple[str, ...]
    """Ids of the cases that did not pass."""
    pass_rate: float
    """Share of all cases that passed, in [0, 1]; an unjudged one did not. 1 without cases."""
    usage: Usage

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return asdict(self)


async def check_cases(constitution: Constitution, judge: Judge | None) -> CaseReport:
    """The report on the constitution's cases.

    Args:
        judge: None only for a constitution of rules that ask no judge.

    Raises:
        InvalidInput: the constitution needs a judge and there is none.
        ModelUnavailable: the judge cannot be reached.
    """
    return report(constitution, await label_cases(constitution, judge, constitution.cases))


async def label_cases(
    constitution: Constitution, judge: Judge | None, cases: Sequence[Case]
) -> list[tuple[Case, PreferencePair]]:
    """Each case with its label under a constitution, which need not be the one that holds it; a is `better`."""
    labeller = Labeller(constitution, judge)

    async def labelled(case: Case) -> tuple[Case, PreferencePair]:
        return case, await _label(labeller, case)

    async with aclosing(in_order(cases, labelled, width=_CASES_IN_FLIGHT)) as found:
        return [each async for each in found]


def report(constitution: Constitution, labelled: Sequence[tuple[Case, PreferencePair]]) -> CaseReport:
    """What the labels of the cases come to; a is `better` in each."""
    found = tuple(_result(case, pair) for case, pair in labelled)
    judged = {
        each.id: [r.principles[each.id] for r in found if each.id in r.principles] for each in constitution.principles
    }
    failed = tuple(case.id for case in found if not case.passed)
    return CaseReport(
        cases=found,
        label=_accuracy(result.label for result in found),
        principles={name: _accuracy(judgements) for name, judgements in judged.items()},
        failed=failed,
        pass_rate=1 - len(failed) / len(found) if found else 1.0,
        usage=total(pair for _, pair in labelled),
    )


async def _label(labeller: Labeller, case: Case) -> PreferencePair:
    prompt = Prompt(id=case.id, messages=(Message(role="user", content=case.prompt),), scope=case.scope)
    better, worse = Completion(text=case.better), Completion(text=case.worse)
    usage = Usage()
    scores = await labeller.rule_scores(prompt, (better, worse), usage)
    pair = await labeller.compare(Comparison(prompt=prompt, a=better, b=worse), (scores[0], scores[1]))
    return pair.model_copy(update={"provenance": spent(pair.provenance, usage)})


def _result(case: Case, pair: PreferencePair) -> CaseResult:
    verdicts = {verdict.principle: verdict for verdict in pair.verdicts}
    return CaseResult(
        id=case.id,
        label=Judgement(_mark(pair.status, pair.p_a), pair.status, pair.p_a),
        principles={name: _judgement(verdicts.get(name)) for name in case.because},
    )


def _judgement(verdict: Verdict | None) -> Judgement:
    if verdict is None:
        return Judgement("unjudged", None, None)
    return Judgement(_mark(verdict.status, verdict.p_a), verdict.status, verdict.p_a, verdict.consistent)


def _mark(status: Status, p_better: float | None) -> Mark:
    if status not in USABLE or p_better is None:
        return "unjudged"
    if status is Status.TIE:
        return "tie"
    return "right" if p_better > 0.5 else "wrong"


def _accuracy(judgements: Iterable[Judgement]) -> Accuracy:
    found = list(judgements)
    marks: dict[Mark, int] = {mark: sum(each.mark == mark for each in found) for mark in MARKS}
    both = [each.consistent for each in found if each.consistent is not None]
    return Accuracy(marks, wilson(marks["right"], len(found) - marks["unjudged"]), wilson(sum(both), len(both)))
