"""The accounts of one job: what each registered model was paid, from one budget, and what its labels cost in all."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from api import digests
from critic.judge import Judge
from critic.jury import Jury
from critic.recall import Recalling, Texts
from solon.chat import ChatModel
from solon.settings import Settings
from solon.spending import Account, Budget, Cap, Spend


class Accounts:
    """One account for each model that is paid; they share the budget."""

    def __init__(self, settings: Settings, cap: Cap | None = None) -> None:
        self._settings = settings
        self._budget = Budget(cap or Cap())
        self._accounts: dict[str, Account] = {}

    def of(self, name: str) -> Account:
        """The account of a registered model."""
        if name not in self._accounts:
            entry = self._settings.models.get(name)
            self._accounts[name] = Account(entry.price if entry is not None else None, self._budget)
        return self._accounts[name]

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


def texts_beside(cache: Path) -> Path:
    """Where completions are kept beside a judgement cache."""
    return cache.with_name(f"{cache.stem}.texts.jsonl")


@contextmanager
def opened_texts(cache: Path | None) -> Generator[Texts | None]:
    """The file of completions beside a judgement cache; none without one."""
    if cache is None:
        yield None
        return
    with Texts(texts_beside(cache)) as texts:
        yield texts
