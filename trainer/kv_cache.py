"""Keys and values of past tokens, in memory that is allocated once.

`SlotCache` holds the sequences being generated: row i is sequence i, rows in use are always 0..n-1. `BranchCache` holds
shared prefixes with room for the branches behind them. Both are Hugging Face `Cache`s: a layer writes what is new and
attends to a view. Growing a cache by concatenation, as `DynamicCache` does, copies everything at every token, and
matrix products are slower over rows with gaps between them. So rows are laid out anew every `_PLACES` tokens.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

from trainer.language_model import LanguageModel

_PLACES = 24
"""Tokens by which rows grow: fewer are copied more often, more are attended to in vain."""


def layer_states(cache: DynamicCache) -> list[Tensor]:
    """Keys and values [row, head, token, width] of every layer: keys of layer i at 2i, values at 2i + 1."""
    layers = [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
    return [states for layer in layers for states in (layer.keys, layer.values) if states is not None]


class _Layer(CacheLayerMixin):
    """What both layers share: attention masks are given whole, so sizes are never asked for by the model."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the memory belongs to the cache."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Not used with a four-dimensional mask."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Zero: positions are passed explicitly."""
        return 0

    def get_max_length(self) -> int:
        """No bound of its own."""
        return -1


class _SlotLayer(_Layer):
    def __init__(self, cache: "SlotCache", index: int) -> None:
        super().__init__()
        self._cache, self._index = cache, index

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write one token per row at its own length; the view is contiguous and covers all places of the rows."""
        cache, n = self._cache, key_states.shape[0]
        rows, at = cache.rows[:n], cache.lengths[:n]
        keys, values = cache.memory[2 * self._index], cache.memory[2 * self._index + 1]
        keys[rows, :, at] = key_states[:, :, 0]
        values[rows, :, at] = value_states[:, :, 0]
        return keys[:n], values[:n]


class SlotCache(Cache):
    """The sequences being generated, one per row, each with its own length."""

    def __init__(self, model: LanguageModel, max_rows: int, budget_bytes: int) -> None:
        config = model.network.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._shape = (2 * config.num_hidden_layers, heads, width)
        self._dtype, self._device = model.dtype, model.device
        self._max_rows, self._budget_bytes = max_rows, budget_bytes
        self._flat = torch.empty(0)
        self._clean = 0
        """Numbers of each layer in `_flat` that are finite; behind them nothing has been written yet."""
        self.memory = torch.empty(0)
        """[2 * layer, row, head, token, width]: keys of layer i at 2i, values at 2i + 1; a view of `_flat`."""
        self.used = 0
        """Rows in use."""
        self.capacity = 0
        """Places of a row now."""
        self._room = 0
        """Tokens that the rows in use may come to hold."""
        self.longest = 0
        """Tokens in the longest row in use."""
        self.lengths = torch.zeros(max_rows, dtype=torch.long, device=self._device)
        self.rows = torch.arange(max_rows, device=self._device)
        super().__init__(layers=[_SlotLayer(self, i) for i in range(config.num_hidden_layers)])

    def rows_free(self, length: int) -> int:
        """Rows that could be added now if the longest of all held `length` tokens; at least one when nothing runs."""
        fits = self._rows_that_fit(max(length, self._room if self.used else 0))
        return max(fits - self.used, 1 if self.used == 0 else 0)

    def add(self, prefill: DynamicCache, sources: Tensor, lengths: Tensor, room: int) -> None:
        """Append rows: row sources[i] of a right-padded prefill, lengths[i] tokens of it, with `room` tokens in all."""
        first, last, longest = self.used, self.used + len(sources), int(lengths.max())
        self._room = max(room, self._room if self.used else 0)
        self._lay_out(last, max(longest, self.longest) + 1)
        for index, states in enumerate(layer_states(prefill)):
            self.memory[index, first:last, :, :longest] = states[sources, :, :longest]
        self.lengths[first:last] = lengths
        self.used = last
        self.longest = max(self.longest, longest)

    def advance(self) -> None:
        """Every row in use is one token longer."""
        self.lengths[: self.used] += 1
        self.longest += 1
        self._lay_out(self.used, self.longest + 1)

    def remove(self, row: int) -> None:
        """Free a row; the last row in use moves there."""
        last = self.used - 1
        if row != last:
            length = int(self.lengths[last])
            self.memory[:, row, :, :length] = self.memory[:, last, :, :length]
            self.lengths[row] = self.lengths[last]
        self.used = last
        self.longest = int(self.lengths[:last].max()) if last else 0

    def release(self) -> None:
        """Give the memory back while no row is in use."""
        self._flat = self.memory = torch.empty(0)
        self.capacity = 0

    def mask(self) -> Tensor:
        """Additive attention mask [row, 1, 1, token] for the next token of every row in use."""
        sees = torch.arange(self.capacity, device=self._device) <= self.lengths[: self.used, None]
        mask = torch.zeros(sees.shape, dtype=self._dtype, device=self._device)
        return mask.masked_fill_(~sees, torch.finfo(self._dtype).min)[:, None, None]

    def _rows_that_fit(self, length: int) -> int:
        layers, heads, width = self._shape
        row_bytes = layers * heads * _places(length) * width * self._dtype.itemsize
        return max(1, min(self._max_rows, self._budget_bytes // row_bytes))

    def _lay_out(self, rows: int, tokens: int) -> None:
        """Places for `tokens` tokens in each of `rows` rows; what is in use is kept, and moved where they change."""
        capacity, have = _places(tokens), self.memory.shape[1] if self.memory.numel() else 0
        if rows <= have and (capacity == self.capacity or capacity < self.capacity < 2 * capacity):
            return
        layers, heads, width = self._shape
        fit = self._rows_that_fit(max(tokens, self._room))
        rows = max(rows, min(1 << (rows - 1).bit_length(), fit)) if rows > have else have
        old, kept = self.memory, (slice(self.used), slice(None), slice(self.longest))
        needed = rows * heads * max(capacity, _places(self._room)) * width
        moved = self._flat.numel() < layers * needed
        if moved:
            self._flat, self._clean = torch.empty(layers, needed, dtype=self._dtype, device=self._device), 0
        end = rows * heads * capacity * width
        if end > self._clean:  # a masked place enters products with weight 0, so it must not hold a NaN
            self._flat[:, self._clean : end].zero_()
            self._clean = end
        memory = self._flat[:, :end].view(layers, rows, heads, capacity, width)
        for new, states in zip(memory, old, strict=True) if self.used else ():
            new[kept] = states[kept] if moved else states[kept].clone()
        self.memory, self.capacity = memory, capacity


def _places(tokens: int) -> int:
    return -(-tokens // _PLACES) * _PLACES


class _BranchLayer(_Layer):
    def __init__(self, memory: Tensor, index: int, prefix: int) -> None:
        super().__init__()
        self._memory, self._index, self._prefix = memory, index, prefix

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the branches behind their prefixes; everything is attended to, under the mask."""
        keys, values = self._memory[2 * self._index], self._memory[2 * self._index + 1]
        keys[:, :, self._prefix :] = key_states
        values[:, :, self._prefix :] = value_states
        return keys, values


class BranchCache(Cache):
    """Prefixes of a batch of branches, padded to one length, each with `room` free places behind."""

    def __init__(self, prefixes: Sequence[Tensor], room: int, workspace: "Workspace") -> None:
        """Args:
        prefixes: keys and values [2 * layer, head, token, width] of each row's prefix.
        workspace: where they are laid out; the next cache made in it overwrites this one.
        """
        longest = max(prefix.shape[2] for prefix in prefixes)
        layers, heads, _, width = prefixes[0].shape
        memory = workspace.take((layers, len(prefixes), heads, longest + room, width), prefixes[0])
        for row, prefix in enumerate(prefixes):
            memory[:, row, :, : prefix.shape[2]] = prefix
        super().__init__(layers=[_BranchLayer(memory, i, longest) for i in range(layers // 2)])


class Workspace:
    """Memory that is used again and again: fresh pages cost more than the arithmetic done in them."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape, with the dtype and device of `like`; it holds old but finite numbers."""
        if self._memory.numel() < prod(shape):
            self._memory = torch.zeros(prod(shape), dtype=like.dtype, device=like.device)
        return self._memory[: prod(shape)].view(shape)
