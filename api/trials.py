"""Constitutions tried out before they are published: their cases, and which labels they would change."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from api.events import Emit, Event
from api.judging import needs_judge, open_judge, opened_cache, recorded_judge
from api.registry import Models, opened
from api.run_context import Ticks
from constitution.document import Constitution
from constitution.library import Library
from critic.cache import Cache
from critic.case_testing import CaseReport, check_cases
from critic.judge import Judge
from critic.preview import Plan, Preview, preview
from solon.errors import Failed, InvalidInput, NotFound
from solon.records import PreferencePair
from solon.settings import Settings

Pairs = Callable[[], Iterable[PreferencePair]]


@dataclass(frozen=True)
class PreviewRequest:
    """What is compared, on which labels."""

    old: Constitution
    new: Constitution
    pairs: Pairs
    judge: str | None
    """Registered name; None takes the one that gave the stored votes."""
    plan: Plan


async def run_cases(
    constitution: Constitution,
    judge: str | None,
    settings: Settings,
    emit: Emit,
    *,
    cache: Path | None = None,
    models: Models | None = None,
) -> CaseReport:
    """The report on a constitution's cases.

    Args:
        cache: judgement cache instead of the shared one.
        models: stands in for the engines of the registered models.

    Raises InvalidInput where the constitution has no cases.
    """
    if not constitution.cases:
        raise InvalidInput("the constitution has no cases", field="cases", remedy="add one for each principle")
    with _step("test", len(constitution.cases), emit), opened_cache(settings, cache) as kept:
        async with opened(settings, models) as running:
            return await check_cases(constitution, await open_judge(judge, constitution, settings, running, kept))


def require_floor(report: CaseReport, floor: float) -> None:
    """Raises Failed where a smaller share of the cases passes than `floor`, in [0, 1]."""
    if report.pass_rate < floor:
        raise Failed(
            f"{len(report.cases) - len(report.failed)} of {len(report.cases)} cases pass, {floor:.0%} must",
            remedy=f"reword what these cases test: {', '.join(report.failed)}",
        )


async def run_preview(request: PreviewRequest, settings: Settings, emit: Emit, models: Models | None = None) -> Preview:
    """Which labels would change."""
    name = request.judge or recorded_judge(request.pairs())
    with _step("preview", None, emit) as ticks, opened_cache(settings) as cache:
        async with opened(settings, models) as running:
            judge = await _judge(name, request, settings, running, cache)
            return await preview(request.pairs, request.old, request.new, judge, request.plan, partial(ticks))


async def _judge(
    name: str | None, request: PreviewRequest, settings: Settings, running: Models, cache: Cache | None
) -> Judge | None:
    asking = next((text for text in (request.new, request.old) if needs_judge(text)), None)
    return await open_judge(name, asking, settings, running, cache) if asking is not None else None


def labelled_under(pairs: Iterable[PreferencePair], library: Library) -> Constitution:
    """The published text that the first pair was labelled under, found by its hash.

    Raises NotFound where it is not published.
    """
    first = next(iter(pairs), None)
    if first is None:
        raise InvalidInput("there are no pairs", field="pairs", remedy="label some first")
    made = first.provenance
    try:
        return library.load(library.with_hash(made.constitution, made.constitution_hash).reference)
    except NotFound as error:
        text = f"{made.constitution} {made.constitution_version}"
        raise NotFound(
            f"the pairs were labelled under a text that is not published: {text}",
            remedy="name the earlier text (--from)",
        ) from error


@contextmanager
def _step(name: str, total: int | None, emit: Emit) -> Generator[Ticks]:
    emit(Event(type="step_started", step=name, total=total, message="starting the models"))
    yield Ticks(name, emit)
    emit(Event(type="step_finished", step=name))
