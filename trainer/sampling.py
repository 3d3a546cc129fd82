"""Completions and scores from a causal language model, in batches that are refilled as sequences finish.

    requests -> waiting -> prefill (identical prompts once) -> rows of the key/value cache -> one token each, per step
                        '-> one token only: prompts that share a beginning are read as trees (`prefix_cache`)

A finished sequence leaves at once and the last row takes its place, so a batch is always dense. `Sampler.sample` runs a
list to the end; a server calls `add` and `step`.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from trainer.decoding import Draw, Sampling, TokenLogprobs, Trie, next_tokens, token_logprobs
from trainer.kv_cache import SlotCache
from trainer.language_model import LanguageModel
from trainer.prefix_cache import PrefixReader, length_sorted_batches, padded, prefill

FinishReason = Literal["stop", "length"]

_HEAD_ROWS = 256  # rows of logits in memory at once


@dataclass(frozen=True)
class Request:
    """One completion that is wanted."""

    prompt: tuple[int, ...]
    """At least one token; with `sampling.max_tokens` it must fit the context."""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Generation:
    """One completion."""

    text: str
    """Without end token and stop text."""
    tokens: tuple[int, ...]
    """As generated, with the end token."""
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One per token, where they were asked for."""


@dataclass(eq=False)
class Rollout:
    """A request and what has been generated for it."""

    request: Request
    done: Callable[[Generation], None]
    uniform: random.Random
    node: Trie | None
    tokens: list[int] = field(default_factory=list[int])
    logprobs: list[TokenLogprobs] = field(default_factory=list[TokenLogprobs])
    cancelled: bool = False

    @property
    def room(self) -> int:
        """Tokens it may come to hold."""
        return len(self.request.prompt) + self.request.sampling.max_tokens


