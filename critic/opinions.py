"""Opinions: what a judge, a principle or a control says of a comparison, beside what people say of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from critic.judge import verdict
from critic.pairs import USABLE
from critic.people import Choice, majority
from solon.records import Completion, PreferencePair, Status, Verdict, Vote
from solon.rows import HumanVote
from solon.seeds import counter_seed

Control = Literal["longest", "first", "random"]


@dataclass(frozen=True)
class Opinion:
    """One usable opinion on a comparison of a and b."""

    prompt: str
    """The conversation: answers to the same one are not independent of each other."""
    scope: str
    p_a: float
    """P(a is better)."""
    choice: Choice
    votes: tuple[HumanVote, ...]
    """People's."""
    longer_by: int
    """Words of a less words of b."""
    verdicts: tuple[Verdict, ...] = ()
    """What it was made of, in both orders."""

    @property
    def people(self) -> Choice | None:
        """The side with more votes, None without any."""
        return majority(self.votes)


def labels(pairs: Iterable[PreferencePair], votes: "Votes") -> list[Opinion]:
    """The opinions that the labels are: all principles and rules together."""
    return [
        _opinion(pair, votes(pair), pair.p_a, pair.chosen or "tie", pair.verdicts)
        for pair in pairs
        if pair.status in USABLE and pair.p_a is not None
    ]


def by_principle(pairs: Iterable[PreferencePair], votes: "Votes") -> dict[str, list[Opinion]]:
    """The opinions of each principle alone."""
    found: dict[str, list[Opinion]] = {}
    for pair in pairs:
        for each in pair.verdicts:
            opinions = found.setdefault(each.principle, [])
            if each.p_a is not None:
                opinions.append(_of_verdict(pair, votes(pair), each))
    return found


def of_control(
    control: Control, pairs: Iterable[PreferencePair], votes: "Votes", *, tie_margin: float, seed: int = 0
) -> list[Opinion]:
    """The opinions of a judge that knows nothing, asked in both orders like any other."""
    rule = CONTROLS[control]
    found: list[Opinion] = []
    for pair in pairs:
        one = rule(pair.a, pair.b, counter_seed(seed, pair.id, "ab"))
        two = rule(pair.b, pair.a, counter_seed(seed, pair.id, "ba"))
        both = (
            Vote(principle=control, order="ab", status=Status.OK, p_first=one),
            Vote(principle=control, order="ba", status=Status.OK, p_first=two),
        )
        found.append(_of_verdict(pair, votes(pair), verdict(both, tie_margin)))
    return found


Votes = Callable[[PreferencePair], Sequence[HumanVote]]
"""People's votes on a pair."""

_SURE: Final = 0.99


def _longest(first: Completion, second: Completion, _: int) -> float:
    by = words(first) - words(second)
    return 0.5 if by == 0 else _SURE if by > 0 else 1 - _SURE


CONTROLS: Final[dict[Control, Callable[[Completion, Completion, int], float]]] = {
    "longest": _longest,
    "first": lambda first, second, number: _SURE,
    "random": lambda first, second, number: (number + 0.5) / 2**31,
}
"""P(the first-listed wins), from the two completions and a number below 2^31 drawn for the order."""


def words(completion: Completion) -> int:
    """Its length in words."""
    return len(completion.text.split())


def _of_verdict(pair: PreferencePair, votes: Sequence[HumanVote], each: Verdict) -> Opinion:
    assert each.p_a is not None, "usable verdicts are measured"  # noqa: S101 - the callers' condition
    choice: Choice = "tie" if each.status is Status.TIE else "a" if each.p_a > 0.5 else "b"
    return _opinion(pair, votes, each.p_a, choice, (each,))


def _opinion(
    pair: PreferencePair, votes: Sequence[HumanVote], p_a: float, choice: Choice, verdicts: tuple[Verdict, ...]
) -> Opinion:
    conversation = "\n".join(f"{message.role}: {message.content}" for message in pair.prompt.messages)
    longer_by = words(pair.a) - words(pair.b)
    return Opinion(conversation, pair.prompt.scope, p_a, choice, tuple(votes), longer_by, verdicts)
