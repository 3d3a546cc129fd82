"""Attention on a CPU where torch's own is slow: one new query per sequence, and short sequences in bfloat16.

torch's scaled_dot_product_attention goes through blocks of queries, one row and head at a time. With one query a block
is almost empty, and in bfloat16 each of its small products pays for a kernel of its own. Products over all rows and
heads at once are faster there (`benchmarks/sampling.py`, `benchmarks/ppo.py`), torch's in long sequences.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trainer import hardware

NAME = "sdpa_or_products"

_SHORT = 256
"""Keys up to which bfloat16 is attended to by plain products."""


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What transformers' `sdpa_attention_forward` returns: [row, query, head, width].

    Args:
        query: [row, head, query, width].
        key: [row, key head, token, width], as is `value`; several heads may share a key head.
        attention_mask: additive, or True where a token is seen; [row or 1, 1, query, token].
        is_causal: without a mask, whether a query sees what is before it only; None: as the module says.
    """
    autocast = torch.is_autocast_enabled(query.device.type)  # rotated states are float32 under it
    computed = torch.get_autocast_dtype(query.device.type) if autocast else query.dtype
    short = computed == torch.bfloat16 and key.shape[2] <= _SHORT
    learned = options.get("position_bias") is not None or (attention_mask is not None and attention_mask.requires_grad)
    if dropout or learned or not (short or query.shape[2] == 1):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal=is_causal, **options
        )
    rows, heads, queries, width = query.shape
    shared, tokens = key.shape[1], key.shape[2]
    scale = width**-0.5 if scaling is None else scaling
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if attention_mask is None and causal and queries > 1:
        attention_mask = torch.ones(queries, tokens, dtype=torch.bool, device=query.device).tril()[None, None]
    if attention_mask is not None:
        attention_mask = attention_mask[:, :, None]
    grouped = (query * scale).reshape(rows, shared, heads // shared * queries, width)
    given = (grouped.to(computed), key.to(computed), value.to(computed), attention_mask, queries)
    with torch.autocast(query.device.type, enabled=False):
        recorded = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
        attended = _Products.apply(*given) if recorded else _products(*given)[0]
    return attended.view(rows, heads, queries, -1).transpose(1, 2).contiguous(), None


def _products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, queries: int) -> tuple[Tensor, Tensor]:
    """What is attended to, [row, key head, query of each head that shares it, width], and the weights."""
    weights = query @ key.transpose(-1, -2)
    if mask is not None:
        scores = weights.unflatten(2, (-1, queries))
        if mask.dtype == torch.bool:
            scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
        else:
            scores += mask.clamp_min(torch.finfo(scores.dtype).min)  # float32's least number is -inf in bfloat16
    weights = weights.softmax(-1)
    return weights @ value, weights


class _Products(torch.autograd.Function):
    """`_products` that keeps the weights, and nothing else of that size, for the backward pass."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, queries: int) -> Tensor:
        attended, weights = _products(query, key, value, mask, queries)
        ctx.save_for_backward(query, key, value, weights)
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride] - positional in torch
        (gradient,) = gradients
        query, key, value, weights = ctx.saved_tensors
        by_weights = gradient @ value.transpose(-1, -2)
        weighed = by_weights.mul_(weights)
        by_scores = weighed - weights * weighed.sum(-1, keepdim=True)  # 0 where a key is masked, as its weight is
        return by_scores @ key, by_scores.transpose(-1, -2) @ query, weights.transpose(-1, -2) @ gradient, None, None


def install(network: PreTrainedModel) -> None:
    """Let a network attend this way where it is to run on a CPU and would leave all to torch."""
    if hardware.device().type == "cpu" and network.config._attn_implementation == "sdpa":  # pyright: ignore[reportPrivateUsage]
        network.set_attn_implementation(NAME)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
