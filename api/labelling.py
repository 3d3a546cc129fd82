"""`solon label`: a file of rows in, a dataset with a status for every row out, and how the judge did on it."""

from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from api.accounts import TEXTS, Accounts, check_cap, cost_of, opened_texts
from api.dataset_cards import write_card
from api.events import Emit, Event
from api.judging import check_judge, open_judge, opened_cache
from api.libraries import load_constitution
from api.registry import Models, opened
from api.run_context import Ticks
from constitution.document import Constitution
from constitution.weighting import Weights, weighted
from critic.audit import Failure, audit
from critic.concurrency import ROWS_IN_FLIGHT
from critic.judge import Judge
from critic.pipeline import label
from critic.schedules import Schedule
from critic.tournament import Pairing
from solon.chat import ChatModel
from solon.datasets import BESIDE, PairWriter, read_discards, read_pairs
from solon.errors import BudgetSpent, CoverageTooLow, Failed, InvalidInput
from solon.formats import check_apart
from solon.records import Discard
from solon.rows import read_rows
from solon.settings import Settings
from solon.spending import Cap

STEP = "label"


@dataclass(frozen=True)
class LabelRequest:
    """How a file is labelled."""

    constitution: str
    judge: str | None = None
    policy: str | None = None
    n: int = 4
    pairing: Pairing = "max_margin"
    seed: int = 0
    min_coverage: float = 0.0
    """Share of the comparisons that must be `ok` or `tie`; 0 accepts any."""
    schedule: Schedule | None = None
    """Comparisons to rate all completions by before pairing; None: only what the pairing needs."""
    min_margin: float = 0.0
    """Of the pairing `threshold`."""
    weights: Weights = field(default_factory=dict[str, float])
    """Factors for the weights of the principles; see `constitution.weighting`."""
    cache: Path | None = None
    """Judgement cache instead of the shared one."""
    cap: Cap = field(default_factory=Cap)
    """The most that a run may pay."""

    def __post_init__(self) -> None:
        if self.min_margin and self.pairing != "threshold":
            raise InvalidInput(
                f"the pairing {self.pairing!r} has no margin",
                field="--min-margin",
                remedy="add --pairing threshold, or leave it out",
            )


async def label_file(
    rows: Path, out: Path, request: LabelRequest, settings: Settings, emit: Emit, models: Models | None = None
) -> dict[str, Any]:
    """Counts, coverage, position bias and agreement with people; the dataset is at `out`.

    The whole file is read once before anything is started, so that a malformed row costs no judge call. Raises, after
    writing what there is, CoverageTooLow when less than `min_coverage` could be judged and BudgetSpent at the cap.
    """
    check_apart(out, rows, request.constitution, beside=(*BESIDE, TEXTS))
    constitution = weighted(load_constitution(request.constitution, settings), request.weights)
    check_judge(request.judge, constitution, settings)
    if request.policy is not None:
        settings.model(request.policy, "policy")
    total = sum(1 for _ in read_rows(rows))
    accounts = Accounts(settings, request.cap)
    with (
        opened_cache(settings, request.cache) as cache,
        opened_texts(out if request.policy is not None else None) as texts,
        PairWriter(out, about={"rows": str(rows)}) as writer,
    ):
        check_cap(request.cap, cache)
        emit(Event(type="step_started", step=STEP, total=total, message="starting the models"))
        async with opened(settings, models, emit=emit) as running:
            judge = await open_judge(request.judge, constitution, settings, running, cache, accounts)
            policy = accounts.policy(await running.chat(request.policy), texts) if request.policy is not None else None
            try:
                await _label(rows, total, writer, request, constitution, judge, policy, Ticks(STEP, emit))
            except CoverageTooLow:  # what there is says why
                writer.commit(spend=cost_of(judge, policy))
                raise
            except BudgetSpent as error:
                writer.commit(spend=cost_of(judge, policy), stopped=error.message)
                raise BudgetSpent(
                    f"{error.message}; what is labelled so far is in {out}", remedy=error.remedy
                ) from error
        writer.commit(spend=cost_of(judge, policy))
    found = audit(chain(read_pairs(out), read_discards(out)))
    write_card(out, found)
    emit(Event(type="step_finished", step=STEP, done=total, total=total))
    return {"rows": total, "out": str(out), "paid": accounts.paid(), **found.to_dict()}


