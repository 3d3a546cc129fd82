"""The report as a page: sentences, numbers and charts for `pages/report.html.jinja`. Torch-free."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from solon import charts
from solon.intervals import Interval
from solon.records import PreferencePair
from trainer.evaluate import Measure
from trainer.findings import Curve, Report
from trainer.monitor import pictures
from trainer.monitor.comparison import Monitored


def render(report: Report) -> str:
    """The page as HTML."""
    return _template().render(
        report=report,
        headline=headline(report),
        panels=_panels(report.training),
        watched=_watched(report),
        charts=charts,
        show=show,
        change=change,
        percent=percent,
        votes=votes,
        principle_titles={p.id: p.title for p in report.constitution.principles},
        provenance=flatten(report.provenance),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("trainer", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja")


def headline(report: Report) -> tuple[str, ...]:
    """What happened, in up to five sentences for people."""
    leading = _leading(report.measures)
    sentences = [_moved(measure) for measure in leading]
    if leading and leading[0].control is not None:
        title, left = leading[0].title.lower(), show(leading[0], leading[0].control)
        sentences.append(f"The same training on shuffled labels, the control, left {title} at {left}.")
    if report.win_rate is not None:
        w = report.win_rate
        sentences.append(
            f"The judge prefers the model after training in {percent(w.value)} of {w.n} comparisons"
            f" (95\u00a0% interval {percent(w.low)} to {percent(w.high)})."
        )
    if report.held_out_win_rate is not None:
        w = report.held_out_win_rate
        sentences.append(f"A judge that took no part in the labelling prefers it in {percent(w.value)} of {w.n}.")
    return tuple(sentences)


def _leading(measures: Sequence[Measure]) -> list[Measure]:
    """What training was for, and what must not suffer for it; where neither was measured, the first row."""
    by_id = {measure.id: measure for measure in measures}
    return [by_id[name] for name in ("violation_rate", "helpful_rate") if name in by_id] or list(measures[:1])


def _moved(measure: Measure) -> str:
    before, after = show(measure, measure.before), show(measure, measure.after)
    if change(measure)[1] == "same":
        return f"{measure.title} stayed about where it was: {before} before, {after} after."
    verb = "rose" if measure.difference.value > 0 else "fell"
    return f"{measure.title} {verb} from {before} to {after}."


def percent(share: float) -> str:
    """A share as a whole percentage, with one decimal below 10 %."""
    value = 100 * share
    return f"{value:.1f}\u00a0%" if 0 < value < 9.95 else f"{value:.0f}\u00a0%"


def show(measure: Measure, interval: Interval) -> str:
    """The value in the measure's unit."""
    if measure.unit == "share":
        return percent(interval.value)
    return f"{interval.value:.0f}\u00a0words" if measure.unit == "words" else charts.number(round(interval.value, 2))


def change(measure: Measure) -> tuple[str, str, str]:
    """The change with its sign, what to call it, and its interval.

    It is called `same` while the interval holds 0, `moved` where no direction is better, else `better` or `worse`.
    """
    found = measure.difference
    points, unit = (100.0, " pts") if measure.unit == "share" else (1.0, "")
    value, low, high = (f"{points * x:+.1f}".replace("-", "\u2212") for x in (found.value, found.low, found.high))
    return f"{value}{unit}", _verdict(measure), f"{low} to {high}"


def _verdict(measure: Measure) -> str:
    if measure.difference.low <= 0 <= measure.difference.high:
        return "same"
    if measure.better == "neither":
        return "moved"
    return "better" if (measure.difference.value < 0) == (measure.better == "lower") else "worse"


def _watched(report: Report) -> dict[str, Any] | None:
    """What the section on the monitor shows; None where nothing was watched."""
    if not report.observations or report.monitor is None:
        return None
    run = Monitored(seen=report.observations, found=report.monitor)
    return {
        "told": pictures.sentences(run.found),
        "alarm": run.found.alarm is not None,
        "golds": list(run.seen[0].gold),
        "overview": pictures.overview(run.seen),
        "panels": pictures.panels({"after": run.seen}),
        "columns": list(run.shown),
        "rows": pictures.rows(list(run.shown.values())),
    }


def _panels(training: dict[str, Curve]) -> list[dict[str, Any]]:
    """Title, explanation and chart of each training curve; none without training."""
    if not any(training.values()):
        return []

    def chart(title: str, key: str, *include: float) -> Any:
        series = {name: [(row["step"], row[key]) for row in rows if key in row] for name, rows in training.items()}
        return charts.lines(series, title, include=include)

    return [
        {
            "title": "Loss",
            "text": "Nats per pair; ln 2 = 0.693 is knowing nothing.",
            "chart": chart("Loss", "loss", 0.693),
        },
        {
            "title": "Reward margin",
            "text": "How much more the policy has come to favour the chosen completion, times beta.",
            "chart": chart("Reward margin", "reward_margin", 0.0),
        },
        {
            "title": "Accuracy",
            "text": "Share of the step's pairs where it favours the chosen one.",
            "chart": chart("Accuracy", "reward_accuracy", 0.5, 1.0),
        },
        {
            "title": "Chosen reward",
            "text": "Below zero, chosen completions became less likely too; `sft_weight` guards against it.",
            "chart": chart("Chosen reward", "reward_chosen", 0.0),
        },
    ]


def flatten(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Dotted names and values of nested plain data, in order."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            rows += flatten(value, f"{name}.")
        elif value is not None:
            rows.append((name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)))
    return rows


def votes(pair: PreferencePair, titles: dict[str, str]) -> list[dict[str, Any]]:
    """One row per principle: P(a is better) with a listed first, with b listed first, and over both orders."""
    rows: list[dict[str, Any]] = []
    for verdict in pair.verdicts:
        by_order = {vote.order: vote.p_first for vote in verdict.votes}
        b_first = by_order.get("ba")
        rows.append(
            {
                "title": titles.get(verdict.principle, verdict.principle),
                "a_first": by_order.get("ab"),
                "b_first": None if b_first is None else 1 - b_first,
                "both": verdict.p_a,
                "status": verdict.status.value,
                "consistent": verdict.consistent,
            }
        )
    return rows
