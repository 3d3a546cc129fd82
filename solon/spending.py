"""What model calls cost, and a cap on it: a budget that stops a job cleanly.

A call is admitted before it is made and paid when it ends. Once the cap leaves no room, nothing new is begun, the
calls under way are waited for, and only then `BudgetSpent` is raised: nothing that is paid for is thrown away.

    budget = Budget(Cap(calls=1000))
    account = Account(price, budget)                   one for each model
    reply = await account.pay(ask, tokens_of)
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from solon.errors import BudgetSpent
from solon.settings import Price

T = TypeVar("T")


@dataclass
class Spend:
    """What was paid for."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    """None where a price is not known."""

    @property
    def tokens(self) -> int:
        """Of prompts and completions together."""
        return self.prompt_tokens + self.completion_tokens

    def add(self, other: "Spend") -> None:
        """Add another account to this one; a cost that is not known adds nothing."""
        self.calls += other.calls
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        if other.cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + other.cost_usd


@dataclass(frozen=True)
class Cap:
    """The most that a run may pay; None is no limit."""

    calls: int | None = None
    """Judgements and completions that are asked for; those that a cache has are free."""
    tokens: int | None = None
    """Of prompts and completions together."""
    usd: float | None = None
    """At the prices of the registry; a model without a price costs nothing."""

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return (self.calls, self.tokens, self.usd) != (None, None, None)

    def __str__(self) -> str:
        said = [f"{value:,}{unit}" for value, unit in ((self.calls, " calls"), (self.tokens, " tokens")) if value]
        return " or ".join([*said, *([f"{self.usd:g} USD"] if self.usd is not None else [])])


class Budget:
    """A cap that all models of a job share.

    The number of calls is never passed. What a call costs is known after it: until the first one has ended calls go
    one at a time, then room is kept for the dearest so far. The cap on tokens or money is passed only where a call
    costs more than any before it.
    """

    def __init__(self, cap: Cap) -> None:
        self.cap = cap
        self.spent = Spend()
        self._in_flight = 0
        self._most_tokens: int | None = None
        self._most_usd = 0.0
        self._changed = asyncio.Event()

    async def admit(self) -> None:
        """Returns when another call may be begun, which must be settled; raises BudgetSpent where none ever may."""
        while not self._has_room:
            if not self._in_flight:
                raise BudgetSpent(
                    f"the budget of {self.cap} is spent: {self._account()}",
                    remedy="run the same command again: it goes on where it stopped, with a budget of the same size",
                )
            await self._changed.wait()
        self._in_flight += 1

    def settle(self, bill: Spend | None) -> None:
        """Enter what an admitted call cost; None: it failed."""
        self._in_flight -= 1
        self.spent.add(bill or Spend(calls=1))
        if bill is not None:
            self._most_tokens = max(self._most_tokens or 0, bill.tokens)
            self._most_usd = max(self._most_usd, bill.cost_usd or 0.0)
        if self._has_room or not self._in_flight:
            self._changed.set()
            self._changed = asyncio.Event()

    @property
    def _has_room(self) -> bool:
        cap, begun = self.cap, self._in_flight
        if cap.calls is not None and self.spent.calls + begun >= cap.calls:
            return False
        if cap.tokens is None and cap.usd is None:
            return True
        if self._most_tokens is None:
            return begun == 0 and cap.tokens != 0 and cap.usd != 0
        tokens = self.spent.tokens + (begun + 1) * self._most_tokens
        usd = (self.spent.cost_usd or 0.0) + (begun + 1) * self._most_usd
        return (cap.tokens is None or tokens <= cap.tokens) and (cap.usd is None or usd <= cap.usd)

    def _account(self) -> str:
        spent = self.spent
        cost = "" if spent.cost_usd is None else f", {spent.cost_usd:.4f} USD"
        return f"{spent.calls:,} calls, {spent.tokens:,} tokens{cost}"


class Account:
    """What one model was paid in this run, at its price, from a budget that it may share."""

    def __init__(self, price: Price | None = None, budget: Budget | None = None) -> None:
        self.price = price
        self.spent = Spend()
        self._budget = budget or Budget(Cap())

    async def pay(self, work: Callable[[], Awaitable[T]], tokens_of: Callable[[T], tuple[int, int]]) -> T:
        """What `work` brings back, once the budget has room for it; raises BudgetSpent where it never will.

        Args:
            tokens_of: prompt and completion tokens of a result.
        """
        await self._budget.admit()
        bill: Spend | None = None
        try:
            result = await work()
            bill = self.bill(1, *tokens_of(result))
            return result
        finally:
            self.spent.add(bill or Spend(calls=1))
            self._budget.settle(bill)

    def bill(self, calls: int, prompt_tokens: int, completion_tokens: int) -> Spend:
        """What so much comes to at the model's price."""
        cost = None if self.price is None else self.price.cost_usd(prompt_tokens, completion_tokens)
        return Spend(calls, prompt_tokens, completion_tokens, cost)