async def _label(
    path: Path,
    total: int,
    writer: PairWriter,
    request: LabelRequest,
    constitution: Constitution,
    judge: Judge | None,
    policy: ChatModel | None,
    ticks: Ticks,
) -> None:
    """Write all items; a row is done when an item of a later one comes."""
    items = label(
        read_rows(path),
        constitution=constitution,
        judge=judge,
        policy=policy,
        n=request.n,
        pairing=request.pairing,
        schedule=request.schedule,
        min_margin=request.min_margin,
        seed=request.seed,
        min_coverage=request.min_coverage,
        weights=request.weights,
        max_rows_in_flight=ROWS_IN_FLIGHT,
    )
    done, last = 0, ""
    async with aclosing(items) as labelled:
        async for item in labelled:
            writer.write(item)
            prompt_id = item.prompt_id if isinstance(item, Discard) else item.prompt.id
            done, last = done + (prompt_id != last), prompt_id
            ticks(done - 1, total, "", {name: float(count) for name, count in writer.counts.items()})
    ticks(total, total, "", {name: float(count) for name, count in writer.counts.items()})


def show_labelled(summary: dict[str, Any]) -> None:
    """The summary on the terminal, each number with what it means."""
    from rich.table import Table

    from api.terminal import print_table, write

    table = Table("what", "value", "meaning")
    for name, value, meaning in _lines(summary):
        table.add_row(name, value, meaning)
    print_table(table)
    write(f"{summary['rows']} rows labelled: {summary['out']}")


def _lines(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    position = summary["position"]
    failure = failure_of(summary)
    failed = [("failed", str(failure), f"the most frequent reason, of {failure.votes} answers")] if failure else []
    people = f"{summary['human_labels']} pairs with people's votes"
    return [
        ("statuses", _counts(summary["statuses"]), "comparisons by how they ended"),
        ("discards", _counts(summary["discards"]), "rows that made no comparison, by reason"),
        ("flags", _counts(summary["flags"]), "comparisons with something to look at"),
        *failed,
        ("coverage", _interval(summary["coverage"]), "share of comparisons that are ok or tie"),
        ("flip rate", _interval(summary["flip_rate"]), "share of labels whose side depends on the order of listing"),
        ("position bias", _number(position["first_slot_share"]), "how often the first slot wins; 0.5 is unbiased"),
        ("longer wins", _interval(summary["longer_chosen"]), "share of labels that prefer the longer text"),
        (
            "same position",
            _interval(position["same_position_rate"]),
            "share of verdicts with the same slot in both orders",
        ),
        ("agreement", _interval(summary["agreement"]), f"with people, where both decided ({people})"),
        ("three-way", _interval(summary["three_way_agreement"]), "with people, a tie being a third answer"),
        (
            "forced",
            _interval(summary["forced_agreement"]),
            "with people, taking the judge's side within the tie margin",
        ),
        *(
            (f"paid to {name}", paid_line(spent), "by this run; what a cache had is free")
            for name, spent in summary["paid"].items()
        ),
    ]


def require_judged(summary: dict[str, Any]) -> None:
    """Raises Failed where there was something to judge and nothing of it could be; the output stays."""
    coverage = summary["coverage"]
    if coverage is not None and coverage["value"] == 0:
        raise nothing_judged(failure_of(summary), Path(summary["out"]))


def failure_of(summary: dict[str, Any]) -> Failure | None:
    """Why the judge's answers failed, most often."""
    return Failure(**summary["failure"]) if summary["failure"] is not None else None


def nothing_judged(failure: Failure | None, out: Path) -> Failed:
    """What to say of a judge none of whose answers could be used."""
    why = f": {failure}" if failure is not None else ""
    return Failed(
        f"no comparison could be judged{why}; what there is is in {out}",
        remedy="correct the judge's server or its entry in `models`, and run the same command again",
    )


def paid_line(spent: dict[str, Any]) -> str:
    """Calls, tokens and, where there is a price, money."""
    money = "" if spent["cost_usd"] is None else f", {spent['cost_usd']:.4f} USD"
    return f"{spent['calls']:,} calls, {spent['prompt_tokens']:,} + {spent['completion_tokens']:,} tokens{money}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _interval(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}] of {found['n']}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
