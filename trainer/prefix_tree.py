"""Prompts that share a beginning, computed as one tree: the shared part once, then every branch.

A judge asks many principles about one pair, so its prompts differ only in the last few dozen tokens. Two forms are
here. `plan` groups token sequences so that the fewest tokens are computed (used with a key/value cache when sampling).
`pack` lays one tree out as one sequence with a block attention mask and restarted positions (used when training, where
gradients must flow through the shared part). Both give each branch exactly what it gets when computed alone.

    prefix  p0 p1 p2            position ids  0 1 2 | 3 4 | 3 4 5
    branches  a0 a1 | b0 b1 b2  attention     a sees p and a, b sees p and b, never each other
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Tokens = Sequence[int]

_LONGEST_GROUP = 32


@dataclass(frozen=True)
class Group:
    """Sequences that are computed as one tree."""

    shared: int
    """Length of the common prefix, in tokens; always shorter than every member."""
    members: tuple[int, ...]
    """Indices into the planned list."""


def shared_length(a: Tokens, b: Tokens) -> int:
    """Number of equal leading tokens."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def plan(sequences: Sequence[Tokens]) -> list[Group]:
    """The grouping of `sequences` that computes the fewest tokens, each sequence in exactly one group.

    Sorted lexicographically, sequences with a long common prefix are neighbours and the prefix of a run is the
    shortest overlap within it, so an optimal split into runs is found by dynamic programming. Runs are at most 32
    long. Every sequence keeps at least one token for itself, the one that gives its next-token distribution.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    lengths = [len(sequences[i]) for i in order]
    overlap = [0] + [shared_length(sequences[a], sequences[b]) for a, b in pairwise(order)]
    cost, start, shared = [0], [0], [0]
    for end in range(1, len(order) + 1):
        cost_end, start_end, shared_end = _cheapest_run(end, lengths, overlap, cost)
        cost.append(cost_end)
        start.append(start_end)
        shared.append(shared_end)
    groups: list[Group] = []
    end = len(order)
    while end:
        groups.append(Group(shared[end], tuple(order[start[end] : end])))
        end = start[end]
    return groups[::-1]


def _cheapest_run(end: int, lengths: list[int], overlap: list[int], cost: list[int]) -> tuple[int, int, int]:
    """(tokens computed so far, first index, shared length) of the best last run among those that stop at `end`."""
    best = (cost[end - 1] + lengths[end - 1], end - 1, lengths[end - 1] - 1)
    shared, total = lengths[end - 1] - 1, lengths[end - 1]
    for begin in range(end - 2, max(-1, end - 1 - _LONGEST_GROUP), -1):
        shared = min(shared, overlap[begin + 1], lengths[begin] - 1)
        if shared == 0:
            break
        total += lengths[begin]
        computed = cost[begin] + total - shared * (end - begin - 1)
        if computed < best[0]:
            best = (computed, begin, shared)
    return best


@dataclass(frozen=True)
class PackedTrees:
    """A batch of trees, one per row, padded on the right: what a Hugging Face causal language model takes."""

    input_ids: Tensor
    """[tree, token], int64."""
    position_ids: Tensor
    """[tree, token], int64; every branch starts again where the prefix ends."""
    attention_mask: Tensor
    """[tree, 1, token, token], additive: 0 where the row's token sees the column's, else the lowest finite number."""
    branch_ids: Tensor
    """[tree, token], int64: -1 for padding, 0 for the prefix, k for a token of the k-th branch (counted from 1)."""
    last: Tensor
    """[branch, 2], int64: (tree, token) of the last token of every branch, trees in order, then branches in order."""


def pack(
    trees: Sequence[tuple[Tokens, Sequence[Tokens]]],
    *,
    pad_id: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    multiple_of: int = 1,
) -> PackedTrees:
    """The (prefix, branches) trees as one padded batch.

    The logits at `last` are those of each prefix + branch computed alone. A loss on other tokens can read
    `branch_ids`; the label of a token is the next one *of its own branch*.

    Args:
        multiple_of: the row length is rounded up to a multiple, for kernels that like round shapes.
    """
    sizes = [len(prefix) + sum(map(len, branches)) for prefix, branches in trees]
    width = -(-max(sizes) // multiple_of) * multiple_of
    ids = torch.full((len(trees), width), pad_id, dtype=torch.long)
    positions, branch_ids = torch.zeros_like(ids), torch.full_like(ids, -1)
    last: list[tuple[int, int]] = []
    for row, (prefix, branches) in enumerate(trees):
        at = 0
        for number, part in enumerate([prefix, *branches]):
            end, begins = at + len(part), len(prefix) if number else 0
            ids[row, at:end] = torch.tensor(part, dtype=torch.long)
            positions[row, at:end] = torch.arange(begins, begins + len(part))
            branch_ids[row, at:end] = number
            at = end
            if number:
                last.append((row, end - 1))
    return PackedTrees(
        ids.to(device),
        positions.to(device),
        tree_mask(branch_ids.to(device), dtype),
        branch_ids.to(device),
        torch.tensor(last, dtype=torch.long, device=device).reshape(-1, 2),
    )


def tree_mask(branch_ids: Tensor, dtype: torch.dtype) -> Tensor:
    """The additive attention mask [tree, 1, token, token] of trees laid out as in `PackedTrees.branch_ids`.

    A padding token sees itself only, so that no row of the softmax is empty.
    """
    width = branch_ids.shape[1]
    query, key = branch_ids[:, :, None], branch_ids[:, None, :]
    earlier = torch.ones(width, width, dtype=torch.bool, device=branch_ids.device).tril()
    sees = ((key == query) | (key == 0)) & (query >= 0) & earlier
    sees |= torch.eye(width, dtype=torch.bool, device=branch_ids.device)
    mask = torch.zeros(sees.shape, dtype=dtype, device=branch_ids.device)
    return mask.masked_fill_(~sees, torch.finfo(dtype).min)[:, None]
