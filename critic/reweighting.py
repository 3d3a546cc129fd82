"""Stored votes under other weights: another dataset from the same votes, with no judge call.

What a person values enters the label only when the votes are combined. So one labelled set, in which every principle
has voted on every pair, holds the datasets of all who would weigh the principles differently.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Literal

from constitution.document import Constitution
from constitution.weighting import Weights, weighted
from critic.pairs import USABLE
from critic.relabelling import Relabeller, relabel
from solon.records import Discard, PreferencePair, Status

Change = Literal["kept", "flipped", "became_tie", "became_decided", "unusable"]
"""What happened to a label; `unusable` where it could not be measured before or cannot be now."""


async def reweighted(
    pairs: Iterable[PreferencePair], constitution: Constitution, weights: Weights
) -> AsyncGenerator[PreferencePair | Discard]:
    """Each pair with the label that its votes come to under the constitution with these weights, in their order.

    Votes are those of any judge; a failed one stays failed. The pairs of a `max_margin` pairing were picked by the old
    label: label with `all` or `adjacent` what is to be reweighted.

    Raises:
        InvalidInput: the weights do not fit the constitution, or a vote under one of its principles is missing.
    """
    relabeller = Relabeller(weighted(constitution, weights), judge=None, weights=weights)
    async with aclosing(relabel(pairs, relabeller)) as items:
        async for item in items:
            yield item


def change(before: PreferencePair, after: PreferencePair | Discard) -> Change:
    """What became of the label of a comparison."""
    if isinstance(after, Discard) or before.status not in USABLE or after.status not in USABLE:
        return "unusable"
    if before.chosen == after.chosen:
        return "kept"
    if after.status is Status.TIE:
        return "became_tie"
    return "became_decided" if before.status is Status.TIE else "flipped"
