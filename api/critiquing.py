"""`solon critique`: a file of rows in, chains of critiques and revisions out, and how often the revisions win.

OUT.jsonl, OUT.revisions.jsonl, OUT.manifest.json   the chains, see `solon.chains`
OUT.pairs.jsonl, ...                                each revision against its original, where a judge compared them
"""

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api.accounts import TEXTS, Accounts, check_cap, cost_of, opened_texts
from api.dataset_cards import write_card
from api.events import Emit, Event
from api.judging import check_judge, open_judge, opened_cache
from api.labelling import paid_line
from api.libraries import load_constitution
from api.registry import Models, opened
from api.run_context import Ticks
from constitution.document import Constitution
from critic.cache import Cache
from critic.concurrency import ROWS_IN_FLIGHT
from critic.critique import Critiqued, Plan, critique
from critic.judge import Judge
from critic.recall import Recalling, Texts
from critic.revision_rates import RevisionRates
from solon.chains import ChainWriter
from solon.datasets import BESIDE, PairWriter
from solon.errors import BudgetSpent, CoverageTooLow, InvalidInput
from solon.formats import check_apart
from solon.rows import Row, read_rows
from solon.settings import Settings
from solon.spending import Cap

STEP = "critique"
_BESIDE = ("manifest.json", "revisions.jsonl", TEXTS, "pairs.jsonl", *(f"pairs.{ending}" for ending in BESIDE))


@dataclass(frozen=True)
class Cast:
    """Who does what: registered names."""

    policy: str | None = None
    """Writes the original where a row has none."""
    critic: str | None = None
    """Writes critiques and revisions; None: the policy does, as in the paper."""
    judge: str | None = None
    """Compares each revision with its original; None: none is compared."""


@dataclass(frozen=True)
class CritiqueRequest:
    """How a file is critiqued."""

    constitution: str
    cast: Cast
    plan: Plan = field(default_factory=Plan)
    min_coverage: float = 0.0
    """Share of the comparisons that must be `ok` or `tie`; 0 accepts any."""
    cap: Cap = field(default_factory=Cap)
    """The most that a run may pay."""


@dataclass(frozen=True)
class Running:
    """The models of a cast, running."""

    critic: Recalling
    policy: Recalling | None
    judge: Judge | None

    def cost(self) -> dict[str, dict[str, Any]]:
        """By model: what the chains cost to make, in this run or in an earlier one that a cache remembers."""
        return cost_of(self.judge, self.critic, self.policy if self.policy is not self.critic else None)


def check_cast(cast: Cast, constitution: Constitution, settings: Settings) -> None:
    """Raises where a name is not registered, or nobody would write the critiques."""
    if cast.policy is not None:
        settings.model(cast.policy, "policy")
    if cast.critic is None and cast.policy is None:
        raise InvalidInput("nobody writes the critiques", field="policy", remedy="name a policy or a critic")
    if cast.critic is not None and settings.model(cast.critic).kind == "reward":
        raise InvalidInput("a reward model writes nothing", field="critic", remedy="name a policy or a judge")
    if cast.judge is not None:
        check_judge(cast.judge, constitution, settings)


async def open_cast(
    cast: Cast,
    constitution: Constitution,
    settings: Settings,
    models: Models,
    cache: Cache | None = None,
    accounts: Accounts | None = None,
    texts: Texts | None = None,
) -> Running:
    """The models; the critic runs even where it is registered as a judge."""
    check_cast(cast, constitution, settings)
    accounts = accounts or Accounts(settings)
    judge = await open_judge(cast.judge, constitution, settings, models, cache, accounts) if cast.judge else None
    policy = accounts.policy(await models.chat(cast.policy), texts) if cast.policy is not None else None
    critic = accounts.policy(await models.chat(cast.critic), texts) if cast.critic is not None else policy
    assert critic is not None, "checked by check_cast"  # noqa: S101
    return Running(critic, policy, judge)


