"""Attention by plain products: what torch computes, gradients included; and a cache that is laid out anew."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainer import attention
from trainer.attention import attend, sdpa_attention_forward
from trainer.decoding import Sampling
from trainer.language_model import LanguageModel
from trainer.sampling import Request, Sampler


class Heads(torch.nn.Module):
    """What transformers' function reads of an attention module."""

    is_causal = True

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups


States = tuple[Tensor, Tensor, Tensor]


def states(queries: int, tokens: int, key_heads: int) -> States:
    """Query, key and value of three rows and four heads."""
    torch.manual_seed(0)
    query = torch.randn(3, 4, queries, 8, requires_grad=True)
    key, value = (torch.randn(3, key_heads, tokens, 8, requires_grad=True) for _ in range(2))
    return query, key, value


def rounded(exact: States) -> States:
    """The same in bfloat16; gradients reach the exact ones."""
    query, key, value = exact
    return query.bfloat16(), key.bfloat16(), value.bfloat16()


def lengths_mask(tokens: int, seen: Sequence[int], queries: int = 1) -> Tensor:
    """True where a row sees a token: its first ones, and none that comes later than the query."""
    order = torch.ones(queries, tokens, dtype=torch.bool).tril(tokens - queries)
    return (torch.arange(tokens) < torch.tensor(seen)[:, None])[:, None, None] & order


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("mask", ["none", "seen", "additive"])
def test_one_query_attends_as_torch_does(key_heads: int, scaling: float | None, mask: str) -> None:
    query, key, value = states(1, 7, key_heads)
    seen = None if mask == "none" else lengths_mask(7, (3, 7, 1))
    if mask == "additive" and seen is not None:
        seen = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    module = Heads(4 // key_heads)

    ours, _ = attend(module, query, key, value, seen, scaling=scaling)
    theirs, _ = sdpa_attention_forward(module, query, key, value, seen, scaling=scaling)

    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    if seen is not None:  # the last row sees one token
        torch.testing.assert_close(ours[2, 0], value[2, :, 0].repeat_interleave(4 // key_heads, 0))


@pytest.mark.parametrize("key_heads", [2, 4])
@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_short_bfloat16_sequences_attend_as_torch_does_and_so_do_their_gradients(
    key_heads: int, mask: bool, autocast: bool
) -> None:
    found: list[list[Tensor]] = []
    for function in (attend, sdpa_attention_forward):
        leaves = states(7, 7, key_heads)
        seen = lengths_mask(7, (3, 7, 5), queries=7) if mask else None
        exact = function is sdpa_attention_forward  # the reference is torch's in float32
        given = leaves if exact or autocast else rounded(leaves)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast and not exact):
            out, _ = function(Heads(4 // key_heads), *given, seen)
        assert out.dtype == (torch.float32 if exact else torch.bfloat16)
        out.float().square().sum().backward()
        found.append([out.detach().float(), *(leaf.grad for leaf in leaves if leaf.grad is not None)])
    assert len(found[0]) == len(found[1]) == 4
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_that_sees_nothing_holds_numbers(dtype: torch.dtype) -> None:
    nothing = torch.full((3, 1, 7, 7), torch.finfo(dtype).min, dtype=dtype)

    out, _ = attend(Heads(1), *rounded(states(7, 7, 4)), nothing)

    assert out.isfinite().all()


def test_long_sequences_float32_and_learnt_masks_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *given, **_: asked.append(given[1].shape[2]))

    attend(Heads(1), *states(3, 3, 4), None)
    attend(Heads(1), *rounded(states(300, 300, 4)), None)
    attend(Heads(1), *rounded(states(4, 4, 4)), None)
    attend(Heads(1), *rounded(states(5, 5, 4)), torch.zeros(3, 1, 5, 5, requires_grad=True))  # a bias that is learnt

    assert asked == [3, 300, 5]


def test_greedy_tokens_are_the_likeliest_while_rows_grow_leave_and_come(tiny_model_dir: Path) -> None:
    model = replace(LanguageModel.load(tiny_model_dir, precision="float32"), end_tokens=frozenset())
    lengths = [3, 90, 40, 7, 120, 25, 60]
    requests = [
        Request(tuple(range(5, 6 + 9 * i)), Sampling(max_tokens=length, temperature=0))
        for i, length in enumerate(lengths)
    ]

    written = Sampler(model, max_rows=3).sample(requests)

    for request, generation, length in zip(requests, written, lengths, strict=True):
        assert len(generation.tokens) == length
        whole = torch.tensor([[*request.prompt, *generation.tokens]])
        with torch.no_grad():
            logits = model.network(input_ids=whole, use_cache=False).logits[0, len(request.prompt) - 1 : -1]
        chosen = logits.gather(-1, torch.tensor(generation.tokens)[:, None])[:, 0]
        assert torch.allclose(chosen, logits.amax(-1), atol=1e-4)  # the likeliest, whatever rounding makes of a draw


def test_the_memory_of_a_batch_is_given_back_and_taken_again(tiny_model_dir: Path) -> None:
    sampler = Sampler(LanguageModel.load(tiny_model_dir, precision="float32"), max_rows=4)
    requests = [Request((5, 6 + i), Sampling(max_tokens=40, seed=i)) for i in range(6)]

    first = sampler.sample(requests)
    held = sampler._cache.memory.numel()  # pyright: ignore[reportPrivateUsage]

    assert held == 0
    assert sampler.sample(requests) == first


def test_the_way_of_attending_is_not_saved(tiny_model_dir: Path, tmp_path: Path) -> None:
    LanguageModel.load(tiny_model_dir).network.save_pretrained(tmp_path)

    assert attention.NAME not in (tmp_path / "config.json").read_text()
