"""Rewards over several processes: each scores a part, all know the whole."""

from collections.abc import Sequence

from trainer import processes
from trainer.config import GateSource
from trainer.rewards.mix import Item, Rewards, Source, mixed


def mixed_by_all(sources: Sequence[Source], items: Sequence[Item]) -> Rewards:
    """What `mixed` says of the items, which every process has; each scores every n-th.

    A source that looks at all items together, such as a gate that whitens, is asked for all of them by every process.
    """
    count, rank = processes.count(), processes.rank()
    if count == 1 or any(map(_looks_at_all, sources)):
        return mixed(sources, items)
    parts = processes.gathered(mixed(sources, items[rank::count]))
    total = [parts[i % count].total[i // count] for i in range(len(items))]
    terms = {
        name: tuple(parts[i % count].terms[name][i // count] for i in range(len(items))) for name in parts[0].terms
    }
    return Rewards(tuple(total), terms)


def mixed_of_own(sources: Sequence[Source], items: Sequence[Item]) -> Rewards:
    """What is said of this process's items, where each has its own and all score at the same time."""
    if processes.count() == 1 or not any(map(_looks_at_all, sources)):
        return mixed(sources, items)
    parts = processes.gathered(list(items))
    start = sum(map(len, parts[: processes.rank()]))
    found = mixed(sources, [item for part in parts for item in part])
    own = slice(start, start + len(items))
    return Rewards(found.total[own], {name: scores[own] for name, scores in found.terms.items()})


def _looks_at_all(source: Source) -> bool:
    settings = getattr(source, "source", None)
    return isinstance(settings, GateSource) and settings.whiten
