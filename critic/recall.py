"""A policy that is not asked for the same text twice, and is paid from an account.

A completion is asked for with a seed of its own, so the same request means the same text. What was written is kept in a
file; a job that stopped and goes on pays for no completion again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from solon.chat import ChatChoice, ChatModel, ChatReply
from solon.journal import Journal
from solon.records import Message
from solon.spending import Account, Spend


class Texts:
    """Replies by the digest of their request, in one append-only file. Use as `with Texts(path) as texts`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journal = Journal(path, "the file of completions")
        self._replies: dict[str, ChatReply] = {}
        for entry in self._journal.entries():
            reply = _reply(entry)
            if reply is not None:
                self._replies[entry["key"]] = reply

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()

    def get(self, key: str) -> ChatReply | None:
        """The reply kept under the key."""
        return self._replies.get(key)

    def put(self, key: str, reply: ChatReply) -> None:
        """Keep the reply."""
        if key not in self._replies:
            self._replies[key] = reply
            self._journal.append({"key": key, **asdict(reply)})


class Recalling:
    """A `ChatModel` before another one. `account` has what this run paid, `total` what all its texts cost."""

    def __init__(
        self, model: ChatModel, account: Account, texts: Texts | None = None, revision: str | None = None
    ) -> None:
        """Args:
        texts: where replies are kept; None keeps none.
        revision: of the model's weights, so that texts of others are not taken for its own.
        """
        self.name = model.name
        self.model = model.model
        self.account = account
        self.total = Spend()
        self._model = model
        self._texts = texts
        self._revision = revision

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        top_logprobs: int = 0,
        json_schema: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """See `ChatModel.complete`. Raises BudgetSpent where the account does not allow another text."""
        request: dict[str, Any] = {
            "max_tokens": max_tokens,
            "n": n,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
            "stop": list(stop),
            "top_logprobs": top_logprobs,
            "json_schema": None if json_schema is None else dict(json_schema),
        }
        key = self._key(messages, request)
        reply = self._texts.get(key) if self._texts is not None else None
        if reply is None:
            reply = await self.account.pay(lambda: self._model.complete(messages, **request), _tokens)
            if self._texts is not None and not top_logprobs:
                self._texts.put(key, reply)
        self.total.add(self.account.bill(1, *_tokens(reply)))
        return reply

    def _key(self, messages: Sequence[Message], request: Mapping[str, Any]) -> str:
        turns = [[message.role, message.content] for message in messages]
        parts = json.dumps([self.model, self._revision, request, turns], sort_keys=True)
        return hashlib.sha256(parts.encode()).hexdigest()


def _tokens(reply: ChatReply) -> tuple[int, int]:
    return reply.prompt_tokens, reply.completion_tokens


def _reply(entry: Mapping[str, Any]) -> ChatReply | None:
    """The reply of an entry; None where the entry is no reply."""
    try:
        choices = tuple(ChatChoice(each["text"], each["finish_reason"]) for each in entry["choices"])
        return ChatReply(choices, entry["prompt_tokens"], entry["completion_tokens"]) if entry["key"] else None
    except (KeyError, TypeError):
        return None
