"""Which labels would change: stored pairs under a text that is not published yet.

    stored pairs -(stratified sample)-> relabelled under the new text, asking only what changed  \\
                 -(part of the sample)-> what changed is asked again under the *old* text: noise  > Preview
    the new text's cases under the old text, then under the new                                 /

The noise is what judging once more would have changed without any edit. A change inside it says nothing about the edit.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from constitution.digest import content_hash
from constitution.document import Constitution
from critic.case_testing import label_cases, report
from critic.impact import CaseEffect, Edit, Impact, Relabelled, case_effect, edit, impact
from critic.judge import Judge, Usage
from critic.labelling import total
from critic.pairs import USABLE
from critic.relabelling import Relabeller, relabel, same_judge
from critic.strata import Member, sizes, stratified, stratum
from solon.errors import CoverageTooLow, InvalidInput
from solon.records import PreferencePair
from solon.seeds import shuffled

Pairs = Callable[[], Iterable[PreferencePair]]
"""Gives the stored pairs from the beginning, each time it is called."""
Progress = Callable[[int, int], None]
"""Takes how many pairs and cases are done, and of how many."""

_CONTROL: Final = "control"


@dataclass(frozen=True)
class Plan:
    """How much is asked."""

    size: int = 200
    """Pairs in the sample."""
    control: int = 100
    """Pairs of the sample that are judged again under the old text."""
    seed: int = 0
    cases: bool = True
    """Whether the cases are tried under both texts."""


@dataclass(frozen=True)
class Population:
    """The stored pairs, as much of them as planning needs."""

    pairs: int
    unmeasured: int
    """Pairs without a measured label; they are in no sample."""
    members: tuple[Member, ...]
    calls: int
    """Judge calls to label all pairs under the new text, stored votes reused."""
    calls_from_scratch: int


@dataclass(frozen=True)
class Estimate:
    """What relabelling all stored pairs would take."""

    pairs: int
    judge_calls: int
    """Exact where no answer is remembered, else at most as many."""
    judge_calls_from_scratch: int
    prompt_tokens: float | None
    """From the mean of the calls made here; None where none was made."""
    seconds: float | None
    """At the pace of the calls made here."""
    changed_labels: tuple[float, float, float] | None
    """Labels that would change, and the bounds of the 95 % interval."""


@dataclass(frozen=True)
class Preview:
    """Which labels would change."""

    old_hash: str
    new_hash: str
    edit: Edit
    pairs: int
    unmeasured: int
    sampled: int
    control: int
    strata: dict[str, int]
    impact: Impact
    cases: CaseEffect | None
    spent: dict[str, Usage]
    """By what for: `sample`, `control`, `cases`."""
    estimate: Estimate
    judge_calls: int
    """All calls that were made."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return asdict(self)


async def preview(
    pairs: Pairs,
    old: Constitution,
    new: Constitution,
    judge: Judge | None,
    plan: Plan,
    progress: Progress = lambda done, total: None,
) -> Preview:
    """The effect of publishing `new` on labels made under `old`.

    Args:
        judge: the one that gave the stored votes; None where neither text asks one. The control asks it afresh, since a
            remembered answer is no second measurement.

    Raises:
        InvalidInput: the pairs were not labelled under `old`, or by another judge, or none has a measured label.
        CoverageTooLow: the judge failed on more than half of the sample.
    """
    relabeller = Relabeller(new, judge, earlier=old)
    population = survey(pairs(), old, judge, relabeller)
    members = stratified(population.members, plan.size, plan.seed)
    sample = _chosen(pairs(), members)
    changes = edit(old, new)
    affected = [each for each in sample if _asked_again(each, changes)]
    control = shuffled(affected, plan.seed, _CONTROL)[: plan.control]
    cases = new.cases if plan.cases else ()
    ticks = _Ticks(progress, len(sample) + len(control) + len(cases))

    started, asked = time.perf_counter(), _asked(judge)
    under_new = await _relabelled(sample, sample, relabeller, ticks)
    elapsed_s, asked = time.perf_counter() - started, _asked(judge) - asked
    _require_coverage(under_new)
    forgotten = [_without(each, changes) for each in control]
    again = judge.afresh() if judge is not None else None
    under_old = await _relabelled(control, forgotten, Relabeller(old, again), ticks)
    spent = {"sample": _spent(under_new), "control": _spent(under_old)}
    effect = None
    if cases:
        effect, spent["cases"] = await _cases(old, new, judge, relabeller)
    found = impact(under_new, under_old, changes.reworded)
    return Preview(
        old_hash=content_hash(old),
        new_hash=content_hash(new),
        edit=changes,
        pairs=population.pairs,
        unmeasured=population.unmeasured,
        sampled=len(sample),
        control=len(control),
        strata=sizes(members),
        impact=found,
        cases=effect,
        spent=spent,
        estimate=_estimate(population, found, spent["sample"], asked, elapsed_s),
        judge_calls=sum(usage.judge_calls for usage in spent.values()),
    )


