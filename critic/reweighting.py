"""Stored votes under other weights: another dataset from the same votes, with no judge call.

What a person values enters the label only when the votes are combined. So one labelled set, in which every principle
has voted on every pair, holds the datasets of all who would weigh the principles differently.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from constitution.document import Constitution
from constitution.weighting import Weights, weighted
from critic.relabelling import Relabeller, relabel
from solon.records import Discard, PreferencePair


async def reweighted(
    pairs: Iterable[PreferencePair], constitution: Constitution, weights: Weights
) -> AsyncGenerator[PreferencePair | Discard]:
    """Each pair with the label that its votes come to under the constitution with these weights, in their order.

    Votes are those of any judge; a failed one stays failed. The pairs of a `max_margin` pairing were picked by the old
    label: label with `all` or `adjacent` what is to be reweighted.

    Raises:
        InvalidInput: the weights do not fit the constitution, or a vote under one of its principles is missing.
    """
    relabeller = Relabeller(weighted(constitution, weights), judge=None, weights=weights, keep_failed=True)
    async with aclosing(relabel(pairs, relabeller)) as items:
        async for item in items:
            yield item
