"""`solon label`: a file of rows in, a dataset of labelled pairs out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.cli.pairs import WEIGHT_HELP
from api.terminal import run, settings, write_json
from solon.errors import InvalidInput

if TYPE_CHECKING:
    from api.labelling import LabelRequest

Pairing = Literal["max_margin", "adjacent", "all", "random", "threshold"]
Schedule = Literal["all", "swiss", "chunks"]

Rows = Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Prompts, or rows with completions.")]
Text = Annotated[str, typer.Option("--constitution", metavar="ID", help="Published id, or a file.")]
Out = Annotated[Path, typer.Option("--out", metavar="OUT.jsonl", help="Or OUT.parquet.")]
Judge = Annotated[str | None, typer.Option(metavar="NAME", help="Registered judge.")]
Policy = Annotated[str | None, typer.Option(metavar="NAME", help="Writes completions where a row has none.")]
Completions = Annotated[int, typer.Option("-n", min=2, max=64, help="Completions per prompt.")]
Which = Annotated[Pairing, typer.Option(help="Which become pairs.")]
First = Annotated[Schedule | None, typer.Option(help="Rate all completions first, by these comparisons.")]
Margin = Annotated[
    float, typer.Option(min=0.0, max=0.99, help="With --pairing threshold: pairs at least so far apart.")
]
Coverage = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the comparisons that must be ok or tie.")]
Seed = Annotated[int, typer.Option(min=0)]
Weights = Annotated[list[str] | None, typer.Option("--weight", metavar="NAME=FACTOR", help=WEIGHT_HELP)]
Again = Annotated[
    bool, typer.Option("--relabel", help="IN is a dataset: keep its votes, and ask only what the text changed.")
]
Kept = Annotated[Path | None, typer.Option(metavar="FILE", help="Judgement cache instead of the shared one.")]
Only = Annotated[bool, typer.Option("--estimate", help="Only say what it would ask for, and ask nothing.")]
Calls = Annotated[int | None, typer.Option(min=1, help="Stop, to go on later, after so many calls.")]
TokenCap = Annotated[int | None, typer.Option(min=1, help="The same in tokens of prompts and completions.")]
Money = Annotated[float | None, typer.Option(min=0.0, help="The same in money, at the registry's prices.")]
Server = Annotated[str | None, typer.Option(metavar="URL", help="A service that labels and keeps, with SOLON_API_KEY.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def label(
    context: typer.Context,
    rows: Rows,
    constitution: Text,
    out: Out,
    judge: Judge = None,
    policy: Policy = None,
    n: Completions = 4,
    pairing: Which = "max_margin",
    schedule: First = None,
    min_margin: Margin = 0.0,
    min_coverage: Coverage = 0.0,
    seed: Seed = 0,
    weights: Weights = None,
    again: Again = False,
    cache: Kept = None,
    estimate: Only = False,
    max_calls: Calls = None,
    max_tokens: TokenCap = None,
    max_usd: Money = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Label a file: a status for every row, pairs with probabilities, and agreement with people where they voted."""
    from api.labelling import LabelRequest
    from api.reweighting import parse_weights
    from solon.spending import Cap

    request = LabelRequest(
        constitution,
        judge,
        policy,
        n,
        pairing,
        seed,
        schedule=schedule,
        min_margin=min_margin,
        min_coverage=min_coverage,
        weights=parse_weights(weights or ()),
        cache=cache,
        cap=Cap(max_calls, max_tokens, max_usd),
    )
    if again and (estimate or request.cap.is_set):
        raise InvalidInput(
            "relabelling asks only for what the text changed",
            field="--relabel",
            remedy="`solon constitution preview` says what that costs",
        )
    if server is not None:
        if again or estimate:
            raise InvalidInput("works on files here", field="--server", remedy="leave out --relabel and --estimate")
        _label_there(rows, out, request, server, as_json)
    elif estimate:
        from api.estimating import estimate_file, show_estimate

        show_estimate(run(estimate_file(rows, request, settings(context))), as_json=as_json)
    else:
        _label(context, rows, out, request, again, as_json)


def _label_there(rows: Path, out: Path, request: "LabelRequest", server: str, as_json: bool) -> None:
    from api.client import Service
    from api.labelling import require_judged, show_labelled
    from api.progress import shown
    from api.remote_labelling import label_remotely
    from api.sending import AT_A_TERMINAL

    with Service(server, patience=AT_A_TERMINAL) as service, shown(as_json=as_json) as emit:
        summary = label_remotely(rows, out, request, service, emit)
    write_json(summary) if as_json else show_labelled(summary)
    require_judged(summary)


def _label(context: typer.Context, rows: Path, out: Path, request: "LabelRequest", again: bool, as_json: bool) -> None:
    from api.labelling import label_file, require_judged, show_labelled
    from api.progress import shown
    from api.relabelling import relabel_file, show_relabelled

    configured = settings(context)
    with shown(as_json=as_json) as emit:
        work = relabel_file if again else label_file
        summary = run(work(rows, out, request, configured, emit))
    if as_json:
        write_json(summary)
    elif again:
        show_relabelled(summary)
    else:
        show_labelled(summary)
    require_judged(summary)
