"""`solon constitution drift | infer`: labels held against a constitution, or read as one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from api.drift import DriftRequest
    from critic.drift import Drift, Finding

Labels = Annotated[
    Path, typer.Argument(metavar="LABELS", help="A dataset of pairs, or rows with people's verdicts (JSONL).")
]
JudgeName = Annotated[str, typer.Option("--judge", metavar="NAME", help="Registered judge that votes.")]
Candidates = Annotated[
    list[str] | None,
    typer.Option(
        metavar="REF", help="Constitution whose principles are tried, or a .txt file with one a line; repeat."
    ),
]
Proposer = Annotated[
    str | None, typer.Option(metavar="NAME", help="Model that writes candidates; without candidates: the judge.")
]
Pairs = Annotated[int | None, typer.Option(min=20, help="Look at no more than so many pairs.")]
Most = Annotated[int, typer.Option(min=1, max=50, help="Unwritten principles to look for.")]
Seed = Annotated[int, typer.Option(min=0)]
CacheFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Judgement cache instead of the shared one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def drift(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="ID_OR_FILE", help="The constitution the labels should follow.")],
    labels: Labels,
    judge: JudgeName,
    candidates: Candidates = None,
    proposer: Proposer = None,
    pairs: Pairs = None,
    most: Most = 8,
    seed: Seed = 0,
    cache: CacheFile = None,
    as_json: AsJson = False,
) -> None:
    """Say which written principles the labels do not follow, and which unwritten ones they do."""
    from api.drift import DriftRequest
    from api.terminal import write_json

    request = DriftRequest(judge, ref, tuple(candidates or ()), proposer, pairs, most, seed, cache)
    found = _look(context, labels, request, as_json)
    if as_json:
        write_json(found.to_dict())
    else:
        _print(found)


def infer(
    context: typer.Context,
    labels: Labels,
    judge: JudgeName,
    out: Annotated[Path, typer.Option("--out", metavar="DRAFT.yaml", help="Where the draft goes.")],
    name: Annotated[str, typer.Option("--id", help="Id of the draft.")] = "inferred",
    title: Annotated[str, typer.Option(help="Title of the draft.")] = "What the labels follow",
    candidates: Candidates = None,
    proposer: Proposer = None,
    pairs: Pairs = None,
    most: Most = 8,
    seed: Seed = 0,
    cache: CacheFile = None,
    as_json: AsJson = False,
) -> None:
    """Draft the constitution that a labelled set follows, with the evidence for each principle."""
    from api.drift import DriftRequest, inferred_draft
    from api.terminal import write, write_file, write_json
    from solon.formats import check_apart

    check_apart(out, labels, *(candidates or ()))
    request = DriftRequest(judge, None, tuple(candidates or ()), proposer, pairs, most, seed, cache)
    found = _look(context, labels, request, as_json)
    write_file(out, inferred_draft(found, labels.name, name, title))
    if as_json:
        write_json({"out": str(out), **found.to_dict()})
    else:
        _print(found)
        write(f"drafted: {out}")


def _look(context: typer.Context, labels: Path, request: "DriftRequest", as_json: bool) -> "Drift":
    from api.drift import drift_of
    from api.progress import shown
    from api.terminal import run, settings

    configured = settings(context)
    with shown(as_json=as_json) as emit:
        return run(drift_of(labels, request, configured, emit))


def _print(found: "Drift") -> None:
    from rich.table import Table
    from rich.text import Text

    from api.terminal import print_table, write

    for title, findings in (("written", found.written), ("unwritten", found.unwritten), ("dismissed", found.dismissed)):
        if findings:
            table = Table(title, "", "weight in the labels", "agreement", "decided pairs", "text")
            for finding in findings:
                table.add_row(*_cells(finding), Text(finding.text))
            print_table(table)
    shares = {
        "of the labels agree with the constitution as it stands": found.as_written,
        "agree with its principles, weights fitted": found.reweighted,
        "agree with all that was found, weights fitted": found.explained,
    }
    for meaning, share in shares.items():
        if share is not None:
            write(f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}] {meaning}")
    write(f"{found.pairs} pairs; {found.left_out} without a side or a vote left out")


def _cells(finding: "Finding") -> tuple[str, ...]:
    weight, agreement = finding.weight, finding.agreement
    standing = finding.standing.replace("_", " ") + (f" {finding.same_as}" if finding.same_as else "")
    return (
        finding.id,
        standing,
        "-" if weight is None else f"{weight.value:+.2f} [{weight.low:+.2f}, {weight.high:+.2f}]",
        "-" if agreement is None else f"{agreement.value:.2f} [{agreement.low:.2f}, {agreement.high:.2f}]",
        str(finding.decided),
    )
