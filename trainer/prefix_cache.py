"""The last hidden state of many prompts, each shared beginning computed once, now and in the requests to come.

A judge's prompts for one pair come in two waves (the first principle, then the others) or at once; both meet the same
prefix. `PrefixReader` groups what it is given into trees (`prefix_tree.plan`), keeps the prefixes' keys and values, and
computes only the branches. Results equal a plain forward pass up to rounding.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from trainer.kv_cache import BranchCache, Workspace, layer_states
from trainer.language_model import LanguageModel
from trainer.prefix_tree import Tokens, plan, shared_length

_BLOCK = 16

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Prefix:
    """Computed tokens with their keys and values."""

    tokens: tuple[int, ...]
    states: Tensor
    """[2 * layer, head, token, width]: keys of layer i at 2i, values at 2i + 1."""

    @property
    def size_bytes(self) -> int:
        """Memory of the states."""
        return self.states.numel() * self.states.itemsize


class PrefixCache:
    """Prefixes used last, found by their leading blocks of 16 tokens, within a budget of memory.

    Threads may share one: what it holds is never changed.
    """

    def __init__(self, budget_bytes: int = 256 << 20) -> None:
        self._lock = threading.Lock()
        self._budget_bytes = budget_bytes
        self._size_bytes = 0
        self._kept: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self._by_block: dict[int, Prefix] = {}

    def find(self, tokens: Tokens) -> tuple[Prefix, int] | None:
        """A prefix that shares many leading tokens, and how many: all but the last of `tokens` at most."""
        keys = _block_keys(tokens)
        with self._lock:
            prefix = next((found for key in reversed(keys) if (found := self._by_block.get(key))), None)
            if prefix is None:
                return None
            self._kept.move_to_end(prefix.tokens)
        return prefix, min(shared_length(prefix.tokens, tokens), len(tokens) - 1)

    def add(self, prefix: Prefix) -> None:
        """Keep `prefix`; the ones unused longest go."""
        with self._lock:
            if prefix.tokens not in self._kept and prefix.size_bytes <= self._budget_bytes:
                self._keep(prefix)

    def _keep(self, prefix: Prefix) -> None:
        self._kept[prefix.tokens] = prefix
        self._size_bytes += prefix.size_bytes
        self._by_block.update(dict.fromkeys(_block_keys(prefix.tokens), prefix))
        while self._size_bytes > self._budget_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._size_bytes -= oldest.size_bytes
            for key in _block_keys(oldest.tokens):
                if self._by_block.get(key) is oldest:
                    del self._by_block[key]


def _block_keys(tokens: Tokens) -> list[int]:
    """A key for each run of whole blocks from the start."""
    keys: list[int] = []
    for begin in range(0, len(tokens) - _BLOCK + 1, _BLOCK):
        keys.append(hash((keys[-1] if keys else 0, *tokens[begin : begin + _BLOCK])))
    return keys


@dataclass(frozen=True)
class _Branch:
    sequence: int
    """Index of the sequence it completes."""
    tokens: Tokens
    prefix: Prefix
    shared: int
    """Tokens of `prefix` that it continues."""


class PrefixReader:
    """Reads prompts to their last token."""

    def __init__(self, model: LanguageModel, cache: PrefixCache | None = None, batch_tokens: int = 2048) -> None:
        """Args:
        cache: of this model's prefixes that later prompts may share; by default one of its own.
        batch_tokens: tokens in one forward pass, about; larger needs more memory, and on a CPU is not faster.
        """
        self._model = model
        self._cache = cache or PrefixCache()
        self._batch_tokens = batch_tokens
        self._workspace = Workspace()

    @torch.inference_mode()
    def last_hidden(self, sequences: Sequence[Tokens]) -> Tensor:
        """Hidden state [sequence, hidden] of the last token of every non-empty sequence."""
        width = self._model.network.config.get_text_config().hidden_size
        result = torch.empty((len(sequences), width), dtype=self._model.dtype, device=self._model.device)
        branches, rest = self._known(sequences)
        heads: list[tuple[Tokens, tuple[int, ...]]] = []
        for group in plan([sequences[i] for i in rest]):
            members = tuple(rest[m] for m in group.members)
            first = sequences[members[0]]
            heads.append((first if len(members) == 1 else first[: group.shared], members))
        for (tokens, members), prefix, hidden in self._prefill(heads):
            self._cache.add(prefix)
            if len(members) == 1:
                result[members[0]] = hidden
            else:
                shared = len(tokens)
                branches += [_Branch(i, sequences[i][shared:], prefix, shared) for i in members]
        for batch in self._batches(branches):
            result[[branch.sequence for branch in batch]] = self._read(batch)
        return result

    def _known(self, sequences: Sequence[Tokens]) -> tuple[list[_Branch], list[int]]:
        """Sequences that mostly continue a prefix in the cache, and the indices of the others."""
        branches: list[_Branch] = []
        rest: list[int] = []
        for i, tokens in enumerate(sequences):
            found = self._cache.find(tokens)
            if found and 2 * found[1] >= len(tokens):
                prefix, shared = found
                branches.append(_Branch(i, tokens[shared:], prefix, shared))
            else:
                rest.append(i)
        return branches, rest

    def _prefill(
        self, heads: list[tuple[Tokens, tuple[int, ...]]]
    ) -> Iterator[tuple[tuple[Tokens, tuple[int, ...]], Prefix, Tensor]]:
        """Each head with its computed prefix and the hidden state of its last token."""
        for batch in length_sorted_batches(heads, [len(tokens) for tokens, _ in heads], self._batch_tokens):
            cache = DynamicCache()
            hidden = prefill(self._model, [tokens for tokens, _ in batch], cache)
            states = torch.stack(layer_states(cache))
            for row, head in enumerate(batch):
                tokens = head[0]
                yield head, Prefix(tuple(tokens), states[:, row, :, : len(tokens)]), hidden[row]

    def _batches(self, branches: list[_Branch]) -> Iterator[list[_Branch]]:
        # Attention reads the prefix too, at perhaps a quarter of the cost of computing it.
        weights = [len(branch.tokens) + branch.shared // 4 for branch in branches]
        return length_sorted_batches(branches, weights, self._batch_tokens)

    def _read(self, batch: list[_Branch]) -> Tensor:
        """Hidden state [branch, hidden] of the last token of every branch."""
        model = self._model
        ids, lengths = padded([branch.tokens for branch in batch], model)
        shared = torch.tensor([branch.shared for branch in batch], device=model.device)
        width, longest = ids.shape[1], int(shared.max())
        step = torch.arange(width, device=model.device)
        sees_prefix = (torch.arange(longest, device=model.device) < shared[:, None])[:, None].expand(-1, width, -1)
        sees_branch = (step <= step[:, None])[None].expand(len(batch), -1, -1)
        mask = torch.zeros((len(batch), width, longest + width), dtype=model.dtype, device=model.device)
        mask.masked_fill_(~torch.cat([sees_prefix, sees_branch], -1), torch.finfo(model.dtype).min)
        prefixes = [branch.prefix.states[:, :, : branch.shared] for branch in batch]
        hidden = model.hidden(
            input_ids=ids,
            position_ids=shared[:, None] + step,
            attention_mask=mask[:, None],
            past_key_values=BranchCache(prefixes, width, self._workspace),
            use_cache=True,
        )
        return hidden[torch.arange(len(batch), device=model.device), lengths - 1]


def prefill(model: LanguageModel, sequences: Sequence[Tokens], cache: DynamicCache) -> Tensor:
    """Hidden state [sequence, hidden] of the last token of every sequence; keys and values go to `cache`.

    Padding is on the right, so causal attention never meets it and needs no mask.
    """
    ids, lengths = padded(sequences, model)
    hidden = model.hidden(input_ids=ids, past_key_values=cache, use_cache=True)
    return hidden[torch.arange(len(sequences), device=model.device), lengths - 1]


def padded(sequences: Sequence[Tokens], model: LanguageModel) -> tuple[Tensor, Tensor]:
    """The sequences as rows [sequence, token] padded on the right, and their lengths [sequence]."""
    longest = max(map(len, sequences))
    rows = [[*tokens, *[0] * (longest - len(tokens))] for tokens in sequences]
    return torch.tensor(rows, device=model.device), torch.tensor([len(s) for s in sequences], device=model.device)


def length_sorted_batches(items: Sequence[T], lengths: Sequence[int], batch_tokens: int) -> Iterator[list[T]]:
    """Batches of items of similar length, each of about `batch_tokens` tokens with its padding; longest first."""
    batch: list[T] = []
    widest = 0
    for i in sorted(range(len(items)), key=lambda i: -lengths[i]):
        if batch and widest * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        widest = lengths[i] if not batch else widest
        batch.append(items[i])
    if batch:
        yield batch