def survey(
    pairs: Iterable[PreferencePair], old: Constitution, judge: Judge | None, relabeller: Relabeller
) -> Population:
    """The population of stored pairs; reads each pair once and keeps none."""
    expected = content_hash(old)
    members: list[Member] = []
    count = calls = from_scratch = 0
    for index, pair in enumerate(pairs):
        _check(pair, expected, judge)
        count += 1
        calls += relabeller.calls(pair)
        from_scratch += relabeller.calls_from_scratch(pair)
        if pair.status in USABLE:
            members.append(Member(index, pair.id, stratum(pair)))
    if not members:
        raise InvalidInput("no pair has a measured label", field="pairs", remedy="give a dataset with labels")
    return Population(count, count - len(members), tuple(members), calls, from_scratch)


def _check(pair: PreferencePair, expected: str, judge: Judge | None) -> None:
    made = pair.provenance
    if made.constitution_hash != expected:
        raise InvalidInput(
            f"labelled under {made.constitution} {made.constitution_version}, not under the earlier text given",
            field=f"pair {pair.id}",
            remedy=f"give the text with content hash {made.constitution_hash}",
        )
    if judge is not None and made.judge and not same_judge(judge, made):
        raise InvalidInput(
            f"the stored votes are not this judge's as it is asked now: {made.judge.get('name')}, revision "
            f"{made.judge.get('revision')}",
            field=f"pair {pair.id}",
            remedy="name the judge that gave them, with its options (`fences`, `labels`) as they were, "
            "or label the dataset again with this one first",
        )


def _chosen(pairs: Iterable[PreferencePair], members: Sequence[Member]) -> list[PreferencePair]:
    wanted = {each.index for each in members}
    return [pair for index, pair in enumerate(pairs) if index in wanted]


def _asked_again(pair: PreferencePair, changes: Edit) -> bool:
    """Whether the pair has a vote or an answer on something that was reworded."""
    voted = any(each.principle in changes.reworded for each in pair.verdicts)
    return voted or any(name in pair.provenance.proposition_hashes for name in changes.questions)


def _without(pair: PreferencePair, changes: Edit) -> PreferencePair:
    """The pair without its votes and answers on what was reworded."""
    made = pair.provenance
    hashes = {name: digest for name, digest in made.proposition_hashes.items() if name not in changes.questions}
    kept = tuple(each for each in pair.verdicts if each.principle not in changes.reworded)
    return pair.model_copy(
        update={"verdicts": kept, "provenance": made.model_copy(update={"proposition_hashes": hashes})}
    )


async def _relabelled(
    stored: Sequence[PreferencePair], asked: Sequence[PreferencePair], relabeller: Relabeller, ticks: "_Ticks"
) -> list[Relabelled]:
    found: list[Relabelled] = []
    items = relabel(asked, relabeller)
    async for item in items:
        found.append((stored[len(found)], item))
        ticks()
    return found


def _require_coverage(found: Sequence[Relabelled]) -> None:
    """Raises CoverageTooLow where the judge failed on more than half of the sample: what is left says nothing."""
    lost = Counter(
        each.status.value for _, each in found if isinstance(each, PreferencePair) and each.status not in USABLE
    )
    if lost.total() * 2 > len(found):
        raise CoverageTooLow(
            f"{len(found) - lost.total()} of {len(found)} pairs could be judged: "
            + ", ".join(f"{status} {count}" for status, count in sorted(lost.items())),
            remedy="see that the judge answers in time and to the point, and try again",
        )


async def _cases(
    old: Constitution, new: Constitution, judge: Judge | None, relabeller: Relabeller
) -> tuple[CaseEffect, Usage]:
    """The cases under both texts; what the old text was asked and did not change is not asked again."""
    known = [case for case in new.cases if case.scope in old.scopes]
    before = await label_cases(old, judge, known)
    pairs = [pair async for pair in relabel([pair for _, pair in before], relabeller)]
    after = [(case, pair) for (case, _), pair in zip(before, pairs, strict=True) if isinstance(pair, PreferencePair)]
    after += await label_cases(new, judge, [case for case in new.cases if case not in known])
    usage = total(pair for _, pair in [*before, *after])
    return case_effect(report(old, before), report(new, after)), usage


def _spent(found: Sequence[Relabelled]) -> Usage:
    return total(after for _, after in found if isinstance(after, PreferencePair))


def _asked(judge: Judge | None) -> int:
    """Questions so far, those included that the cache answered; their tokens are counted with the others'."""
    return judge.usage.judge_calls + judge.usage.cache_hits if judge is not None else 0


def _estimate(population: Population, found: Impact, spent: Usage, asked: int, elapsed_s: float) -> Estimate:
    calls, made = population.calls, spent.judge_calls
    changed = found.labels.changes.changed
    measured = len(population.members)
    return Estimate(
        pairs=population.pairs,
        judge_calls=calls,
        judge_calls_from_scratch=population.calls_from_scratch,
        prompt_tokens=calls * spent.prompt_tokens / asked if asked else (0.0 if not calls else None),
        seconds=calls * elapsed_s / made if made else (0.0 if not calls else None),
        changed_labels=(changed.value * measured, changed.low * measured, changed.high * measured) if changed else None,
    )


class _Ticks:
    """Counts what is done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self, count: int = 1) -> None:
        self._done += count
        self._progress(self._done, self._total)
