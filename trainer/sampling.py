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
from trainer.prefix_cache import PrefixCache, PrefixReader, length_sorted_batches, padded, prefill

FinishReason = Literal["stop", "length"]

_HEAD_ROWS = 256  # rows of logits in memory at once
_WAIT_STEPS = 8  # tokens that running rows get at most before a waiting request is admitted
_ONE_TOKEN_BATCHES = 16  # batches of prompt tokens that are answered in one step


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
    tokens: list[int] = field(default_factory=list[int])
    logprobs: list[TokenLogprobs] = field(default_factory=list[TokenLogprobs])
    cancelled: bool = False
    """Set from any thread to drop it; `done` is then not called."""
    uniform: random.Random = field(init=False)
    node: Trie | None = field(init=False)
    """Where it stands among the allowed completions; None when anything may follow."""

    def __post_init__(self) -> None:
        sampling = self.request.sampling
        self.uniform = sampling.generator()
        self.node = Trie(sampling.choices) if sampling.choices else None

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
        prefixes: PrefixCache | None = None,
    ) -> None:
        """Args:
        max_rows: sequences generated at once, at most.
        batch_tokens: prompt tokens in one forward pass, about.
        cache_bytes: memory for the keys and values of sequences in progress; fewer rows run where they are long.
        prefixes: prompt beginnings that one-token requests share; samplers of one model may have one together.
        """
        self.model = model
        self._batch_tokens = batch_tokens
        self._reader = PrefixReader(model, prefixes, batch_tokens)
        self._cache = SlotCache(model, max_rows, cache_bytes)
        self._waiting: deque[Rollout] = deque()
        self._waiting_for_one: deque[Rollout] = deque()
        self._running: list[Rollout] = []
        self._steps_waited = 0

    def add(self, rollout: Rollout) -> None:
        """Queue a rollout; its `done` is called from `step` when it is finished."""
        one = rollout.request.sampling.max_tokens == 1
        (self._waiting_for_one if one else self._waiting).append(rollout)

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return self.load > 0

    @property
    def load(self) -> int:
        """Rollouts that are not finished."""
        return len(self._waiting) + len(self._waiting_for_one) + len(self._running)

    def sample(self, requests: Sequence[Request]) -> list[Generation]:
        """One generation per request, in order."""
        results: dict[int, Generation] = {}
        for i, request in enumerate(requests):
            self.add(Rollout(request, lambda generation, i=i: results.__setitem__(i, generation)))
        while self.busy:
            self.step()
        self._cache.release()
        return [results[i] for i in range(len(requests))]

    @torch.inference_mode()
    def step(self) -> None:
        """One unit of work: answer waiting one-token requests, admit others to free rows, one token for every row."""
        self._drop_cancelled()
        if self._waiting_for_one:
            self._answer_one_token()
        if self._waiting and self._is_time_to_admit():
            self._admit()
        if self._running:
            self._decode()

    def _drop_cancelled(self) -> None:
        for queue in (self._waiting, self._waiting_for_one):
            for _ in range(len(queue)):
                rollout = queue.popleft()
                if not rollout.cancelled:
                    queue.append(rollout)
        self._leave([row for row, rollout in enumerate(self._running) if rollout.cancelled])

    def _answer_one_token(self) -> None:
        """Answer waiting one-token requests, a bounded number of them so that other work is not held up for long."""
        batch: list[Rollout] = []
        tokens = 0
        while self._waiting_for_one and tokens < _ONE_TOKEN_BATCHES * self._batch_tokens:
            batch.append(self._waiting_for_one.popleft())
            tokens += len(batch[-1].request.prompt)
        hidden = self._reader.last_hidden([rollout.request.prompt for rollout in batch])
        for rollout in self._extend(batch, hidden):
            _finish(self.model, rollout)

    def _is_time_to_admit(self) -> bool:
        """Whether waiting rollouts are many enough for a prefill of their own, or have waited long enough.

        Clients send their next request when one returns: one at a time, each would cost a forward pass.
        """
        self._steps_waited += 1
        return 8 * len(self._waiting) >= len(self._running) or self._steps_waited >= _WAIT_STEPS

    def _admit(self) -> None:
        """Prefill waiting rollouts, in order of arrival, into the rows that are free for them."""
        self._steps_waited = 0
        before = len(self._running)
        admitted: list[Rollout] = []
        room = max((rollout.room for rollout in self._running), default=0)
        while self._waiting:
            room = max(room, self._waiting[0].room)
            if self._cache.rows_free(room) <= len(admitted):
                break
            admitted.append(self._waiting.popleft())
        copies: dict[tuple[int, ...], list[Rollout]] = {}
        for rollout in admitted:
            copies.setdefault(rollout.request.prompt, []).append(rollout)
        for batch in length_sorted_batches(list(copies), [len(prompt) for prompt in copies], self._batch_tokens):
            self._prefill([(i, rollout) for i, prompt in enumerate(batch) for rollout in copies[prompt]], batch)
        self._leave_finished(before)

    def _prefill(self, rows: list[tuple[int, Rollout]], prompts: list[tuple[int, ...]]) -> None:
        """Fill one cache row per rollout and give each its first token."""
        cache = DynamicCache()
        hidden = prefill(self.model, prompts, cache)
        rollouts = [rollout for _, rollout in rows]
        sources = torch.tensor([source for source, _ in rows], device=self.model.device)
        lengths = torch.tensor([len(rollout.request.prompt) for rollout in rollouts], device=self.model.device)
        self._cache.add(cache, sources, lengths, max(rollout.room for rollout in rollouts))
        self._running += rollouts
        self._extend(rollouts, hidden[sources])

    def _decode(self) -> None:
        """One more token for every running rollout."""
        last = torch.tensor([[rollout.tokens[-1]] for rollout in self._running], device=self.model.device)
        hidden = self.model.hidden(
            input_ids=last,
            position_ids=self._cache.lengths[: len(self._running), None],
            attention_mask=self._cache.mask(),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache.advance()
        self._extend(self._running, hidden[:, 0])
        self._leave_finished(0)

    def _leave_finished(self, first: int) -> None:
        """Take out what is finished among the rows from `first` on."""
        self._leave([row for row in range(first, len(self._running)) if _reason(self.model, self._running[row])])

    def _leave(self, rows: list[int]) -> None:
        """Take rollouts out of the batch and finish those that were not cancelled; the last row fills each gap."""
        for row in reversed(rows):
            rollout = self._running[row]
            self._cache.remove(row)
            self._running[row] = self._running[-1]
            self._running.pop()
            if not rollout.cancelled:
                _finish(self.model, rollout)

    def _extend(self, rollouts: Sequence[Rollout], hidden: Tensor) -> Sequence[Rollout]:
        """Give each rollout the token that follows its hidden state [rollout, hidden]; the same rollouts."""
        for begin in range(0, len(rollouts), _HEAD_ROWS):
            part = rollouts[begin : begin + _HEAD_ROWS]
            logits = self.model.logits(hidden[begin : begin + _HEAD_ROWS])
            tokens = next_tokens(logits, [self._draw(rollout) for rollout in part])
            reports = token_logprobs(logits, tokens, [s.request.sampling.top_logprobs for s in part])
            for rollout, token, report in zip(part, tokens, reports, strict=True):
                rollout.tokens.append(token)
                if report is not None:
                    rollout.logprobs.append(report)
                if rollout.node is not None:
                    rollout.node = rollout.node.children.get(token)
        return rollouts

    def _draw(self, rollout: Rollout) -> Draw:
        allowed = rollout.node.allowed(self.model.end_tokens) if rollout.node else None
        return Draw(rollout.request.sampling, rollout.uniform, allowed)

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


def _reason(model: LanguageModel, rollout: Rollout) -> FinishReason | None:
    """Why the rollout is finished; None while it is not."""
    sampling = rollout.request.sampling
    if rollout.tokens[-1] in model.end_tokens:
        return "stop"
    if sampling.choices and (rollout.node is None or not rollout.node.children):
        return "stop"
    if sampling.stop and _stop_at(_tail(model, rollout), sampling.stop) is not None:
        return "stop"
    return "length" if len(rollout.tokens) >= sampling.max_tokens else None


def _finish(model: LanguageModel, rollout: Rollout) -> None:
    reason = _reason(model, rollout) or "length"
    tokens = rollout.tokens[:-1] if rollout.tokens[-1] in model.end_tokens else rollout.tokens
    text = model.decode(tokens, after=rollout.request.prompt)
    cut = _stop_at(text, rollout.request.sampling.stop)
    rollout.done(Generation(text[:cut], tuple(rollout.tokens), reason, tuple(rollout.logprobs)))


def _tail(model: LanguageModel, rollout: Rollout) -> str:
    """Text of the last tokens, enough for a stop text that the newest one completes."""
    longest = max(len(stop.encode()) for stop in rollout.request.sampling.stop)
    return model.decode(rollout.tokens[-longest - 4 :], after=rollout.request.prompt)


def _stop_at(text: str, stops: Sequence[str]) -> int | None:
    """Where the earliest stop text begins; None without one."""
    return min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)
