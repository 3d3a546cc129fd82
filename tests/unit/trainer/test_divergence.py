"""KL estimates against exact values."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from solon.errors import InvalidInput
from trainer import checkpoint
from trainer.divergence import completion_logps, divergence

torch.set_num_threads(1)

PROMPT = [5, 6, 7]


@pytest.fixture
def two_models(chat_model: Path) -> tuple[PreTrainedModel, PreTrainedModel]:
    policy, _ = checkpoint.load(chat_model, "model")
    reference, _ = checkpoint.load(chat_model, "model")
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    return policy.eval(), reference.eval()


@torch.no_grad()
def _next(model: PreTrainedModel, ids: Tensor) -> Tensor:
    return torch.log_softmax(model(input_ids=ids).logits[:, -1].float(), dim=-1)


def test_a_policy_is_at_distance_zero_from_itself(two_models: tuple[PreTrainedModel, PreTrainedModel]):
    found = divergence(two_models[0], two_models[0], [(PROMPT, [9, 8, 7]), (PROMPT, [9])])
    assert (found.kl_nats, found.k3_nats, found.sequences, found.mean_tokens) == (0.0, 0.0, 2, 2.0)


def test_both_estimates_meet_the_exact_divergence_of_two_token_sequences(
    two_models: tuple[PreTrainedModel, PreTrainedModel],
):
    policy, reference = two_models
    start = torch.tensor([PROMPT])
    p, q = _next(policy, start), _next(reference, start)
    exact = (p.exp() * (p - q)).sum()
    vocabulary = torch.arange(p.shape[-1]).unsqueeze(1)
    ids = torch.cat([start.repeat(len(vocabulary), 1), vocabulary], dim=1)
    p2, q2 = _next(policy, ids), _next(reference, ids)
    exact = float(exact + (p.exp().squeeze(0) * (p2.exp() * (p2 - q2)).sum(-1)).sum())
    torch.manual_seed(0)
    first = torch.multinomial(p.exp().squeeze(0), 4000, replacement=True)
    second = torch.multinomial(p2.exp()[first], 1).squeeze(1)
    samples = [(PROMPT, [int(a), int(b)]) for a, b in zip(first, second, strict=True)]
    found = divergence(policy, reference, samples, batch_size=500)
    assert found.standard_error
    assert found.k3_standard_error
    assert abs(found.kl_nats - exact) < 4 * found.standard_error
    assert abs(found.k3_nats - exact) < 4 * found.k3_standard_error
    assert found.k3_standard_error < found.standard_error


def test_padding_and_batching_do_not_change_the_estimate(two_models: tuple[PreTrainedModel, PreTrainedModel]):
    samples = [(PROMPT, [9, 8, 7, 6]), ([5], [10]), (PROMPT * 4, [11, 12])]
    together = divergence(*two_models, samples, batch_size=3)
    alone = [divergence(*two_models, [sample]).kl_nats for sample in samples]
    assert together.kl_nats == pytest.approx(sum(alone) / 3, abs=1e-5)


def test_only_completion_tokens_count(two_models: tuple[PreTrainedModel, PreTrainedModel]):
    ids = torch.tensor([[5, 6, 7, 8]])
    mask = torch.tensor([[False, False, True, False]])
    found = completion_logps(two_models[0], ids, mask)
    assert found[0, 0] == found[0, 2] == 0
    assert found[0, 1] == pytest.approx(float(_next(two_models[0], ids[:, :2])[0, 7]), abs=1e-5)


def test_without_a_sample_there_is_nothing_to_measure(two_models: tuple[PreTrainedModel, PreTrainedModel]):
    with pytest.raises(InvalidInput):
        divergence(*two_models, [])
