"""`solon pairs ls|show|review|import|export|dedup|decontaminate|card|reweight`: stored preferences, and datasets."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from api.cli import stored_pairs as stored_pairs_cli
from api.cli.stored_pairs import Server

app = typer.Typer(no_args_is_help=True)
app.command("ls")(stored_pairs_cli.list_pairs)
app.command("show")(stored_pairs_cli.show_pair)
app.command("review")(stored_pairs_cli.review_pair)

WEIGHT_HELP = "Multiply the weight of a principle (concise=3) or of all with a tag (tag:tone=0); may be repeated."


@app.callback()
def root() -> None:
    """Datasets of preference pairs."""


Dataset = Annotated[Path, typer.Argument(metavar="PAIRS", help="A dataset, JSON lines or Parquet.")]
Out = Annotated[Path, typer.Option("--out", metavar="OUT.jsonl", help="Or OUT.parquet.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Licence = Annotated[str | None, typer.Option(metavar="ID", help="Of the texts, such as CC-BY-4.0; goes on the card.")]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, Parquet, or AnnotatedPairs JSON.")],
    form: Annotated[
        Literal["trl_preference", "trl_unpaired", "openai_preference", "sharegpt", "annotated_pairs", "hh"],
        typer.Option("--format", help="What its rows look like."),
    ],
    out: Out,
    annotator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose votes, of annotated pairs; default: the file's own.")
    ] = None,
    licence: Licence = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail at the first row that cannot be read.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read pairs in another format; a row that cannot be read is refused with its line and the reason."""
    from api.pair_care import import_file

    summary = import_file(file, form, out, annotator=annotator, licence=licence, strict=strict)
    _show(summary, as_json, f"{summary['pairs']} pairs", summary["discards"], summary["refused"])


@app.command()
def export(
    context: typer.Context,
    dataset: Annotated[
        Path, typer.Argument(metavar="PAIRS", help="A dataset: a file, or the id of one that a service has (ds_...).")
    ],
    form: Annotated[
        Literal["trl_preference", "trl_unpaired", "openai_preference", "sharegpt", "annotated_pairs", "votes"],
        typer.Option("--format", help="For which program."),
    ],
    out: Out,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Write the usable pairs for another program; quarantined and failed ones never."""
    from api.pair_care import export_file

    if dataset.name.startswith("ds_") and not dataset.exists():
        _export_stored(context, dataset.name, form, out, server, as_json)
        return
    summary = export_file(dataset, form, out)
    _show(summary, as_json, f"{summary['pairs']} pairs", summary["left_out"])


def _export_stored(
    context: typer.Context, dataset: str, form: str, out: Path, server: str | None, as_json: bool
) -> None:
    from api.inprocess import connected
    from api.terminal import settings

    container = "parquet" if out.suffix == ".parquet" else "jsonl"
    with connected(settings(context), server) as service:
        left_out = service.export(dataset, out, form, container)
    _show({"left_out": left_out, "format": form, "out": str(out)}, as_json, dataset, left_out)


@app.command()
def dedup(
    dataset: Dataset,
    out: Out,
    threshold: Annotated[
        float, typer.Option(min=0.5, max=1.0, help="Similarity of near-duplicates; 1: exact ones only.")
    ] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Keep the first of all pairs that say the same, or almost the same (MinHash)."""
    from api.pair_care import dedup_file

    summary = dedup_file(dataset, out, threshold)
    _show(summary, as_json, f"{summary['kept']} of {summary['pairs']} pairs", summary["removed"])


@app.command()
def decontaminate(
    dataset: Dataset,
    against: Annotated[list[Path], typer.Option(metavar="ROWS.jsonl", help="Evaluation prompts; may be repeated.")],
    out: Out,
    run_words: Annotated[int, typer.Option(min=3, help="Words in a run that counts as copied.")] = 8,
    covered: Annotated[float, typer.Option(min=0.05, max=1.0, help="Share of a prompt that is copied.")] = 0.5,
    similarity: Annotated[float, typer.Option(min=0.5, max=1.0, help="Of near-duplicates; 1: look for none.")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Take out pairs with a prompt on which a model will be evaluated."""
    from api.pair_care import decontaminate_file
    from critic.contamination import Decontaminator

    summary = decontaminate_file(dataset, out, against, Decontaminator(run_words, covered, similarity))
    _show(summary, as_json, f"{summary['kept']} of {summary['pairs']} pairs", summary["removed"])


@app.command()
def card(dataset: Dataset, licence: Licence = None, as_json: AsJson = False) -> None:
    """Write the card of a dataset beside it: judge, constitution, bias, licence, counts, discards."""
    from api.dataset_cards import write_card
    from api.terminal import write, write_json

    path = write_card(dataset, licence=licence)
    write_json({"card": str(path)}) if as_json else write(str(path))


def _show(
    summary: dict[str, Any], as_json: bool, headline: str, left_out: dict[str, int], refused: list[str] | None = None
) -> None:
    from api.terminal import write, write_json

    if as_json:
        write_json(summary)
        return
    for line in refused or ():
        write(f"refused: {line}")
    for reason, count in left_out.items():
        write(f"{count:6d} left out: {reason}")
    write(f"{headline}: {summary['out']}")


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
