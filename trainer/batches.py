"""Which rows make a batch, how wide it is, and which part of it belongs to this process."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from accelerate.data_loader import DataLoaderShard
from torch.utils.data import DataLoader, Sampler

from trainer import processes

_STEP = 16


def rounded(size: int, limit: int | None = None) -> int:
    """A size of a matrix, rounded up to a multiple of 16, but not over the limit.

    In bfloat16 a CPU makes a kernel for each size of a product and keeps it, and an accelerator is fastest at these.
    """
    up = -(-size // _STEP) * _STEP
    return up if limit is None else max(size, min(up, limit))


class LengthGroups(Sampler[int]):
    """Indices such that each batch holds sequences of similar length, in an order drawn anew each epoch.

    transformers' own length sampler walks from long to short within an epoch; here the batches are shuffled too.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, pool: int = 8) -> None:
        self.lengths, self.batch_size, self.seed, self.pool = lengths, batch_size, seed, pool
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = cast(list[int], torch.randperm(len(self), generator=generator).tolist())
        whole = len(order) - len(order) % self.batch_size
        span = self.batch_size * self.pool
        pools = (sorted(order[i : min(i + span, whole)], key=self.lengths.__getitem__) for i in range(0, whole, span))
        batches = [pool[i : i + self.batch_size] for pool in pools for i in range(0, len(pool), self.batch_size)]
        for i in torch.randperm(len(batches), generator=generator).tolist():
            yield from batches[i]
        yield from order[whole:]


class Shares(Sampler[list[int]]):
    """This process's part of each batch of `LengthGroups`: every `processes.count()`-th row.

    The batches are those that one process would have, so the number of processes changes no step. accelerate's own
    division fills an incomplete last batch up with rows from the beginning. Rows of a last batch that has fewer rows
    than there are processes join the batch before it.
    """

    def __init__(self, groups: LengthGroups, rank: int, count: int) -> None:
        self.groups, self.rank, self.count = groups, rank, count

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self.groups.set_epoch(epoch)

    def _ends(self) -> list[int]:
        size, rows = self.groups.batch_size, len(self.groups)
        ends = [*range(size, rows, size), rows]
        return [*ends[:-2], rows] if len(ends) > 1 and rows - ends[-2] < self.count else ends

    def __len__(self) -> int:
        return len(self._ends())

    def __iter__(self) -> Iterator[list[int]]:
        order, start = list(self.groups), 0
        for end in self._ends():
            yield order[start:end][self.rank :: self.count]
            start = end


class OwnBatches:
    """Gives a trainer of transformers' the batches of `LengthGroups`, over however many processes there are.

    `self.lengths` holds a length per row, and `self.global_batch` the rows per step over all processes.
    """

    lengths: Sequence[int]
    global_batch: int

    def _groups(self) -> LengthGroups:
        return LengthGroups(self.lengths, self.global_batch, cast(Any, self).args.seed)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroups:
        return self._groups()

    def get_train_dataloader(self) -> DataLoader[Any]:
        """transformers' own for one process; else one of this process's part of each batch."""
        if processes.count() == 1:
            return cast(Any, super()).get_train_dataloader()
        trainer = cast(Any, self)
        dataset = trainer._remove_unused_columns(trainer.train_dataset, description="Training")
        shares = Shares(self._groups(), processes.rank(), processes.count())
        loader: Any = DataLoaderShard(
            dataset, device=trainer.accelerator.device, batch_sampler=shares, collate_fn=trainer.data_collator
        )
        return loader
