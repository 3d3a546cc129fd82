"""The processes of one training: which of them this is, and sums over all of them.

One process needs nothing of this. Several are started by `trainer.launch`, or by torchrun or accelerate, which say in
the environment how many there are; the process group is accelerate's.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from solon.errors import InvalidInput
from trainer.hardware import device

T = TypeVar("T")

_PATIENCE = timedelta(hours=6)
"""How long processes wait for one that asks a judge; torch gives up after 10 minutes on accelerators."""


def started() -> int:
    """How many processes the launcher says there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def count() -> int:
    """How many processes really work together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This one's number; 0 writes what is published."""
    return dist.get_rank() if count() > 1 else 0


def is_first() -> bool:
    """Whether this process writes."""
    return rank() == 0


def join(asked: int) -> None:
    """Meet the other processes; InvalidInput where they are not as many as the configuration asked for.

    A launcher that silently starts one process of two trains on half of each batch, so what was got is counted.
    """
    if started() > 1:
        from accelerate import PartialState

        PartialState(cpu=device().type == "cpu", timeout=_PATIENCE)
    if count() != asked:
        raise InvalidInput(
            f"{asked} processes were asked for and {count()} work together",
            field="processes",
            remedy="start it with `python -m trainer.run`, which starts them, or give torchrun the same number",
        )


def wait() -> None:
    """Until all processes are here."""
    if count() > 1:
        dist.barrier()


def total(values: Tensor) -> Tensor:
    """The sum over all processes, elementwise; carries no gradient."""
    summed = values.detach().clone()
    if count() > 1:
        dist.all_reduce(summed)
    return summed


def share(units: int | float | Tensor) -> float:
    """What a mean over `units` of this process weighs in the mean over all, times the number of processes.

    Gradients are averaged over processes; a loss scaled by this then has the gradient of the mean over all units,
    however unevenly they are spread.
    """
    if count() == 1:
        return 1.0
    own = float(units)
    everyone = float(total(torch.tensor(own, dtype=torch.float64, device=device())))
    return own * count() / everyone if everyone else 0.0


def gathered(item: T) -> list[T]:
    """Every process's item, in order of their numbers."""
    if count() == 1:
        return [item]
    found: list[T | None] = [None] * count()
    dist.all_gather_object(found, item)
    return [each for each in found if each is not None]


def made_by_first(make: Callable[[], T]) -> T:
    """What the first process makes, for all of them; the others wait meanwhile."""
    if count() == 1:
        return make()
    found: list[Any] = [make() if is_first() else None]
    dist.broadcast_object_list(found, src=0)
    return found[0]