async def critique_file(
    rows: Path, out: Path, request: CritiqueRequest, settings: Settings, emit: Emit, models: Models | None = None
) -> dict[str, Any]:
    """Counts, reasons of rejection and win rates per principle; the chains are at `out`.

    The whole file is read once before anything is started, so that a malformed row costs no call. Raises, after
    writing what there is, CoverageTooLow when less than `min_coverage` could be judged and BudgetSpent at the cap.
    """
    check_apart(out, rows, request.constitution, beside=_BESIDE)
    constitution = load_constitution(request.constitution, settings)
    check_cast(request.cast, constitution, settings)
    total = sum(1 for _ in read_rows(rows))
    accounts = Accounts(settings, request.cap)
    with opened_cache(settings) as cache, opened_texts(out) as texts:
        check_cap(request.cap, cache)
        emit(Event(type="step_started", step=STEP, total=total, message="starting the models"))
        async with opened(settings, models, emit=emit) as served:
            running = await open_cast(request.cast, constitution, settings, served, cache, accounts, texts)
            work = Critiquing(constitution, running, request.plan, request.min_coverage)
            found = await work.write(read_rows(rows), total, out, Ticks(STEP, emit), {"rows": str(rows)})
    emit(Event(type="step_finished", step=STEP, done=total, total=total))
    return {"rows": total, "out": str(out), "paid": accounts.paid(), **found}


@dataclass(frozen=True)
class Critiquing:
    """Critiques rows and writes what they come to."""

    constitution: Constitution
    running: Running
    plan: Plan
    min_coverage: float = 0.0

    async def write(
        self, rows: Iterable[Row], total: int, out: Path, ticks: Ticks, about: dict[str, Any]
    ) -> dict[str, Any]:
        """The rates; chains, kept revisions and comparisons are written. CoverageTooLow and BudgetSpent come after."""
        rates = RevisionRates(self.constitution.combine.tie_margin)
        judged = self.running.judge is not None
        stop: CoverageTooLow | BudgetSpent | None = None
        with ChainWriter(out) as chains, PairWriter(pairs_path(out), about=about) as pairs:
            try:
                await self._write(rows, total, chains, pairs, rates, ticks)
            except CoverageTooLow as error:
                stop = error
            except BudgetSpent as error:
                stop = BudgetSpent(f"{error.message}; what is done so far is in {out}", remedy=error.remedy)
                about = about | {"stopped": error.message}
            spend, stopped = self.running.cost(), str(about.get("stopped", ""))
            found = rates.to_dict() | {"discards": pairs.discards, "comparisons": pairs.counts}
            chains.commit(about | found, spend)
            if judged or pairs.discards:
                pairs.commit(spend=spend, stopped=stopped)
                write_card(pairs_path(out))
        if stop is not None:
            raise stop
        return {**chains.counts, **found}

    async def _write(
        self,
        rows: Iterable[Row],
        total: int,
        chains: ChainWriter,
        pairs: PairWriter,
        rates: RevisionRates,
        ticks: Ticks,
    ) -> None:
        items = critique(
            rows,
            constitution=self.constitution,
            critic=self.running.critic,
            policy=self.running.policy,
            judge=self.running.judge,
            plan=self.plan,
            min_coverage=self.min_coverage,
            max_rows_in_flight=ROWS_IN_FLIGHT,
        )
        done, last = 0, ""
        async with aclosing(items) as critiqued:
            async for item in critiqued:
                prompt_id = item.chain.prompt.id if isinstance(item, Critiqued) else item.prompt_id
                done, last = done + (prompt_id != last), prompt_id
                if isinstance(item, Critiqued):
                    chains.write(item.chain)
                    rates.add([item.chain])
                for each in item.pairs if isinstance(item, Critiqued) else (item,):
                    pairs.write(each)
                ticks(done - 1, total, "", {name: float(count) for name, count in chains.counts.items()})
        ticks(total, total, "", {name: float(count) for name, count in chains.counts.items()})


def pairs_path(out: Path) -> Path:
    """Where the comparisons of revisions with their originals go."""
    return out.with_name(f"{out.stem}.pairs.jsonl")


def show_critiqued(summary: dict[str, Any]) -> None:
    """The summary on the terminal: one line for each principle, and one for all."""
    from rich.table import Table

    from api.terminal import print_table, write

    table = Table("principle", "revisions", "kept", "win rate", "under the principle", "rejected")
    for name, rates in [*summary["by_principle"].items(), ("all", summary)]:
        wins, own = _rate(rates["win_rate"]), _rate(rates["win_rate_under_principle"])
        reasons = ", ".join(f"{reason} {count}" for reason, count in rates["rejected"].items()) or "none"
        table.add_row(name, str(rates["revisions"]), str(rates["kept"]), wins, own, reasons)
    print_table(table)
    if summary["discards"]:
        write("discards: " + ", ".join(f"{reason} {count}" for reason, count in summary["discards"].items()))
    for name, spent in summary["paid"].items():
        write(f"paid to {name}: {paid_line(spent)}")
    write(f"{summary['rows']} rows, {summary['chains']} chains, {summary['kept']} revisions kept: {summary['out']}")


def _rate(found: dict[str, Any] | None) -> str:
    return "-" if found is None else f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}] of {found['n']}"
