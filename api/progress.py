"""How a run's events reach people and programs: Rich bars on a terminal, one JSON object a line otherwise."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from api.events import Emit, Event

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextmanager
def shown(*, as_json: bool) -> Generator[Emit]:
    """Takes events and shows them: as JSON lines on standard output, or as bars on standard error.

    Where standard error is no terminal, the steps' beginnings and ends are JSON lines there, without the ticks between.
    """
    if as_json:
        yield _print_json
    elif sys.stderr.isatty():
        with _bars() as progress:
            yield Bars(progress)
    else:
        yield _print_milestones


def _print_json(event: Event) -> None:
    sys.stdout.write(event.model_dump_json(exclude_defaults=True) + "\n")
    sys.stdout.flush()


def _print_milestones(event: Event) -> None:
    if event.type in ("step_started", "step_finished", "step_skipped", "paused", "resumed", "alarm"):
        sys.stderr.write(event.model_dump_json(exclude_defaults=True) + "\n")
        sys.stderr.flush()


def _bars() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=Console(stderr=True),
    )


class Bars:
    """One bar a step."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Draw the event."""
        if event.type in ("paused", "resumed", "alarm"):
            self._progress.console.print(f"{event.type}: {event.message}")
        if not event.step:
            return
        task = self._tasks.get(event.step)
        if task is None:
            task = self._tasks[event.step] = self._progress.add_task(event.step, total=None, note="")
        note = " ".join([event.message, *(f"{name} {value:.3g}" for name, value in event.metrics.items())]).strip()
        if event.type == "progress":
            self._progress.update(task, completed=event.done, total=event.total, note=note)
        elif event.type in ("step_finished", "step_skipped"):
            total = self._progress.tasks[task].total or 1
            self._progress.update(task, total=total, completed=total, note=note)
        else:
            self._progress.update(task, note=note)
