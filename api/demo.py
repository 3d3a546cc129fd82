"""`solon demo`: the main job on the built-in models, and the table that says what changed."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.recipe_files import load_recipe
from api.recipes import Recipe

if TYPE_CHECKING:
    from rich.table import Table

    from solon.intervals import Interval
    from trainer.evaluate import Measure, WinRate
    from trainer.report import Report


def demo_recipe() -> Recipe:
    """The recipe of the demo, which ends within minutes on two cores."""
    with as_file(files("api").joinpath("demo.yaml")) as path:
        return load_recipe(path)


def show_summary(summary: dict[str, Any], out: Path) -> None:
    """What changed as a table, each number with what it means, and where the report is."""
    from api.terminal import print_table, write
    from trainer.report import Report

    page = out / "report.html"
    if not page.exists():
        write(f"finished: {out}")
        return
    report = Report.model_validate_json((out / "report.json").read_bytes())
    print_table(_table(report))
    for flag in report.flags:
        write(f"note: {flag}")
    seconds = sum(summary["seconds"].values())
    write(f"{seconds:.0f} s of work; the report with pairs, curves and examples: {page}")


def _table(report: "Report") -> "Table":
    """Before, after and control, with the control's column only where there is one."""
    from rich.table import Table

    controlled = report.control is not None or any(measure.control is not None for measure in report.measures)
    control = report.control
    table = Table("", "before", "after", "change", *(["control"] if controlled else []), "what it means")
    for measure in report.measures:
        sides = (_shown(measure.before, measure.unit), _shown(measure.after, measure.unit), _change(measure))
        beside = (_shown(measure.control, measure.unit),) if controlled else ()
        table.add_row(measure.title, *sides, *beside, measure.meaning)
    won, drift = ["", _won(report.win_rate), ""], ["", _nats(report.kl_nats), ""]
    if controlled:
        won.append(_won(control.win_rate if control else None))
        drift.append(_nats(control.kl_nats if control else None))
    table.add_row("Win rate", *won, "Preferred to before by the critic, in both orders, ties half; all prompts.")
    if report.held_out_win_rate is not None:
        blank = [""] if controlled else []
        row = ("", _won(report.held_out_win_rate), "", *blank)
        table.add_row("Held-out judge", *row, "Win rate by a judge that labelled nothing.")
    table.add_row("KL, nats", *drift, "Distance from the policy before, per completion.")
    return table


def _shown(value: "Interval | None", unit: str) -> str:
    if value is None:
        return "-"
    return f"{100 * value.value:.1f} %" if unit == "share" else f"{value.value:.2f}"


def _change(measure: "Measure") -> str:
    change, scale = measure.difference, 100 if measure.unit == "share" else 1
    digits = 0 if measure.unit == "share" else 2
    low, high = (f"{scale * bound:+.{digits}f}" for bound in (change.low, change.high))
    return f"{scale * change.value:+.{digits}f} [{low}, {high}]"


def _won(rate: "WinRate | None") -> str:
    return "-" if rate is None else f"{100 * rate.value:.0f} % [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"


def _nats(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
