"""A jury: several judges that appear as one. Their votes are averaged by weight, and what they disagree on is kept.

Each judge answers both orders by its own method; the jury's vote of an order is the weighted mean over the judges that
answered both. A jury is a `Judge` to everything that asks one.

Source: Verga et al. 2024, arXiv:2404.18796 (a panel of diverse judges).
"""

import hashlib
import json
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from constitution.document import Principle
from critic.concurrency import together
from critic.judge import Answer, Judge, Mark, Order, Usage, is_decided, verdict
from critic.pairs import USABLE
from solon.errors import InvalidInput
from solon.records import Comparison, Completion, Juror, Prompt, Status, Verdict, Vote


@dataclass(frozen=True)
class Seat:
    """A judge of a jury."""

    judge: Judge
    weight: float = 1.0
    """> 0, relative to the others."""


class Jury(Judge):
    """Several judges. `usage` adds up what all of them were asked."""

    def __init__(self, name: str, seats: Sequence[Seat], *, tie_margin: float = 0.1, quorum: int | None = None) -> None:
        """Args:
        quorum: how many judges suffice when others fail; None: all.

        Raises InvalidInput without a judge, with two of one name, or where the quorum cannot be met.
        """
        names = [seat.judge.identity["name"] for seat in seats]
        if not seats or len(set(names)) != len(names):
            raise InvalidInput(
                f"the jury {name!r} needs judges, each once", field=f"models.{name}.members", remedy="name them"
            )
        if quorum is not None and not 1 <= quorum <= len(seats):
            raise InvalidInput(
                f"is {quorum} of {len(seats)} judges", field=f"models.{name}.quorum", remedy="name 1 to all of them"
            )
        super().__init__(seats[0].judge.model, tie_margin=tie_margin, kin=_Kin(tuple(seat.judge.kin for seat in seats)))
        self.name = name
        self.seats = tuple(seats)
        self.quorum = len(seats) if quorum is None else quorum

    @property
    def identity(self) -> dict[str, str | None]:
        """The jury's name, its judges' models, and a digest that changes with any of them."""
        members = [seat.judge.identity for seat in self.seats]
        return {
            "name": self.name,
            "model": "+".join(str(member["model"]) for member in members),
            "revision": hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()[:16],
            "server": "jury",
        }

    @property
    def sampling(self) -> Mapping[str, Any]:
        """Weights, quorum, and each judge's own."""
        each = {str(s.judge.identity["name"]): {"weight": s.weight, **s.judge.sampling} for s in self.seats}
        return {"method": "jury", "quorum": self.quorum, "judges": each}

    @property
    def pair_templates(self) -> tuple[str, ...]:
        """Of all judges, each once."""
        return tuple(dict.fromkeys(name for seat in self.seats for name in seat.judge.pair_templates))

    @property
    def question_templates(self) -> tuple[str, ...]:
        """Of all judges, each once."""
        return tuple(dict.fromkeys(name for seat in self.seats for name in seat.judge.question_templates))

    async def compare(
        self,
        comparison: Comparison,
        principle: Principle,
        *,
        tie_margin: float | None = None,
        usage: Usage | None = None,
    ) -> Verdict:
        """The jury's verdict under one principle; with fewer judges than the quorum, the first failure's status."""
        margin, spent = self.tie_margin if tie_margin is None else tie_margin, Usage()
        asked = (seat.judge.compare(comparison, principle, tie_margin=margin, usage=spent) for seat in self.seats)
        try:
            verdicts = await together(asked)
        finally:
            self._account(spent, usage)
        return self._joined(principle, verdicts, margin)

    async def ask(self, prompt: Prompt, completion: Completion, question: str, *, usage: Usage | None = None) -> Answer:
        """The weighted mean of P(yes); with fewer answers than the quorum, the first failure."""
        spent = Usage()
        try:
            answers = await together(seat.judge.ask(prompt, completion, question, usage=spent) for seat in self.seats)
        finally:
            self._account(spent, usage)
        said = [(answer.p_yes, seat.weight) for answer, seat in self._with(answers) if answer.p_yes is not None]
        if len(said) < self.quorum:
            return next(answer for answer in answers if answer.p_yes is None)
        masses = [answer.label_mass for answer in answers if answer.label_mass is not None]
        return Answer(Status.OK, _mean(said), min(masses) if masses else None)

    async def mark(
        self, prompt: Prompt, completion: Completion, principle: Principle, *, usage: Usage | None = None
    ) -> Mark:
        """Refused: marks of different judges are on different scales."""
        raise InvalidInput(f"the jury {self.name!r} gives no marks", field="judge", remedy="name one of its judges")

    def afresh(self) -> "Jury":
        """This jury, each judge without what it remembers."""
        seats = [Seat(seat.judge.afresh(), seat.weight) for seat in self.seats]
        return Jury(self.name, seats, tie_margin=self.tie_margin, quorum=self.quorum)

    def _joined(self, principle: Principle, verdicts: Sequence[Verdict], margin: float) -> Verdict:
        jurors = tuple(
            Juror(
                judge=str(seat.judge.identity["name"]),
                weight=seat.weight,
                status=each.status,
                p_a=each.p_a,
                consistent=each.consistent,
                votes=each.votes,
            )
            for each, seat in self._with(verdicts)
        )
        usable = [juror for juror in jurors if juror.status in USABLE]
        if len(usable) < self.quorum:
            failed = next(juror for juror in jurors if juror.status not in USABLE)
            return Verdict(
                principle=principle.id, status=failed.status, votes=_failed(principle, failed), jurors=jurors
            )
        joined = verdict((_vote(principle, "ab", usable), _vote(principle, "ba", usable)), margin)
        # Judges may average in log-odds and be calibrated: their own averages count, not those of the joined votes.
        p_a = _mean([(juror.p_a, juror.weight) for juror in usable if juror.p_a is not None])
        status = Status.OK if is_decided(p_a, margin) else Status.TIE
        changes = {"p_a": p_a, "status": status, "jurors": jurors, "disagreement": disagreement(usable)}
        return joined.model_copy(update=changes)

    def _with(self, results: Sequence[Any]) -> list[tuple[Any, Seat]]:
        return list(zip(results, self.seats, strict=True))

    def _account(self, spent: Usage, usage: Usage | None) -> None:
        self.usage.add(spent)
        if usage is not None:
            usage.add(spent)


