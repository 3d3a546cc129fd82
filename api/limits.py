"""Quotas at work: requests per minute as a middleware, calls and money as models that ask before they answer.

The count is in the database, so that it holds for all servers and workers together; a changed quota is noticed within
seconds. Headers are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import solon_problem
from api.store.usage import UsageStore, period_of
from api.tally import Tally
from solon.chat import ChatModel, ChatReply
from solon.errors import InvalidInput, QuotaSpent
from solon.records import Message as Turn
from solon.scoring import RewardModel, ScoreReply
from solon.settings import ModelEntry, Quota, Settings

if TYPE_CHECKING:
    from api.registry import Models

T = TypeVar("T")

_KNOWN_FOR_S: Final = 2.0
_TURN_TOKENS: Final = 16
"""More than a chat template puts around a turn."""
_CALLS: Final = ("calls_per_day", "calls_per_month")
_USD: Final = ("usd_per_day", "usd_per_month")


class Quotas:
    """What projects may use, read again every few seconds."""

    def __init__(self, usage: UsageStore) -> None:
        self.usage = usage
        self.tally = Tally(usage)
        self._known: dict[str, tuple[float, Quota]] = {}

    async def of(self, project: str) -> Quota:
        """The quota of a project."""
        until, quota = self._known.get(project, (0.0, Quota()))
        if time.monotonic() >= until:
            quota = await asyncio.to_thread(self.usage.quota, project)
            self._known[project] = (time.monotonic() + _KNOWN_FOR_S, quota)
        return quota


class RateLimit:
    """Middleware that counts the requests of projects whose quota says how many there may be in a minute."""

    def __init__(self, app: ASGIApp, quotas: Quotas) -> None:
        self._app = app
        self._quotas = quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429."""
        identity = scope.get("state", {}).get("identity")
        if scope["type"] != "http" or identity is None:
            await self._app(scope, receive, send)
            return
        limit = (await self._quotas.of(identity.project)).requests_per_minute
        if limit is None:
            self._quotas.tally.add(identity.project, "requests_per_minute", 1)
            await self._app(scope, receive, send)
            return
        take = self._quotas.usage.take
        try:
            used = await asyncio.to_thread(take, identity.project, "requests_per_minute", 1, limit)
            refused = None
        except QuotaSpent as error:
            used, refused = limit, error
        left_s = math.ceil(period_of("requests_per_minute").left_s or 0.0)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = f'"requests";q={limit};w=60'
                headers["RateLimit"] = f'"requests";r={max(0, limit - int(used or 0))};t={left_s}'
            await send(message)

        await (self._app if refused is None else solon_problem(refused))(scope, receive, answer)


class Metered:
    """A model that a project's quota pays for: each request is counted before it is made, and its price after it.

    What there is no limit of is tallied. For limited money, room is kept for the most that the request can cost, so
    that requests at one time cannot spend more than there is; what it did not cost is given back.
    """

    def __init__(self, model: ChatModel, project: str, quotas: Quotas, entry: ModelEntry | None) -> None:
        self.name = model.name
        self.model = model.model
        self._inner = model
        self._project = project
        self._quotas = quotas
        self._entry = entry

    async def complete(self, messages: Sequence[Turn], *, max_tokens: int, n: int = 1, **options: Any) -> ChatReply:
        """See `ChatModel.complete`. Raises QuotaSpent."""
        return await self._paid(
            lambda: self._inner.complete(messages, max_tokens=max_tokens, n=n, **options),
            self._price(_most_tokens(messages) * n, max_tokens * n),
            lambda reply: self._price(reply.prompt_tokens, reply.completion_tokens),
        )

    async def _paid(self, ask: Callable[[], Awaitable[T]], most_usd: float, usd_of: Callable[[T], float]) -> T:
        limits = (await self._quotas.of(self._project)).model_dump(include={*_CALLS, *_USD}, exclude_none=True)
        money = [what for what in _USD if what in limits]
        self._check_price(bool(money))
        now = time.time()  # what is given back goes to the day that it was taken from
        wanted = [(what, 1.0 if what in _CALLS else most_usd, limit) for what, limit in limits.items()]
        if wanted:
            await asyncio.to_thread(_take_all, self._quotas.usage, self._project, wanted, now)
        self._tally(set(_CALLS) - limits.keys(), 1.0, now)
        cost = 0.0
        try:
            answer = await ask()
            cost = usd_of(answer)
            return answer
        finally:
            self._tally(set(_USD) - limits.keys(), cost, now)
            for what in money:
                await asyncio.to_thread(self._quotas.usage.give, self._project, what, most_usd - cost, now)

    def _tally(self, unlimited: Iterable[str], amount: float, now: float) -> None:
        for what in unlimited:
            self._quotas.tally.add(self._project, what, amount, now)

    def _check_price(self, counts_money: bool) -> None:
        """Raises InvalidInput where money is limited and the price of a model of somebody else is not known."""
        entry = self._entry
        if counts_money and entry is not None and entry.price is None and entry.engine != "local":
            raise InvalidInput(
                "the price of the model is not known, and the project's quota is in money",
                field=f"models.{self.name}.price",
                remedy="an operator registers it",
            )

    def _price(self, prompt_tokens: int, completion_tokens: int) -> float:
        price = self._entry.price if self._entry is not None else None
        return 0.0 if price is None else price.cost_usd(prompt_tokens, completion_tokens)


class MeteredReward(Metered):
    """The same of a model that can also score."""

    async def score(self, messages: Sequence[Turn]) -> ScoreReply:
        """See `RewardModel.score`. Raises QuotaSpent."""
        model = self._inner
        assert isinstance(model, RewardModel)  # noqa: S101 - made for one
        return await self._paid(
            lambda: model.score(messages),
            self._price(_most_tokens(messages), 0),
            lambda reply: self._price(reply.prompt_tokens, 0),
        )


class MeteredModels:
    """A project's models, paid from its quota."""

    def __init__(self, models: "Models", settings: Settings, quotas: Quotas) -> None:
        self._models = models
        self._settings = settings
        self._quotas = quotas

    async def chat(self, name: str) -> ChatModel:
        """See `Models.chat`."""
        model = await self._models.chat(name)
        kind = MeteredReward if isinstance(model, RewardModel) else Metered
        return kind(model, self._settings.project, self._quotas, self._settings.models.get(name))

    async def serve(self, directories: Mapping[str, Path]) -> None:
        """See `Models.serve`."""
        await self._models.serve(directories)


def _take_all(usage: UsageStore, project: str, wanted: Sequence[tuple[str, float, float]], now: float) -> None:
    """Take all, or give back what was taken and raise QuotaSpent."""
    taken: list[tuple[str, float]] = []
    for what, amount, limit in wanted:
        try:
            usage.take(project, what, amount, limit, now)
        except QuotaSpent:
            for other, given in taken:
                usage.give(project, other, given, now)
            raise
        taken.append((what, amount))


def _most_tokens(messages: Sequence[Turn]) -> int:
    """More tokens than the messages can have: a tokenizer makes at most one of a byte."""
    return sum(len(message.content.encode()) + _TURN_TOKENS for message in messages)
