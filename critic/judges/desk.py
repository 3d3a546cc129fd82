"""What a method asks with: the model, the cache, and an account. One desk per judge call."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakValueDictionary

from critic.cache import Cache, judgement_key
from critic.readings import Reading, read_labels
from critic.usage import Usage
from solon.chat import ChatModel, ChatReply, RequestFailed
from solon.records import Message
from solon.spending import Account

Locks = MutableMapping[str, asyncio.Lock]
"""By cache key; held while a question is out, so that nobody puts the same one meanwhile."""


def locks() -> Locks:
    """Locks that are forgotten when nobody holds or waits for them."""
    return WeakValueDictionary()


@dataclass(frozen=True)
class Desk:
    """The model behind a judge, asked through the cache."""

    model: ChatModel
    cache: Cache | None = None
    version: str | None = None
    """Of the model: what tells answers of its weights from those of others."""
    locks: Locks = field(default_factory=locks)
    account: Account = field(default_factory=Account)
    """That new readings are paid from."""
    spent: Usage = field(default_factory=Usage)
    """What this call cost so far."""

    async def measured(
        self,
        messages: Sequence[Message],
        labels: Sequence[str],
        sampling: Mapping[str, Any],
        measure: Callable[[], Awaitable[Reading]],
    ) -> Reading:
        """The cached reading of this question, or what `measure` brings back, which is cached."""
        if self.cache is None:
            reading = await self._new(measure)
        else:
            key = judgement_key(
                model=self.model.model, revision=self.version, sampling=sampling, labels=labels, messages=messages
            )
            lock = self.locks.setdefault(key, asyncio.Lock())
            async with lock:
                reading = self.cache.get(key)
                if reading is None:
                    reading = self.cache.put(key, await self._new(measure))
                else:
                    self.spent.cache_hits += 1
        self.spent.prompt_tokens += reading.prompt_tokens
        self.spent.completion_tokens += reading.completion_tokens
        return reading

    async def labels(
        self, messages: Sequence[Message], labels: tuple[str, str], sampling: Mapping[str, Any]
    ) -> Reading:
        """P(first label) from the log-probabilities of one unconstrained token."""

        async def measure() -> Reading:
            reply = await self.model.complete(messages, **sampling)
            return with_cost(readable(self.model, lambda: read_labels(reply.choices[0], labels)), reply)

        return await self.measured(messages, labels, sampling, measure)

    async def _new(self, measure: Callable[[], Awaitable[Reading]]) -> Reading:
        async def begun() -> Reading:
            self.spent.judge_calls += 1
            return await measure()

        return await self.account.pay(begun, lambda reading: (reading.prompt_tokens, reading.completion_tokens))


def readable(model: ChatModel, read: Callable[[], Reading]) -> Reading:
    """What `read` makes of a reply; its ValueError becomes a RequestFailed that names the model."""
    try:
        return read()
    except ValueError as error:
        raise RequestFailed(
            f"model {model.name!r}: {error}", remedy="serve it with log-probabilities (20 or more)"
        ) from error


def with_cost(reading: Reading, *replies: ChatReply) -> Reading:
    """The reading with the tokens of the replies it came from."""
    return replace(
        reading,
        prompt_tokens=sum(reply.prompt_tokens for reply in replies),
        completion_tokens=sum(reply.completion_tokens for reply in replies),
    )
