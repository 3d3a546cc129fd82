"""The accounts of one job: what each registered model was paid, from one budget, and what its labels cost in all."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from api import digests
from critic.cache import Cache
from critic.judge import Judge
from critic.jury import Jury
from critic.recall import Recalling, Texts
from solon.chat import ChatModel
from solon.errors import InvalidInput
from solon.settings import Price, Settings
from solon.spending import Account, Budget, Cap, Spend

TEXTS: Final = "texts.jsonl"
"""Ending of the file beside an output with what a policy wrote for it."""


class Accounts:
    """One account for each model that is paid; they share the budget."""

    def __init__(self, settings: Settings, cap: Cap | None = None) -> None:
        self._settings = settings
        self._budget = Budget(cap or Cap())
        self._accounts: dict[str, Account] = {}

    def of(self, name: str) -> Account:
        """The account of a registered model."""
        if name not in self._accounts:
            self._accounts[name] = Account(self._price(name), self._budget)
        return self._accounts[name]

    def _price(self, name: str) -> Price | None:
        """Raises InvalidInput where money is capped and the price of a model of somebody else is not known."""
        entry = self._settings.models.get(name)
        price = entry.price if entry is not None else None
        if self._budget.cap.usd is not None and price is None and entry is not None and entry.engine != "local":
            raise InvalidInput(
                f"the price of {name!r} is not known, so money cannot be capped",
                field=f"models.{name}.price",
                remedy="register it, such as {prompt: 0.1, completion: 0.4} USD for a million tokens",
            )
        return price

    def paid_before(self, spends: Mapping[str, Mapping[str, Any]]) -> None:
        """Count towards the budget what the run has paid already, in other processes."""
        for spend in spends.values():
            self._budget.spent.add(Spend(**spend))

    def policy(self, model: ChatModel, texts: Texts | None) -> Recalling:
        """A running policy, paid from its account, whose texts are kept."""
        entry = self._settings.models.get(model.name)
        local = entry is not None and entry.engine == "local"
        revision = digests.of_model(entry) if entry is not None and local else entry.revision if entry else None
        return Recalling(model, self.of(model.name), texts, revision)

    def paid(self) -> dict[str, dict[str, Any]]:
        """By model: calls, tokens and money of this run."""
        return {name: asdict(account.spent) for name, account in sorted(self._accounts.items()) if account.spent.calls}


def cost_of(judge: Judge | None, *policies: Recalling | None) -> dict[str, dict[str, Any]]:
    """By model: what the labels cost to make, whether in this run or in an earlier one that a cache remembers."""
    found: dict[str, Spend] = {}
    for each in _single_judges(judge):
        calls = each.usage.judge_calls + each.usage.cache_hits
        bill = each.account.bill(calls, each.usage.prompt_tokens, each.usage.completion_tokens)
        found.setdefault(each.model.name, Spend()).add(bill)
    for policy in policies:
        if policy is not None:
            found.setdefault(policy.name, Spend()).add(policy.total)
    return {name: asdict(spend) for name, spend in sorted(found.items()) if spend.calls}


def _single_judges(judge: Judge | None) -> list[Judge]:
    if isinstance(judge, Jury):
        return [seat.judge for seat in judge.seats]
    return [] if judge is None else [judge]


def opened_texts(out: Path | None) -> AbstractContextManager[Texts | None]:
    """The file of completions beside an output, `OUT.texts.jsonl`; none without one."""
    return nullcontext() if out is None else Texts(out.with_name(f"{out.stem}.{TEXTS}"))


def check_cap(cap: Cap, cache: Cache | None) -> None:
    """Raises InvalidInput where a job could not go on without paying twice."""
    if cap.is_set and cache is None:
        raise InvalidInput(
            "a budget needs a judgement cache, or a run that goes on would pay twice",
            field="cache",
            remedy="do not turn `cache` off in the settings",
        )
