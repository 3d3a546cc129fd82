"""`solon pairs reweight`: datasets of preference pairs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

WEIGHT_HELP = "Multiply the weight of a principle (concise=3) or of all with a tag (tag:tone=0); may be repeated."


@app.callback()
def root() -> None:
    """Datasets of preference pairs."""


@app.command()
def reweight(
    context: typer.Context,
    dataset: Annotated[Path, typer.Argument(metavar="PAIRS", help="A dataset written by `solon label`.")],
    constitution: Annotated[str, typer.Option(metavar="ID", help="Published id, or a file.")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT.jsonl", help="Or OUT.parquet.")],
    weights: Annotated[list[str] | None, typer.Option("--weight", metavar="NAME=FACTOR", help=WEIGHT_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Combine the stored votes with other weights: a new dataset, without a judge call."""
    from api.libraries import load_constitution
    from api.reweighting import parse_weights, reweight_file
    from api.terminal import run, settings, write, write_json

    found = load_constitution(constitution, settings(context))
    summary = run(reweight_file(dataset, found, parse_weights(weights or ()), out))
    if as_json:
        write_json(summary)
        return
    for name, meaning in _MEANINGS.items():
        if name in summary["changes"]:
            write(f"{summary['changes'][name]:6d} {meaning}")
    write(f"{summary['pairs']} pairs, no judge call: {out}")


_MEANINGS = {
    "kept": "labels stay as they are",
    "flipped": "prefer the other completion now",
    "became_tie": "are ties now",
    "became_decided": "were ties and are decided now",
    "unusable": "were not measured or have no principle left",
}
