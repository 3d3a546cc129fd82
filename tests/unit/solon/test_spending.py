"""Budgets: never more calls than allowed, nothing under way is lost, what is over is refused."""

import asyncio

import pytest

from solon.errors import BudgetSpent, Failed
from solon.settings import Price
from solon.spending import Account, Budget, Cap


class Work:
    """Calls that take a millisecond and cost some tokens."""

    def __init__(self, account: Account, tokens: int = 10) -> None:
        self.account, self.tokens = account, tokens
        self.begun = self.ended = self.most_in_flight = 0

    async def one(self) -> int:
        self.begun += 1
        self.most_in_flight = max(self.most_in_flight, self.begun - self.ended)
        await asyncio.sleep(0.001)
        self.ended += 1
        return self.tokens

    async def many(self, count: int) -> list[int | BaseException]:
        calls = (self.account.pay(self.one, lambda tokens: (tokens, 0)) for _ in range(count))
        return await asyncio.gather(*calls, return_exceptions=True)


async def test_exactly_the_calls_that_are_allowed_are_made_and_all_of_them_end():
    work = Work(Account(budget=Budget(Cap(calls=7))))
    results = await work.many(50)
    assert (work.begun, work.ended) == (7, 7)
    assert [isinstance(each, BudgetSpent) for each in results].count(True) == 43
    assert work.account.spent.calls == 7


async def test_who_is_refused_learns_it_when_nothing_is_under_way():
    work = Work(Account(budget=Budget(Cap(calls=3))))
    seen: list[int] = []

    async def refused() -> None:
        with pytest.raises(BudgetSpent):
            await work.account.pay(work.one, lambda tokens: (tokens, 0))
        seen.append(work.begun - work.ended)

    allowed = asyncio.ensure_future(work.many(3))
    while work.begun < 3:
        await asyncio.sleep(0)
    await asyncio.gather(allowed, *(refused() for _ in range(5)))
    assert seen == [0] * 5


async def test_tokens_and_money_are_not_passed_by_calls_that_cost_the_same():
    work = Work(Account(budget=Budget(Cap(tokens=75))))
    await work.many(50)
    assert work.account.spent.tokens == 70
    priced = Work(Account(Price(prompt=1_000_000), Budget(Cap(usd=25.0))))
    await priced.many(50)
    assert priced.account.spent.cost_usd == 20.0
    assert priced.most_in_flight <= 2


async def test_models_share_a_budget_and_keep_accounts_of_their_own():
    budget = Budget(Cap(calls=10))
    one, other = Work(Account(budget=budget)), Work(Account(budget=budget))
    await asyncio.gather(one.many(20), other.many(20))
    assert one.account.spent.calls + other.account.spent.calls == 10
    assert budget.spent.calls == 10


async def test_a_failed_call_counts_and_its_error_passes():
    account = Account(budget=Budget(Cap(calls=1)))

    async def fails() -> int:
        raise Failed("no answer")

    with pytest.raises(Failed, match="no answer"):
        await account.pay(fails, lambda tokens: (tokens, 0))
    with pytest.raises(BudgetSpent, match="1 calls is spent"):
        await account.pay(fails, lambda tokens: (tokens, 0))


async def test_without_a_cap_everything_is_admitted_at_once():
    work = Work(Account())
    await work.many(30)
    assert work.most_in_flight == 30


def test_a_price_is_for_a_million_tokens_and_cached_ones_may_be_cheaper():
    price = Price(prompt=2.0, completion=8.0, cached_prompt=0.5)
    assert price.cost_usd(1_000_000, 500_000, 600_000) == pytest.approx(0.8 + 0.3 + 4.0)
    assert Price(prompt=2.0).cost_usd(1_000_000, 0, 600_000) == 2.0
