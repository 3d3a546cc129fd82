"""Attention of one query: what torch computes, for every way of sharing heads; and a cache that is laid out anew."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainer.attention import one_query, sdpa_attention_forward
from trainer.decoding import Sampling
from trainer.language_model import LanguageModel
from trainer.sampling import Request, Sampler


class Heads(torch.nn.Module):
    """What transformers' function reads of an attention module."""

    is_causal = True

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("scaling", [None, 0.3])
@torch.inference_mode()
def test_one_query_attends_as_torch_does(key_heads: int, scaling: float | None) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 4, 1, 8), torch.randn(3, key_heads, 7, 8), torch.randn(3, key_heads, 7, 8)
    hidden = torch.arange(7) > torch.tensor([[2], [6], [0]])
    mask = torch.zeros(3, 7).masked_fill(hidden, torch.finfo(torch.float32).min)[:, None, None]
    module = Heads(4 // key_heads)

    ours, _ = one_query(module, query, key, value, mask, scaling)
    theirs, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling)

    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-6)
    torch.testing.assert_close(ours[2, 0], value[2, :, 0].repeat_interleave(4 // key_heads, 0))  # it sees one token


def test_what_is_not_one_query_is_left_to_torch() -> None:
    query, key = torch.randn(2, 4, 3, 8, requires_grad=True), torch.randn(2, 4, 3, 8)

    ours, _ = one_query(Heads(1), query, key, key, None)

    assert torch.equal(ours, sdpa_attention_forward(Heads(1), query, key, key, None)[0])
    assert ours.requires_grad


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


def test_the_way_of_attending_is_not_saved(tiny_model_dir: Path, tmp_path: Path) -> None:
    LanguageModel.load(tiny_model_dir).network.save_pretrained(tmp_path)

    assert "one_query" not in (tmp_path / "config.json").read_text()
