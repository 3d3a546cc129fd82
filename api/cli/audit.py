"""`solon audit judge|reward`: how far a judge or a reward model can be trusted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from api.auditing import AuditReport, AuditRequest
    from critic.audit import Audit

app = typer.Typer(no_args_is_help=True)


Rows = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ROWS.jsonl]...",
        help="Rows with people's verdicts, or builtin:agora/gold; none: the constitution's cases.",
    ),
]
Text = Annotated[str, typer.Option("--constitution", metavar="ID", help="Published id, or a file.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for audit.html and audit.json.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Rows of each file at most.")]
Attacks = Annotated[bool, typer.Option("--attacks/--no-attacks", help="Try the attack suite.")]
Probes = Annotated[int, typer.Option(min=1, max=64, help="Comparisons that each attack is tried on.")]
Second = Annotated[str | None, typer.Option(metavar="NAME", help="Another judge, beside which self-preference is set.")]
Seed = Annotated[int, typer.Option(min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


@app.callback()
def root() -> None:
    """How far a judge or a reward model can be trusted."""


@app.command("judge")
def judge(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="JUDGE", help="Registered judge.")],
    rows: Rows = None,
    constitution: Text = "civic",
    out: Out = Path("audit-out"),
    limit: Limit = None,
    attacks: Attacks = True,
    probes: Probes = 1,
    second_judge: Second = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Audit a judge: agreement with people, calibration, bias, and what attacks achieve, beside controls."""
    from api.auditing import AuditRequest

    _audit(context, rows, constitution, out, AuditRequest(name, limit, attacks, probes, second_judge, seed), as_json)


@app.command("reward")
def reward(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Registered reward model.")],
    rows: Rows = None,
    constitution: Annotated[
        str, typer.Option("--constitution", metavar="ID", help="Gives scopes, cases and the tie margin only.")
    ] = "civic",
    out: Out = Path("audit-out"),
    limit: Limit = None,
    attacks: Attacks = True,
    probes: Probes = 1,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Audit a reward model: agreement with people, calibration, length, and what attacks achieve, beside controls."""
    from api.auditing import AuditRequest

    request = AuditRequest(name, limit, attacks, probes, seed=seed, kind="reward")
    _audit(context, rows, constitution, out, request, as_json)


def _audit(
    context: typer.Context, rows: Rows, constitution: str, out: Path, request: "AuditRequest", as_json: bool
) -> None:
    from api.audit_page import document
    from api.auditing import audit_files
    from api.labelling import nothing_judged
    from api.libraries import load_constitution
    from api.progress import shown
    from api.terminal import output_folder, run, settings, write_json

    configured = settings(context)
    text = load_constitution(constitution, configured)
    with shown(as_json=as_json) as emit:
        report = run(audit_files(rows or [], text, output_folder(out), request, configured, emit))
    if as_json:
        write_json(document(report))
    else:
        show_audit(report, out)
    if report.is_blank:
        failures = (each.summary.failure for each in report.audits.values())
        raise nothing_judged(next((each for each in failures if each is not None), None), out / "audit.html")


def show_audit(report: "AuditReport", out: Path) -> None:
    """The audit on the terminal."""
    from rich.table import Table

    from api.audit_page import headline
    from api.terminal import print_table, write

    for sentence in headline(report):
        write(sentence)
    for name, audit in report.audits.items():
        write(f"{name}: {_counts(audit.summary)}")
    table = Table("rows", "judged by", "people's side", "kappa", "AC2", "alpha", "ECE", "same slot", "longer")
    for name, audit in report.audits.items():
        for who, card in {report.request.kind: audit.overall, **audit.controls}.items():
            table.add_row(name if who == report.request.kind else "", who, *_figures(card))
    print_table(table)
    if report.attacks is not None:
        attacks = Table("attack", "trials", "worse wins", "ties", "log-odds", "suspected", "wins unnoticed")
        for kind, tally in {
            **report.attacks.kinds,
            "all": report.attacks.overall,
            "control": report.attacks.control,
        }.items():
            shift = "-" if tally.shift_logits is None else f"{tally.shift_logits:+.2f}"
            shares = [_value(each) for each in (tally.success, tally.tied)]
            caught = [_value(each) for each in (tally.suspected, tally.escaped)]
            attacks.add_row(kind, str(tally.trials), *shares, shift, *caught)
        print_table(attacks)
    write(f"{report.cost['judge_calls']} judge calls, {report.cost['cache_hits']} from the cache: {out / 'audit.html'}")


def _counts(summary: "Audit") -> str:
    """Comparisons by how they ended, and why most of those failed that did."""
    counts = ", ".join(f"{name} {count}" for name, count in summary.statuses.items()) or "no comparison"
    return counts if summary.failure is None else f"{counts}; failed, most often: {summary.failure}"


def _figures(card: Any) -> list[str]:
    said, ece = card.agreement, "-" if card.calibration is None else f"{card.calibration.ece:.3f}"
    coefficients = [None] * 4 if said is None else [said.forced, said.kappa, said.ac2, said.alpha]
    biases = (card.position.same_position_rate, card.length.longer_preferred)
    return [*map(_value, coefficients), ece, *map(_value, biases)]


def _value(found: Any) -> str:
    return "-" if found is None else f"{found.value:.3f} [{found.low:.2f}, {found.high:.2f}]"
