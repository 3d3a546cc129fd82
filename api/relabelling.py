"""`solon label --relabel` and POST /v1/preferences/relabel: stored pairs under a new text, at the cost of the change."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from api.events import Emit, Event
from api.judging import open_judge
from api.label_step import ROWS_IN_FLIGHT
from api.registry import Models, opened
from api.steps import Ticks
from api.trials import opened_cache, recorded_judge
from constitution.document import Constitution
from critic.audit import audit
from critic.changes import Outcome, outcome, tally
from critic.judge import Judge, Usage
from critic.labelling import total as total_usage
from critic.relabelling import Relabeller, relabel
from solon.datasets import PairWriter, read_discards, read_pairs
from solon.formats import sha256_of
from solon.records import Discard, PreferencePair, Status
from solon.settings import Settings

STEP = "relabel"
_GONE = Outcome(Status.ERROR, None)


@dataclass(frozen=True)
class RelabelRequest:
    """How stored pairs are labelled again."""

    constitution: Constitution
    judge: str | None = None
    """Registered name; None takes the one that gave the stored votes, and starts it only if it is needed."""
    cache: Path | None = None
    """File with the judge's earlier answers; new ones are added, so a relabel that was stopped loses none."""


async def relabel_file(
    dataset: Path, out: Path, request: RelabelRequest, settings: Settings, emit: Emit, models: Models | None = None
) -> dict[str, Any]:
    """What changed and what it cost, and the audit of the new dataset, which is at `out`.

    The whole dataset is read once before anything is started. Its discards are passed on.
    """
    count = _survey(dataset, request)
    emit(Event(type="step_started", step=STEP, total=count.pairs, message="starting the models"))
    about = {"relabelled_from": {"file": dataset.name, "sha256": sha256_of(dataset)}}
    changes: list[tuple[Outcome, Outcome]] = []
    usage, ticks = Usage(), Ticks(STEP, emit)
    with opened_cache(request.cache) as cache, PairWriter(out, about=about) as writer:
        async with opened(settings, models) as running:
            judge = None
            if request.judge is not None or count.calls:
                name = request.judge or count.judge
                judge = await open_judge(name, request.constitution, settings, running, cache)
            async for before, after in relabelled(read_pairs(dataset), request.constitution, judge):
                writer.write(after)
                changes.append((outcome(before), outcome(after) if isinstance(after, PreferencePair) else _GONE))
                usage.add(total_usage([after] if isinstance(after, PreferencePair) else []))
                ticks(len(changes), count.pairs, "", {"judge calls": float(usage.judge_calls)})
        for discard in read_discards(dataset):
            writer.write(discard)
        writer.commit()
    found = audit(chain(read_pairs(out), read_discards(out)))
    emit(Event(type="step_finished", step=STEP, done=count.pairs, total=count.pairs))
    cost = asdict(usage) | {"judge_calls_from_scratch": count.calls_from_scratch}
    return {"pairs": count.pairs, "out": str(out), **cost, "changes": asdict(tally(changes)), **found.to_dict()}


async def relabelled(
    pairs: Iterable[PreferencePair], constitution: Constitution, judge: Judge | None
) -> AsyncIterator[tuple[PreferencePair, PreferencePair | Discard]]:
    """Each pair with what it came to."""
    waiting: list[PreferencePair] = []

    def noted() -> Iterable[PreferencePair]:
        for pair in pairs:
            waiting.append(pair)
            yield pair

    items = relabel(noted(), Relabeller(constitution, judge), max_pairs_in_flight=ROWS_IN_FLIGHT)
    async with aclosing(items) as found:
        async for item in found:
            yield waiting.pop(0), item


@dataclass(frozen=True)
class _Survey:
    pairs: int
    calls: int
    """If the judge is the one that gave the stored votes."""
    calls_from_scratch: int
    judge: str | None


def _survey(dataset: Path, request: RelabelRequest) -> _Survey:
    relabeller = Relabeller(request.constitution, None)
    counted = [(relabeller.calls(pair), relabeller.calls_from_scratch(pair)) for pair in read_pairs(dataset)]
    calls, from_scratch = (sum(each) for each in zip(*counted, strict=True)) if counted else (0, 0)
    return _Survey(len(counted), calls, from_scratch, recorded_judge(read_pairs(dataset)))
