"""Monitored runs side by side: one self-contained page. Torch-free."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from solon.errors import NotFound
from solon.records import Record
from trainer.monitor.alarm import best
from trainer.monitor.observations import Observation
from trainer.monitor.pictures import overview, panels, rows, sentences
from trainer.monitor.summary import Summary, read_observations, read_summary


class Monitored(Record):
    """One run."""

    seen: tuple[Observation, ...]
    found: Summary

    @property
    def shown(self) -> dict[str, Observation]:
        """The observations that a table shows: first, best by gold, last."""
        chosen = best(self.seen)
        middle = {} if chosen is None else {f"best, step {chosen.step}": chosen}
        return {"start": self.seen[0], **middle, f"last, step {self.seen[-1].step}": self.seen[-1]}


def monitored(folder: Path) -> Monitored:
    """The run in a folder: of `solon align`, its latest watched training, or a model's own directory."""
    for model in (folder, *sorted(folder.glob("*/model"), reverse=True)):
        seen, found = read_observations(model), read_summary(model)
        if seen and found is not None:
            return Monitored(seen=seen, found=found)
    raise NotFound(f"no training in {folder} was watched", field="RUN", remedy="give the training step a `monitor`")


def comparison(runs: Mapping[str, Monitored]) -> str:
    """The page as HTML."""
    names = {f"run-{index % 4}": name for index, name in enumerate(runs)}
    series = dict(zip(names, (run.seen for run in runs.values()), strict=True))
    told = {name: sentences(run.found) for name, run in runs.items()}
    return _template().render(names=names, runs=runs, panels=panels(series), told=told, overview=overview, rows=rows)


def as_rows(runs: Mapping[str, Monitored]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Column titles and rows of one table over all runs."""
    columns: list[tuple[str, Observation]] = [
        (f"{name}: {when}", each) for name, run in runs.items() for when, each in run.shown.items()
    ]
    return [title for title, _ in columns], rows([each for _, each in columns])


@cache
def _template() -> Template:
    loader = PackageLoader("trainer", "pages")
    environment: Any = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("comparison.html.jinja")
