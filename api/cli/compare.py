"""`solon compare RUN...`: what monitors saw of several trainings, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from api.terminal import print_table, write, write_json

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of solon align, or model directories.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE.html", help="Also write a page with the curves.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def compare(runs: Runs, out: Out = None, as_json: AsJson = False) -> None:
    """Compare watched trainings: reward against gold, alarms, and what else changed."""
    from rich.table import Table

    from trainer.monitor.comparison import as_rows, comparison, monitored
    from trainer.monitor.pictures import sentences

    found = {folder.resolve().name: monitored(folder) for folder in runs}
    if out is not None:
        out.write_text(comparison(found), encoding="utf-8")
    if as_json:
        write_json({name: run.found.model_dump(mode="json") for name, run in found.items()})
        return
    titles, rows = as_rows(found)
    table = Table("", *titles)
    for title, cells in rows:
        table.add_row(title, *cells)
    print_table(table)
    for name, run in found.items():
        for line in sentences(run.found):
            write(f"{name}: {line}")
    if out is not None:
        write(f"page: {out}")
