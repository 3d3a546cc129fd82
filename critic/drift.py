"""Which principles a labelled set really follows: written ones that it does not, unwritten ones that it does.

Each principle, written or candidate, votes on each pair. A logistic regression then says how much each vote weighs in
the labels while the others are held fixed: what only looks followed because it goes along with another one gets no
weight. Candidates join one by one, the one that explains most first, as long as their weight is surely not 0. The rules
of a constitution count as one more principle, whose vote is the difference of their rewards.

    written      followed | contradicted (the labels do the opposite) | not_followed | too_few (cannot be told)
    candidates   the same; `same_as` where its votes are those of another principle

Bounds hold at 95 %, widened for the number of principles that are looked at (Bonferroni).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from constitution.document import Constitution, Principle
from critic.fitting import Choices, Estimate, Matrix, estimate, fit
from critic.pairs import USABLE, clamped, label, logit
from solon.errors import InvalidInput
from solon.intervals import Interval, wilson
from solon.records import Discard, PreferencePair, Status, Verdict
from solon.seeds import counter_seed

RULES: Final = Principle.model_construct(id="(rules)", text="The rules of the constitution.")
"""Stands for all rules in the findings; no principle can have this id."""

Standing = Literal["followed", "contradicted", "not_followed", "too_few", "same_as"]

_MOST_LOGITS: Final = 4.0
"""As in `logit_sum`: no vote counts as surer than this."""
_FEWEST: Final = 20
"""Decided votes without which nothing is said of a principle, and pairs without which nothing is said at all."""
_ALIKE: Final = 0.8
"""Cosine of two principles' votes, of either sign, from which on they are one and the same evidence."""
_FOLDS: Final = 5


@dataclass(frozen=True)
class Finding:
    """What the labels say of one principle."""

    id: str
    text: str
    standing: Standing
    decided: int
    """Pairs on which its votes are decided."""
    agreement: Interval | None
    """Share of these whose label it agrees with; it may owe that to another principle."""
    weight: Estimate | None
    """In the labels, the other principles held fixed; log-odds per log-odds of its vote."""
    compare: str | None = None
    same_as: str | None = None
    """Id of the principle whose votes it shares."""


