"""`solon label --relabel`, POST /v1/preferences/relabel: stored pairs under a new text for the price of the change."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from api.dataset_cards import write_card
from api.events import Emit, Event
from api.judging import open_judge, opened_cache, recorded_judge
from api.labelling import LabelRequest, failure_of
from api.libraries import load_constitution
from api.registry import Models, opened
from api.run_context import Ticks
from api.terminal import write
from constitution.weighting import weighted
from critic.audit import audit
from critic.changes import Change, change, outcome
from critic.concurrency import ROWS_IN_FLIGHT
from critic.judge import Usage
from critic.labelling import total
from critic.relabelling import Relabeller, relabel
from solon.datasets import BESIDE, PairWriter, read_discards, read_pairs
from solon.errors import InvalidInput
from solon.formats import check_apart, sha256_of
from solon.records import Discard, PreferencePair
from solon.settings import Settings

STEP = "relabel"


async def relabel_file(
    dataset: Path, out: Path, request: LabelRequest, settings: Settings, emit: Emit, models: Models | None = None
) -> dict[str, Any]:
    """What changed and what it cost, and the audit of the new dataset, which is at `out`.

    Without `request.judge` the judge is the one that gave the stored votes, and it is started only if it is needed.
    The whole dataset is read once before that. Its discards are passed on.
    """
    if request.policy is not None:
        raise InvalidInput("a dataset has its completions", field="--policy", remedy="leave it out")
    check_apart(out, dataset, request.constitution, beside=BESIDE)
    constitution = weighted(load_constitution(request.constitution, settings), request.weights)
    count = _survey(dataset, Relabeller(constitution, None))
    emit(Event(type="step_started", step=STEP, total=count.pairs, message="starting the models"))
    about = {"relabelled_from": {"file": dataset.name, "sha256": sha256_of(dataset)}}
    ticks = Ticks(STEP, emit)
    with opened_cache(settings, request.cache) as cache, PairWriter(out, about=about) as writer:
        async with opened(settings, models) as running:
            name = request.judge or (count.judge if count.calls else None)
            judge = await open_judge(name, constitution, settings, running, cache) if name is not None else None
            relabeller = Relabeller(constitution, judge, weights=request.weights)
            seen = _Seen()
            async for before, after in relabelled(read_pairs(dataset), relabeller):
                writer.write(after)
                seen.add(before, after)
                ticks(len(seen.changes), count.pairs, "", {"judge calls": float(seen.usage.judge_calls)})
        for discard in read_discards(dataset):
            writer.write(discard)
        writer.commit()
    emit(Event(type="step_finished", step=STEP, done=count.pairs, total=count.pairs))
    cost = asdict(seen.usage) | {"judge_calls_from_scratch": count.calls_from_scratch}
    found = audit(chain(read_pairs(out), read_discards(out)))
    write_card(out, found)
    return {"pairs": count.pairs, "out": str(out), "changes": seen.counts(), **cost, **found.to_dict()}


async def relabelled(
    pairs: Iterable[PreferencePair], relabeller: Relabeller
) -> AsyncIterator[tuple[PreferencePair, PreferencePair | Discard]]:
    """Each pair with what it came to."""
    waiting: list[PreferencePair] = []

    def noted() -> Iterable[PreferencePair]:
        for pair in pairs:
            waiting.append(pair)
            yield pair

    items = relabel(noted(), relabeller, max_pairs_in_flight=ROWS_IN_FLIGHT)
    async with aclosing(items) as found:
        async for item in found:
            yield waiting.pop(0), item


def show_relabelled(summary: dict[str, Any]) -> None:
    """The summary on the terminal."""
    changes = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in summary["changes"].items())
    write(f"labels: {changes or 'none'}")
    statuses = ", ".join(f"{name} {count}" for name, count in summary["statuses"].items())
    write(f"statuses: {statuses or 'none'}")
    if (failure := failure_of(summary)) is not None:
        write(f"failed, most often: {failure}")
    write(
        f"{summary['pairs']} pairs labelled again with {summary['judge_calls']} judge calls, from scratch"
        f" {summary['judge_calls_from_scratch']}: {summary['out']}"
    )


class _Seen:
    """What changed and what it cost, so far."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.usage = Usage()

    def add(self, before: PreferencePair, after: PreferencePair | Discard) -> None:
        self.changes.append(change(outcome(before), outcome(after)))
        if isinstance(after, PreferencePair):
            self.usage.add(total([after]))

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(self.changes).items()))


@dataclass(frozen=True)
class _Survey:
    pairs: int
    calls: int
    """If the judge is the one that gave the stored votes."""
    calls_from_scratch: int
    judge: str | None


def _survey(dataset: Path, relabeller: Relabeller) -> _Survey:
    counted = [(relabeller.calls(pair), relabeller.calls_from_scratch(pair)) for pair in read_pairs(dataset)]
    calls, from_scratch = (sum(each) for each in zip(*counted, strict=True)) if counted else (0, 0)
    return _Survey(len(counted), calls, from_scratch, recorded_judge(read_pairs(dataset)))