def disagreement(jurors: Sequence[Juror]) -> float:
    """Weighted standard deviation of the judges' p_a, in [0, 0.5]; 0.5 when two equal halves say 0 and 1."""
    said = [(juror.p_a, juror.weight) for juror in jurors if juror.p_a is not None]
    mean = _mean(said)
    return min(0.5, math.sqrt(_mean([((p - mean) ** 2, weight) for p, weight in said])))


def _mean(values: Sequence[tuple[float, float]]) -> float:
    """Weighted; exactly 0.5 when all are."""
    total = sum(weight for _, weight in values)
    return 0.5 + sum(weight * (value - 0.5) for value, weight in values) / total


def _vote(principle: Principle, order: Order, jurors: Sequence[Juror]) -> Vote:
    """The weighted mean of the judges' votes of one order."""
    votes = [(vote, juror.weight) for juror in jurors for vote in juror.votes if vote.order == order]
    p_first = _mean([(vote.p_first, weight) for vote, weight in votes if vote.p_first is not None])
    masses = [vote.label_mass for vote, _ in votes if vote.label_mass is not None]
    return Vote(
        principle=principle.id,
        order=order,
        status=Status.OK,
        p_first=p_first,
        label_mass=min(masses) if masses else None,
        cache_hit=all(vote.cache_hit for vote, _ in votes),
    )


def _failed(principle: Principle, juror: Juror) -> tuple[Vote, ...]:
    """The votes of a verdict that failed: its status, and no number."""
    why = next((vote.detail for vote in juror.votes if vote.detail), "")
    orders: tuple[Order, Order] = ("ab", "ba")
    return tuple(
        Vote(principle=principle.id, order=each, status=juror.status, detail=f"{juror.judge}: {why}") for each in orders
    )


@dataclass(frozen=True)
class _Kin:
    """Models that any of the judges is related to."""

    of: tuple[Container[str], ...]

    def __contains__(self, model: object) -> bool:
        return isinstance(model, str) and any(model in each for each in self.of)

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(str(each) for each in self.of))