@dataclass(frozen=True)
class Drift:
    """What a labelled set follows."""

    pairs: int
    """With a label that takes sides and at least one usable vote."""
    left_out: int
    """Pairs without."""
    as_written: Interval | None
    """Share of the labels that the constitution as it stands agrees with; None without one."""
    reweighted: Interval | None
    """The same with weights fitted to the labels, on pairs that were held out of the fit."""
    explained: Interval | None
    """The same with the unwritten principles that were found."""
    written: tuple[Finding, ...]
    unwritten: tuple[Finding, ...]
    """Candidates that the labels follow, or do the opposite of, beyond what is written; strongest first."""
    dismissed: tuple[Finding, ...]
    """Candidates that explain nothing more."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Ballots:
    """All votes on all pairs that count."""

    principles: tuple[Principle, ...]
    votes: Matrix
    """Log-odds that a is better, shape [pair, principle]; 0 where there is no vote."""
    decided: NDArray[np.bool_]
    """Shape [pair, principle]."""
    chose_a: Choices
    """The labels, shape [pair]."""
    folds: NDArray[np.int64]
    """Which of five parts a pair belongs to, the same for all pairs of a prompt."""

    def same(self, one: int, other: int) -> bool:
        """Whether two principles vote the same, or the opposite, wherever they vote."""
        a, b = self.votes[:, one], self.votes[:, other]
        size = float(np.linalg.norm(a) * np.linalg.norm(b))
        return size > 0 and abs(float(a @ b)) / size > _ALIKE

    def agreement(self, index: int) -> Interval | None:
        """Share of the decided votes of a principle that the labels agree with."""
        where = self.decided[:, index]
        agrees = (self.votes[where, index] > 0) == self.chose_a[where]
        return wilson(int(agrees.sum()), int(where.sum()))

    def held_out(self, columns: Sequence[int]) -> Interval | None:
        """Share of the labels that fitted weights predict on pairs outside the fit; an undecided one counts half."""
        right = 0.0
        for fold in range(_FOLDS):
            test = self.folds == fold
            weights = fit(self.votes[~test][:, columns], self.chose_a[~test]).weights
            right += _right(self.votes[test][:, columns] @ weights, self.chose_a[test])
        return wilson(right, len(self.chose_a))


def find_drift(
    labelled: Sequence[PreferencePair],
    voted: Sequence[PreferencePair | Discard],
    candidates: Sequence[Principle],
    written: Constitution | None = None,
    *,
    most: int = 8,
) -> Drift:
    """What the labels follow.

    Args:
        labelled: pairs whose `chosen` is the label in question.
        voted: the same pairs in the same order, with a verdict under each principle, written and candidate.
        written: the constitution that the labels are held against.
        most: unwritten principles to look for.

    Raises:
        InvalidInput: fewer than 20 pairs have a label that takes sides.
    """
    principles = (*_own(written), *candidates)
    both = zip(labelled, voted, strict=True)
    counting = [(one, other) for one, other in both if one.chosen and not isinstance(other, Discard) and _usable(other)]
    if len(counting) < _FEWEST:
        raise InvalidInput(
            f"{len(counting)} pairs have a label that takes sides, {_FEWEST} are needed",
            remedy="give more labelled pairs; ties say nothing here",
        )
    ballots = _ballots(principles, counting)
    own = list(range(len(principles) - len(candidates)))
    pool, twins = _candidates(ballots, own, range(len(own), len(principles)))
    found = _selected(ballots, own, pool, most)
    columns = [*own, *found]
    return Drift(
        pairs=len(counting),
        left_out=len(labelled) - len(counting),
        as_written=_as_written(written, counting) if written is not None else None,
        reweighted=ballots.held_out(own) if own else None,
        explained=ballots.held_out(columns) if columns else None,
        written=tuple(_findings(ballots, columns, own, len(own))),
        unwritten=tuple(_findings(ballots, columns, found, len(pool))),
        dismissed=tuple(_dismissed(ballots, columns, range(len(own), len(principles)), twins)),
    )


def _own(written: Constitution | None) -> tuple[Principle, ...]:
    if written is None:
        return ()
    return (*written.principles, RULES) if written.rules else written.principles


def _candidates(ballots: _Ballots, own: Sequence[int], others: Sequence[int]) -> tuple[list[int], dict[int, int]]:
    """Candidates with something of their own to say, and for each other one the principle whose votes it shares."""
    pool: list[int] = []
    twins: dict[int, int] = {}
    for each in others:
        twin = next((known for known in (*own, *pool) if ballots.same(each, known)), None)
        if twin is not None:
            twins[each] = twin
        elif int(ballots.decided[:, each].sum()) >= _FEWEST:
            pool.append(each)
    return pool, twins


def _selected(ballots: _Ballots, own: Sequence[int], pool: Sequence[int], most: int) -> list[int]:
    """Candidates that explain more, by forward selection on the likelihood of the labels."""
    found: list[int] = []
    while len(found) < most:
        rest = [each for each in pool if each not in found]
        fits = {each: fit(ballots.votes[:, [*own, *found, each]], ballots.chose_a) for each in rest}
        best = max(fits, key=lambda each: fits[each].log_posterior, default=None)
        if best is None:
            break
        columns = [*own, *found, best]
        if estimate(ballots.votes[:, columns], ballots.chose_a, len(columns) - 1, comparisons=len(pool)).sign == 0:
            break
        found.append(best)
    return found


def _findings(ballots: _Ballots, columns: Sequence[int], about: Sequence[int], comparisons: int) -> list[Finding]:
    found: list[Finding] = []
    votes = ballots.votes[:, columns]
    for index in about:
        weight = estimate(votes, ballots.chose_a, columns.index(index), comparisons=comparisons)
        found.append(_finding(ballots, index, _standing(ballots, index, weight), weight))
    return found


def _standing(ballots: _Ballots, index: int, weight: Estimate) -> Standing:
    if int(ballots.decided[:, index].sum()) < _FEWEST:
        return "too_few"
    return "followed" if weight.sign > 0 else "contradicted" if weight.sign < 0 else "not_followed"


def _dismissed(
    ballots: _Ballots, columns: Sequence[int], candidates: Sequence[int], twins: Mapping[int, int]
) -> list[Finding]:
    found: list[Finding] = []
    for index in (each for each in candidates if each not in columns):
        if index in twins:
            found.append(_finding(ballots, index, "same_as", None, ballots.principles[twins[index]].id))
        else:
            few = int(ballots.decided[:, index].sum()) < _FEWEST
            found.append(_finding(ballots, index, "too_few" if few else "not_followed", None))
    return found


def _finding(
    ballots: _Ballots, index: int, standing: Standing, weight: Estimate | None, same_as: str | None = None
) -> Finding:
    principle = ballots.principles[index]
    decided = int(ballots.decided[:, index].sum())
    return Finding(
        principle.id, principle.text, standing, decided, ballots.agreement(index), weight, principle.compare, same_as
    )


def _ballots(principles: tuple[Principle, ...], counting: Sequence[tuple[PreferencePair, PreferencePair]]) -> _Ballots:
    votes = np.zeros((len(counting), len(principles)))
    decided = np.zeros(votes.shape, dtype=np.bool_)
    for row, (_, voted) in enumerate(counting):
        verdicts = _by_id(voted)
        for column, principle in enumerate(principles):
            verdict = verdicts.get(principle.id)
            if principle is RULES and voted.rules_a is not None and voted.rules_b is not None:
                votes[row, column] = clamped(voted.rules_a.reward - voted.rules_b.reward, _MOST_LOGITS)
                decided[row, column] = votes[row, column] != 0
            elif verdict is not None and verdict.p_a is not None:
                votes[row, column] = logit(verdict.p_a, _MOST_LOGITS)
                decided[row, column] = verdict.status is Status.OK
    chose_a = np.array([one.chosen == "a" for one, _ in counting])
    folds = np.array([counter_seed("fold", one.prompt.id) % _FOLDS for one, _ in counting])
    return _Ballots(principles, votes, decided, chose_a, folds)


def _as_written(written: Constitution, counting: Sequence[tuple[PreferencePair, PreferencePair]]) -> Interval | None:
    """Share of the labels that the constitution as it stands agrees with; where it sees a tie it counts half."""
    leanings: list[float] = []
    for one, voted in counting:
        verdicts, applying = _by_id(voted), written.principles_for(one.prompt.scope)
        judged = [principle for principle in applying if principle.id in verdicts]
        rules = (voted.rules_a, voted.rules_b) if voted.rules_a is not None and voted.rules_b is not None else None
        outcome = label([verdicts[each.id] for each in judged], judged, written.combine, rules=rules, min_principles=1)
        leanings.append(0.0 if outcome.p_a is None else outcome.p_a - 0.5)
    chose_a = np.array([one.chosen == "a" for one, _ in counting])
    return wilson(_right(np.array(leanings), chose_a), len(counting))


def _right(leanings: Matrix, chose_a: Choices) -> float:
    undecided = leanings == 0
    return float(((leanings > 0) == chose_a)[~undecided].sum() + 0.5 * undecided.sum())


def _by_id(pair: PreferencePair) -> dict[str, Verdict]:
    return {verdict.principle: verdict for verdict in pair.verdicts}


def _usable(pair: PreferencePair) -> bool:
    return pair.rules_a is not None or any(verdict.status in USABLE for verdict in pair.verdicts)