class Sampler:
    """Samples many sequences at once. Not thread-safe: one thread calls it."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        max_rows: int = 128,
        batch_tokens: int = 2048,
        cache_bytes: int = 1 << 30,
        prefix_cache_bytes: int = 256 << 20,
    ) -> None:
        """Args:
        max_rows: sequences generated at once, at most.
        batch_tokens: prompt tokens in one forward pass, about.
        cache_bytes: memory for the keys and values of sequences in progress; fewer rows run where they are long.
        prefix_cache_bytes: memory for prompt beginnings that later one-token requests may share.
        """
        self.model = model
        self._batch_tokens = batch_tokens
        self._reader = PrefixReader(model, prefix_cache_bytes, batch_tokens)
        self._cache = SlotCache(model, max_rows, cache_bytes)
        self._waiting: deque[Rollout] = deque()
        self._waiting_for_one: deque[Rollout] = deque()
        self._running: list[Rollout] = []

    def add(self, request: Request, done: Callable[[Generation], None]) -> Rollout:
        """Queue a request; `done` is called from `step` when it is finished. Set `cancelled` to drop it."""
        choices = request.sampling.choices
        sequence = Rollout(request, done, request.sampling.generator(), Trie(choices) if choices else None)
        one = request.sampling.max_tokens == 1
        (self._waiting_for_one if one else self._waiting).append(sequence)
        return sequence

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._waiting or self._waiting_for_one or self._running)

    def sample(self, requests: Sequence[Request]) -> list[Generation]:
        """One generation per request, in order."""
        results: dict[int, Generation] = {}
        for i, request in enumerate(requests):
            self.add(request, lambda generation, i=i: results.__setitem__(i, generation))
        while self.busy:
            self.step()
        return [results[i] for i in range(len(requests))]

    @torch.inference_mode()
    def step(self) -> None:
        """One unit of work: answer waiting one-token requests, admit others to free rows, one token for every row."""
        self._drop_cancelled()
        if self._waiting_for_one:
            self._answer_one_token()
        if self._waiting:
            self._admit()
        if self._running:
            self._decode()

    def _drop_cancelled(self) -> None:
        for queue in (self._waiting, self._waiting_for_one):
            for _ in range(len(queue)):
                sequence = queue.popleft()
                if not sequence.cancelled:
                    queue.append(sequence)
        self._leave([row for row, sequence in enumerate(self._running) if sequence.cancelled])

    def _answer_one_token(self) -> None:
        """Answers up to some four batches' worth of waiting one-token requests, so that other work is not held up."""
        batch: list[Rollout] = []
        tokens = 0
        while self._waiting_for_one and tokens < 16 * self._batch_tokens:
            batch.append(self._waiting_for_one.popleft())
            tokens += len(batch[-1].request.prompt)
        hidden = self._reader.last_hidden([sequence.request.prompt for sequence in batch])
        for sequence in self._extend(batch, hidden):
            _finish(self.model, sequence)

    def _admit(self) -> None:
        """Prefill waiting sequences, in order of arrival, into the rows that are free for them."""
        admitted: list[Rollout] = []
        room = max((sequence.room for sequence in self._running), default=0)
        while self._waiting:
            room = max(room, self._waiting[0].room)
            if self._cache.rows_free(room) <= len(admitted):
                break
            admitted.append(self._waiting.popleft())
        copies: dict[tuple[int, ...], list[Rollout]] = {}
        for sequence in admitted:
            copies.setdefault(sequence.request.prompt, []).append(sequence)
        for batch in length_sorted_batches(list(copies), [len(prompt) for prompt in copies], self._batch_tokens):
            self._prefill([(i, sequence) for i, prompt in enumerate(batch) for sequence in copies[prompt]], batch)
        self._leave([row for row, sequence in enumerate(self._running) if _reason(self.model, sequence)])

    def _prefill(self, rows: list[tuple[int, Rollout]], prompts: list[tuple[int, ...]]) -> None:
        """Fill one cache row per sequence and give each its first token."""
        cache = DynamicCache()
        hidden = prefill(self.model, prompts, cache)
        sequences = [sequence for _, sequence in rows]
        sources = torch.tensor([source for source, _ in rows], device=self.model.device)
        lengths = torch.tensor([len(sequence.request.prompt) for sequence in sequences], device=self.model.device)
        self._cache.add(cache, sources, lengths, max(sequence.room for sequence in sequences))
        self._running += sequences
        self._extend(sequences, hidden[sources])

    def _decode(self) -> None:
        """One more token for every running sequence."""
        last = torch.tensor([[sequence.tokens[-1]] for sequence in self._running], device=self.model.device)
        hidden = self.model.hidden(
            input_ids=last,
            position_ids=self._cache.lengths[: len(self._running), None],
            attention_mask=self._cache.mask(),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache.advance()
        self._extend(self._running, hidden[:, 0])
        self._leave([row for row, sequence in enumerate(self._running) if _reason(self.model, sequence)])

    def _leave(self, rows: list[int]) -> None:
        """Take sequences out of the batch and finish those that were not cancelled; the last row fills each gap."""
        for row in reversed(rows):
            sequence = self._running[row]
            self._cache.remove(row)
            self._running[row] = self._running[-1]
            self._running.pop()
            if not sequence.cancelled:
                _finish(self.model, sequence)

    def _extend(self, sequences: Sequence[Rollout], hidden: Tensor) -> Sequence[Rollout]:
        """Give each sequence the token that follows its hidden state [sequence, hidden]; the same sequences."""
        for begin in range(0, len(sequences), _HEAD_ROWS):
            part = sequences[begin : begin + _HEAD_ROWS]
            logits = self.model.logits(hidden[begin : begin + _HEAD_ROWS])
            tokens = next_tokens(logits, [self._draw(sequence) for sequence in part])
            reports = token_logprobs(logits, tokens, [s.request.sampling.top_logprobs for s in part])
            for sequence, token, report in zip(part, tokens, reports, strict=True):
                sequence.tokens.append(token)
                if report is not None:
                    sequence.logprobs.append(report)
                if sequence.node is not None:
                    sequence.node = sequence.node.children.get(token)
        return sequences

    def _draw(self, sequence: Rollout) -> Draw:
        allowed = sequence.node.allowed(self.model.end_tokens) if sequence.node else None
        return Draw(sequence.request.sampling, sequence.uniform, allowed)

    @torch.inference_mode()
    def score(self, sequences: Sequence[Sequence[int]], top: int = 0) -> list[list[TokenLogprobs]]:
        """Log-probabilities of the given tokens, each under those before it; the first of a sequence has None."""
        scores: dict[int, list[TokenLogprobs]] = {}
        for batch in length_sorted_batches(range(len(sequences)), [len(s) for s in sequences], self._batch_tokens):
            ids, _ = padded([sequences[i] for i in batch], self.model)
            hidden = self.model.hidden(input_ids=ids, use_cache=False)
            for row, i in enumerate(batch):
                scores[i] = self._score_row(hidden[row], list(sequences[i]), top)
        return [scores[i] for i in range(len(sequences))]

    def _score_row(self, hidden: Tensor, tokens: list[int], top: int) -> list[TokenLogprobs]:
        reports = [TokenLogprobs(tokens[0], None)]
        for begin in range(1, len(tokens), _HEAD_ROWS):
            part = tokens[begin : begin + _HEAD_ROWS]
            logits = self.model.logits(hidden[begin - 1 : begin - 1 + len(part)])
            reports += [r for r in token_logprobs(logits, part, [top] * len(part)) if r is not None]
        return reports


def _reason(model: LanguageModel, sequence: Rollout) -> FinishReason | None:
    """Why the sequence is finished; None while it is not."""
    sampling = sequence.request.sampling
    if sequence.tokens[-1] in model.end_tokens:
        return "stop"
    if sampling.choices and (sequence.node is None or not sequence.node.children):
        return "stop"
    if sampling.stop and _stop_at(_tail(model, sequence), sampling.stop) is not None:
        return "stop"
    return "length" if len(sequence.tokens) >= sampling.max_tokens else None


def _finish(model: LanguageModel, sequence: Rollout) -> None:
    reason = _reason(model, sequence) or "length"
    tokens = sequence.tokens[:-1] if sequence.tokens[-1] in model.end_tokens else sequence.tokens
    text = model.decode(tokens, after=sequence.request.prompt)
    cut = _stop_at(text, sequence.request.sampling.stop)
    sequence.done(Generation(text[:cut], tuple(sequence.tokens), reason, tuple(sequence.logprobs)))


def _tail(model: LanguageModel, sequence: Rollout) -> str:
    """Text of the last tokens, enough for a stop text that the newest one completes."""
    longest = max(len(stop.encode()) for stop in sequence.request.sampling.stop)
    return model.decode(sequence.tokens[-longest - 4 :], after=sequence.request.prompt)


def _stop_at(text: str, stops: Sequence[str]) -> int | None:
    """Where the earliest stop text begins; None without one."""
    return min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)
