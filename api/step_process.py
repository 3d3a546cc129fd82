"""The process of one step of a job: `python -m api.step_process JOB_FOLDER NUMBER`.

    JOB_FOLDER/recipe.yaml, settings.yaml, spent.json     what it reads
    JOB_FOLDER/out/                                       where the recipe runs, as `solon align --out` does

It does the recipe up to step NUMBER; what is done already is skipped. Standard output carries events, one JSON object a
line: those of `solon align --json`, and besides `checkpoint`, `metrics` (one point of a curve) and `spent` (what models
were paid since the last time). The last line is `run_finished` or `run_failed`; without one the process was lost.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from typer import Exit

from api import children
from api.accounts import Accounts
from api.children import Progress
from api.events import Emit, Event
from api.ids import made_at
from api.observation import observed
from api.promoted import in_force, with_promoted
from api.recipes import Recipe
from api.store.database import open_database
from api.store.preferences import PreferenceStore
from api.terminal import run
from api.workflows import accounts_of, align
from solon.datasets import read_discards, read_pairs
from solon.documents import read_yaml, validated
from solon.errors import SolonError, TrainingLost
from solon.settings import Settings
from trainer.config import AnyConfig

LAST_WORDS = ("run_finished", "run_failed")
_SPENT_S = 1.0
_LOST = 75
"""Exit code of a step that may be tried again (EX_TEMPFAIL)."""


async def do(folder: Path, number: int, emit: Emit) -> None:
    """Do the step; raises SolonError after a `run_failed` event."""
    recipe = validated(Recipe, read_yaml(folder / "recipe.yaml"), "recipe")
    settings = validated(Settings, read_yaml(folder / "settings.yaml"), "settings")
    # Names mean what they meant when the job was submitted, whatever is promoted while it runs.
    settings = with_promoted(settings, in_force(settings, made_at(folder.name)))
    accounts = accounts_of(recipe, settings)
    accounts.paid_before(json.loads((folder / "spent.json").read_text(encoding="utf-8")))
    (folder / "out").mkdir(exist_ok=True)
    name = recipe.planned()[number - 1].name
    ledger, train = Ledger(accounts, emit), recorded(children.train, folder, emit)
    told = _about(name, emit, ledger, lambda: keep_labels(folder, name, settings))
    with observed(settings, folder.name) as observation, observation.span(f"step {name}", {"solon.job": folder.name}):
        work = align(recipe, settings, folder / "out", told, train=train, until=number, accounts=accounts)
        await _while_telling(work, ledger)


def _about(name: str, emit: Emit, ledger: "Ledger", keep: Callable[[], None]) -> Emit:
    """Passes on all but the skipping of the steps before; the last word comes after all that was paid and kept.

    That a training was lost is no last word: the step is tried again.
    """

    def passed(event: Event) -> None:
        if event.detail.get("kind") == TrainingLost.__name__:
            return
        if event.type == "run_finished":
            keep()
        if event.type in LAST_WORDS:
            ledger.tell()
        if event.type != "step_skipped" or event.step == name:
            emit(event)

    return passed


def keep_labels(folder: Path, step: str, settings: Settings) -> None:
    """Store what the step labelled, to be listed with what requests labelled; doing it twice changes nothing."""
    path = folder / "out" / step / "pairs.jsonl"
    if not path.exists():
        return
    engine = open_database(settings.database)
    try:
        store, source = PreferenceStore(engine), f"{folder.name}.{step}"
        store.forget_discards(project=settings.project, source=source)
        store.add(chain(read_pairs(path), read_discards(path)), project=settings.project, source=source)
    finally:
        engine.dispose()


class Ledger:
    """Tells what was paid, each cent once."""

    def __init__(self, accounts: Accounts, emit: Emit) -> None:
        self._accounts, self._emit = accounts, emit
        self._told: Mapping[str, Mapping[str, Any]] = {}

    def tell(self) -> None:
        """Emit what was paid since the last time."""
        now = self._accounts.paid()
        since = {model: _less(spend, self._told.get(model, {})) for model, spend in now.items()}
        if any(spend["calls"] for spend in since.values()):
            self._emit(Event(type="spent", detail=since))
        self._told = now


def _less(spend: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if value is None else value - (before.get(name) or 0) for name, value in spend.items()}


async def _while_telling(work: Awaitable[Any], ledger: Ledger) -> None:
    async def now_and_then() -> None:
        while True:
            await asyncio.sleep(_SPENT_S)
            ledger.tell()

    telling = asyncio.ensure_future(now_and_then())
    try:
        await work
    finally:
        telling.cancel()
        ledger.tell()


def recorded(train: children.Train, folder: Path, emit: Emit) -> children.Train:
    """A trainer that also tells each point of the curves, and each checkpoint once it is written."""

    async def followed(config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        step, training = where.parent.name, where.name.removesuffix("-run")
        look = _checkpoints(getattr(config, "state", None), folder, step, training, emit)

        def both(done: int, total: int, metrics: dict[str, float]) -> None:
            point = {name: float(value) for name, value in metrics.items()}
            emit(Event(type="metrics", step=step, done=done, total=total, message=training, metrics=point))
            look()
            progress(done, total, metrics)

        return await train(config, where, both)

    return followed


def _checkpoints(state: Path | None, folder: Path, step: str, training: str, emit: Emit) -> Callable[[], None]:
    """Looks for new checkpoints and tells them."""
    known: set[str] = set()

    def look() -> None:
        if state is None:
            return
        with suppress(FileNotFoundError):
            for path in sorted(state.glob("checkpoint-*")):
                number = path.name.removeprefix("checkpoint-")
                if path.name not in known and number.isdigit():
                    known.add(path.name)
                    detail = {"series": f"{step}/{training}"}
                    inside = str(path.resolve().relative_to(folder.resolve()))
                    emit(Event(type="checkpoint", step=step, done=int(number), message=inside, detail=detail))

    return look


def _print(event: Event) -> None:
    sys.stdout.write(event.model_dump_json(exclude_defaults=True) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """The exit code: 0 done, 1 or 2 failed after saying why, another one lost."""
    folder, number = Path(arguments[0]), int(arguments[1])
    last: list[str] = []

    def emit(event: Event) -> None:
        last[:] = [event.type]
        _print(event)

    try:
        run(do(folder, number, emit))
    except TrainingLost as error:
        sys.stderr.write(f"{error}\n")
        return _LOST
    except SolonError as error:
        if last != ["run_failed"]:
            detail = {"remedy": error.remedy, "field": error.field, "kind": type(error).__name__}
            _print(Event(type="run_failed", message=error.message, detail=detail))
        return error.exit_code
    except Exit as error:
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
