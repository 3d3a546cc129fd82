"""How far a policy has moved from its reference: KL(policy || reference) per sequence, in nats, by Monte Carlo.

With y sampled from the policy and d_t = ln policy(y_t) - ln reference(y_t) over the tokens of y, end of turn included:

    k1 = sum_t d_t                        unbiased; a single sample may be negative
    k3 = sum_t (exp(-d_t) - 1 + d_t)      unbiased, never negative, usually steadier (Schulman 2020)

Both are means over sequences with a standard error. A completion cut by its token limit counts with the tokens it has.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from solon.errors import InvalidInput
from trainer.hardware import device


@dataclass(frozen=True)
class Divergence:
    """An estimate of KL(policy || reference) per sequence, in nats."""

    kl_nats: float
    """Mean of k1."""
    standard_error: float | None
    """Of `kl_nats`; None for a single sequence."""
    k3_nats: float
    k3_standard_error: float | None
    sequences: int
    mean_tokens: float
    """Completion tokens per sequence."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for an event or a report."""
        return asdict(self)


def divergence(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    samples: Sequence[tuple[list[int], list[int]]],
    *,
    temperature: float = 1.0,
    batch_size: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Divergence:
    """The estimate from (prompt ids, completion ids) pairs whose completions the policy sampled at `temperature`.

    InvalidInput when there is no sample. `progress` is called with (batches done, batches) after each batch.
    """
    if not samples:
        raise InvalidInput("no sample is left to measure", field="samples", remedy="see the counted drops")
    where = device()
    policy, reference = policy.eval().to(where), reference.eval().to(where)  # pyright: ignore[reportArgumentType]
    rows = sorted(samples, key=lambda sample: len(sample[0]) + len(sample[1]))
    k1: list[float] = []
    k3: list[float] = []
    starts = range(0, len(rows), batch_size)
    for done, start in enumerate(starts, start=1):
        ids, mask = _batch(rows[start : start + batch_size], where)
        ratio = completion_logps(policy, ids, mask, temperature) - completion_logps(reference, ids, mask, temperature)
        k1 += ratio.sum(1).tolist()
        k3 += (torch.expm1(-ratio) + ratio).sum(1).tolist()
        progress(done, len(starts))
    tokens = fmean(len(completion) for _, completion in rows)
    return Divergence(fmean(k1), _standard_error(k1), fmean(k3), _standard_error(k3), len(rows), tokens)


def log_likelihoods(
    model: PreTrainedModel, samples: Sequence[tuple[list[int], list[int]]], *, batch_size: int = 32
) -> list[float]:
    """ln p(completion | prompt) in nats of each (prompt ids, completion ids), in order."""
    where = device()
    model = model.eval().to(where)  # pyright: ignore[reportArgumentType]
    order = sorted(range(len(samples)), key=lambda i: len(samples[i][0]) + len(samples[i][1]))
    found = [0.0] * len(samples)
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        ids, mask = _batch([samples[i] for i in places], where)
        for place, nats in zip(places, completion_logps(model, ids, mask).sum(1).tolist(), strict=True):
            found[place] = nats
    return found


def _standard_error(values: Sequence[float]) -> float | None:
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def _batch(rows: Sequence[tuple[list[int], list[int]]], where: torch.device) -> tuple[Tensor, Tensor]:
    """Right-padded ids [sequence, token], and a mask of the same shape that is True on completion tokens."""
    ids = pad_sequence([torch.tensor(prompt + completion) for prompt, completion in rows], batch_first=True)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, (prompt, completion) in enumerate(rows):
        mask[row, len(prompt) : len(prompt) + len(completion)] = True
    return ids.to(where), mask.to(where)


def sequence_logps(
    model: PreTrainedModel,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    temperature: float = 1.0,
    batch_size: int = 32,
) -> list[float]:
    """ln p of each completion given its prompt, in nats, in the order of the (prompt ids, completion ids)."""
    found = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        ids, mask = _batch([([*rows[i][0]], [*rows[i][1]]) for i in places], model.device)
        sums = completion_logps(model, ids, mask, temperature).sum(1).tolist()
        for i, value in zip(places, sums, strict=True):
            found[i] = value
    return found


@torch.no_grad()
def completion_logps(model: PreTrainedModel, ids: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """ln p of each token given those before it, [sequence, token - 1] in nats, 0 where `mask` is False.

    Padding stands on the right, where a causal model cannot see it, so no attention mask is needed.
    """
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = mask[:, 1:]
    head = cast(torch.nn.Module, model.get_output_embeddings())
    logits = head(hidden[wanted]).float() / temperature
    chosen = torch.log_softmax(logits, dim=-1).gather(-1, ids[:, 1:][wanted].unsqueeze(-1)).squeeze(-1)
    return chosen.new_zeros(wanted.shape).masked_scatter(wanted, chosen)
