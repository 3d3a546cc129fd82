"""From next-token logits to tokens: bias, constraint, temperature, nucleus, and the reported log-probabilities.

Every sequence draws one uniform number per token from its own generator and inverts its distribution function with it.
So a text depends on its own prompt, settings and seed, and on its neighbours in the batch only through rounding.

Reported log-probabilities are of the model's own distribution: before temperature, top_p, bias and constraint. (vLLM's
`raw_logprobs` differ in one point: under a constraint they come already masked.)
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How one completion is sampled."""

    max_tokens: int = 16
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """The smallest set of most probable tokens that holds this much probability is sampled from; 1 is all."""
    seed: int | None = None
    """None: another text every time."""
    index: int = 0
    """Which of the n completions of one request; part of the seed."""
    stop: tuple[str, ...] = ()
    """Texts that end the completion and are not part of it."""
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    """Added to the logits of single tokens."""
    choices: tuple[tuple[int, ...], ...] = ()
    """Tokens of the only completions allowed; empty is no constraint."""
    top_logprobs: int | None = None
    """Alternatives reported per token; None reports nothing."""

    def generator(self) -> random.Random:
        """The sequence's own source of uniform numbers."""
        return random.Random() if self.seed is None else random.Random(f"{self.seed}/{self.index}")


@dataclass(frozen=True)
class TokenLogprobs:
    """One token and the most probable alternatives, natural logarithms."""

    token: int
    logprob: float | None
    """None for the first token of a scored text, which nothing precedes."""
    top: tuple[tuple[int, float], ...] = ()


class Trie:
    """The allowed continuations at one point of a constrained completion."""

    def __init__(self, completions: Iterable[Sequence[int]] = ()) -> None:
        self.children: dict[int, Trie] = {}
        self.complete = False
        """Whether a completion ends here."""
        for completion in completions:
            node = self
            for token in completion:
                node = node.children.setdefault(token, Trie())
            node.complete = True

    def allowed(self, end_tokens: Iterable[int]) -> list[int]:
        """Tokens that may come next; an end token only where a completion ends."""
        return [*self.children, *(end_tokens if self.complete else ())]


@dataclass
class Draw:
    """What decides the next token of one sequence."""

    sampling: Sampling
    uniform: random.Random
    allowed: list[int] | None = None
    """None allows every token."""


def next_tokens(logits: Tensor, draws: Sequence[Draw]) -> list[int]:
    """The next token of every sequence; `logits` is [sequence, vocabulary] in float32 and is not changed."""
    logits = _edited(logits, draws)
    warm = [i for i, draw in enumerate(draws) if draw.sampling.temperature > 0]
    if len(warm) == len(draws):
        return _sampled(logits, draws).tolist()
    tokens = logits.argmax(-1)
    if warm:
        rows = torch.tensor(warm, device=logits.device)
        tokens[rows] = _sampled(logits[rows], [draws[i] for i in warm])
    return tokens.tolist()


def _edited(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Logits with biases added and everything but the allowed tokens at minus infinity."""
    if not any(draw.sampling.logit_bias or draw.allowed is not None for draw in draws):
        return logits
    logits = logits.clone()
    for row, draw in enumerate(draws):
        for token, bias in draw.sampling.logit_bias.items():
            logits[row, token] += bias
        if draw.allowed is not None:
            kept = logits[row, draw.allowed]
            logits[row] = float("-inf")
            logits[row, draw.allowed] = kept
    return logits


def _sampled(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    settings = torch.tensor(
        [(d.sampling.temperature, d.sampling.top_p, d.uniform.random()) for d in draws], dtype=torch.float64
    ).to(logits.device)
    probabilities = (logits / settings[:, :1].float()).softmax(-1)
    if any(draw.sampling.top_p < 1 for draw in draws):
        probabilities = _nucleus(probabilities, settings[:, 1:2])
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(cumulative, settings[:, 2:] * cumulative[:, -1:], right=True)[:, 0]


def _nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Zero outside the smallest set of most probable tokens that reaches `top_p` [sequence, 1]; not renormalised."""
    ordered, order = probabilities.sort(-1, descending=True)
    outside = ordered.cumsum(-1, dtype=torch.float64) - ordered >= top_p
    outside[:, 0] = False
    return probabilities.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), 0)


def token_logprobs(logits: Tensor, tokens: Sequence[int], top: Sequence[int | None]) -> list[TokenLogprobs | None]:
    """What is reported of `tokens` [sequence]: None where `top` is None."""
    wanted = [i for i, count in enumerate(top) if count is not None]
    reports: list[TokenLogprobs | None] = [None] * len(tokens)
    if not wanted:
        return reports
    logprobs = logits[torch.tensor(wanted, device=logits.device)].log_softmax(-1)
    chosen = torch.tensor([tokens[i] for i in wanted], device=logits.device)
    values = logprobs.gather(-1, chosen[:, None])[:, 0].tolist()
    best = logprobs.topk(min(max(top[i] or 0 for i in wanted), logprobs.shape[-1]), -1)
    alternatives = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    for i, value, (ids, scores) in zip(wanted, values, alternatives, strict=True):
        reports[i] = TokenLogprobs(tokens[i], value, tuple(zip(ids, scores, strict=True))[: top[i] or 0])
    return reports
