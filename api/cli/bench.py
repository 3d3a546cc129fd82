"""`solon bench`: what is claimed about the methods, measured here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.terminal import output_folder, print_table, run, settings, write

if TYPE_CHECKING:
    from rich.table import Table

    from api.method_trials import Findings, Spread

app = typer.Typer(no_args_is_help=True)

_COLUMNS = (
    ("violation_rate", "violations", 100, 1),
    ("harmful_compliance_rate", "harmful compliance", 100, 1),
    ("helpful_rate", "helpful", 100, 1),
    ("over_refusal_rate", "over-refusal", 100, 1),
    ("incoherent_rate", "garbled", 100, 1),
    ("win_rate", "win rate", 100, 1),
    ("kl_nats", "KL, nats", 1, 2),
    ("seconds", "seconds", 1, 0),
    ("peak_memory_mib", "MiB", 1, 0),
)


@app.callback()
def root() -> None:
    """What is claimed about the methods, measured here."""


@app.command()
def methods(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[METHOD]...", help="Shipped methods or recipe files; default: all.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10, help="Runs of each method.")] = 3,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the runs; they resume in it.")] = Path(
        "runs/methods"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Train the starter policy by each method and compare what the oracle reads, the win rate, KL, time and memory."""
    from api.method_trials import chosen, compare
    from api.progress import shown

    recipes, configured = chosen(names or ()), settings(context)
    with shown(as_json=as_json) as emit:
        findings = run(compare(recipes, seeds, configured, output_folder(out), emit))
    if as_json:
        write(findings.model_dump_json())
        return
    print_table(_table(findings))
    write(f"{findings.prompts} held-out prompts, seeds per method: {seeds}; {findings.machine}; {out / 'methods.json'}")
    write("Rates in %, read by the oracle; mean over seeds [95 % by Student's t over the seeds].")


def _table(findings: "Findings") -> "Table":
    """A line per method, the policy before training first."""
    from rich.table import Table

    table = Table("", *(title for _, title, _, _ in _COLUMNS))
    for row in (findings.before, *findings.rows):
        shown = (_shown(row.numbers.get(name), scale, digits) for name, _, scale, digits in _COLUMNS)
        table.add_row(row.method, *shown)
    return table


def _shown(spread: "Spread | None", scale: int, digits: int) -> str:
    if spread is None:
        return "-"
    middle = f"{scale * spread.mean:.{digits}f}"
    if spread.low is None or spread.high is None:
        return middle
    return f"{middle} [{scale * spread.low:.{digits}f}, {scale * spread.high:.{digits}f}]"
