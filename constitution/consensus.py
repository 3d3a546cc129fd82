"""Which statements of a poll every group supports.

Group-aware consensus is the product over the groups of their smoothed shares of agreement, (agree + 1) / (seen + 2);
those who pass have seen it and did not agree. A large group that likes a statement cannot make up for a small one that
does not.

Source: Small et al. 2021, "Polis: Scaling deliberation by mapping high dimensional opinion spaces", Recerca 26(2);
used for a constitution by Huang et al. 2024, "Collective Constitutional AI", arXiv:2406.07814.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from constitution.polls import Poll, Stance
from constitution.schema import VoteCount

_WITHOUT_GROUPS: Final = "everyone"


@dataclass(frozen=True)
class Support:
    """How the groups stand to one statement."""

    id: str
    text: str
    groups: Mapping[str, VoteCount]
    everyone: VoteCount
    """All participants, those without a group too."""

    @property
    def consensus(self) -> float:
        """Group-aware consensus, in (0, 1)."""
        return math.prod(agreement(count) for count in self.groups.values())

    @property
    def least(self) -> tuple[str, float]:
        """The group that agrees least, and its smoothed share."""
        return min(((name, agreement(count)) for name, count in self.groups.items()), key=lambda entry: entry[1])


@dataclass(frozen=True)
class Choice:
    """A statement, and why it is not taken; taken where `reason` is empty."""

    support: Support
    reason: str = ""


def seen(count: VoteCount) -> int:
    """How many voted on it, a pass included."""
    return count.agree + count.disagree + count.passed


def agreement(count: VoteCount) -> float:
    """P(agree) with one imagined vote for and one against; 0.5 without votes."""
    return (count.agree + 1) / (seen(count) + 2)


def supports(poll: Poll) -> list[Support]:
    """Every statement with its votes, largest consensus first; without groups all participants are one."""
    names = sorted(set(poll.groups.values())) or [_WITHOUT_GROUPS]
    tallies = {id_: defaultdict[str, Counter[Stance]](Counter) for id_ in poll.statements}
    whole = {id_: Counter[Stance]() for id_ in poll.statements}
    for participant, stances in poll.votes.items():
        group = poll.groups.get(participant) if poll.groups else _WITHOUT_GROUPS
        for statement, stance in stances.items():
            whole[statement][stance] += 1
            if group is not None:
                tallies[statement][group][stance] += 1
    found = [
        Support(id_, text, {name: _count(tallies[id_][name]) for name in names}, _count(whole[id_]))
        for id_, text in poll.statements.items()
    ]
    return sorted(found, key=lambda support: (-support.consensus, support.id))


def _count(tally: Counter[Stance]) -> VoteCount:
    return VoteCount(agree=tally["agree"], disagree=tally["disagree"], passed=tally["pass"])


def choose(
    found: Sequence[Support], *, min_support: float = 0.6, min_votes: int = 5, limit: int | None = None
) -> list[Choice]:
    """Each statement with whether it is taken, in the given order.

    Args:
        min_support: in [0, 1]; smoothed share that must agree in every group.
        min_votes: that every group must have cast on it, so that no group is spoken for by two of its members.
        limit: take no more than so many.
    """
    choices: list[Choice] = []
    taken: list[Support] = []
    for support in found:
        reason = _against(support, taken, min_support, min_votes)
        if not reason and limit is not None and len(taken) >= limit:
            reason = f"more than {limit} are supported"
        if not reason:
            taken.append(support)
        choices.append(Choice(support, reason))
    return choices


def _against(support: Support, taken: Sequence[Support], min_support: float, min_votes: int) -> str:
    few = [name for name, count in support.groups.items() if seen(count) < min_votes]
    if few:
        return f"fewer than {min_votes} votes in {', '.join(few)}"
    name, share = support.least
    if share < min_support:
        return f"{share:.0%} agree in {name}"
    same = next((other for other in taken if alike(other.text, support.text)), None)
    return f"says the same as {same.id}" if same is not None else ""


def alike(one: str, other: str) -> bool:
    """Whether two statements share more than four fifths of their words."""
    words, others = (set(re.findall(r"\w+", text.lower())) for text in (one, other))
    return len(words & others) > 0.8 * len(words | others)
