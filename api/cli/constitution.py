"""`solon constitution ls | show | lint | schema | classify`: read, check and try out constitution files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import collective as collective_cli
from api.cli import draft as draft_cli
from api.cli import drift as drift_cli
from api.cli import exchange as constitution_exchange
from api.cli import lint as lint_cli
from api.cli import publishing as publishing_cli
from api.cli import trials as trials_cli
from api.terminal import settings

if TYPE_CHECKING:
    from constitution.document import Constitution

app = typer.Typer(name="constitution", help="Read, check and try out constitution files.", no_args_is_help=True)
app.command()(lint_cli.lint)
app.command()(lint_cli.schema)
app.command()(collective_cli.collect)
app.command()(drift_cli.drift)
app.command()(drift_cli.infer)
app.command("import")(constitution_exchange.import_foreign)
app.command()(constitution_exchange.render)
app.command("test")(trials_cli.try_cases)
app.command()(trials_cli.preview)
app.add_typer(publishing_cli.app)
app.add_typer(draft_cli.app)

Reference = Annotated[
    str, typer.Argument(metavar="ID_OR_FILE", help="A published id (civic, civic@1.0.0, civic@production) or a file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("ls")
def list_published(context: typer.Context, as_json: AsJson = False) -> None:
    """List the published constitutions, the highest version of each."""
    from rich.console import Console
    from rich.table import Table

    from api.libraries import open_library

    library = open_library(settings(context))
    rows = [_summary(library.load(name)) for name in library.ids() if library.versions(name)]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("id", "version", "status", "principles", "rules", "title")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("id", "version", "status", "principles", "rules", "title")))
    Console().print(table)


@app.command()
def show(context: typer.Context, ref: Reference, as_json: AsJson = False) -> None:
    """Print a constitution with its content hash."""
    from rich.console import Console
    from rich.text import Text

    from api.libraries import load_constitution
    from constitution.digest import content_hash, principle_hash

    constitution = load_constitution(ref, settings(context), drafts=True)
    if as_json:
        hashes = {principle.id: principle_hash(principle) for principle in constitution.principles}
        document = constitution.model_dump(mode="json")
        typer.echo(json.dumps({"content_hash": content_hash(constitution), "principle_hashes": hashes} | document))
        return
    console = Console(highlight=False)
    console.print(
        Text(f"{constitution.title} ({constitution.id} {constitution.version}, {constitution.status})", "bold")
    )
    console.print(Text(content_hash(constitution), "dim"))
    if constitution.summary:
        console.print(Text(constitution.summary))
    for principle in constitution.principles:
        veto = ", veto" if principle.veto else ""
        scopes = f", only {' and '.join(principle.scopes)}" if principle.scopes else ""
        console.print(Text(f"\n{principle.title or principle.id} (weight {principle.weight:g}{veto}{scopes})", "bold"))
        console.print(Text(principle.text))
    for rule in constitution.rules:
        console.print(Text(f"\nrule {rule.id}: {rule.reward:+g} when {rule.when}"))


@app.command()
def classify(
    context: typer.Context,
    ref: Reference,
    rows: Annotated[Path, typer.Argument(metavar="ROWS.jsonl", help='Rows with {"propositions": {...}}.')],
    out: Annotated[Path, typer.Option("--out", help="Where the classified rows go (JSONL).")],
    as_json: AsJson = False,
) -> None:
    """Derive classes and rule rewards from given propositions, with no model call."""
    from api.libraries import load_constitution
    from critic.rules import RuleSet
    from critic.rules.given import classify_rows
    from solon.errors import NotFound
    from solon.formats import check_apart

    check_apart(out, rows, ref)
    rules = RuleSet(load_constitution(ref, settings(context), drafts=True))
    classified = list(classify_rows(rules, rows))
    try:
        out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in classified), encoding="utf-8")
    except OSError as error:
        raise NotFound(f"cannot write {out}: {error.strerror}", remedy="give a path in a folder that exists") from error
    counts: dict[str, int] = {}
    for row in classified:
        counts[str(row["class"])] = counts.get(str(row["class"]), 0) + 1
    summary: dict[str, Any] = {"rows": len(classified), "classes": counts, "out": str(out)}
    typer.echo(json.dumps(summary) if as_json else f"{len(classified)} rows classified: {counts}; written to {out}")


def _summary(constitution: "Constitution") -> dict[str, Any]:
    from constitution.digest import content_hash

    return {
        "id": constitution.id,
        "version": constitution.version,
        "status": constitution.status,
        "principles": len(constitution.principles),
        "rules": len(constitution.rules),
        "title": constitution.title,
        "content_hash": content_hash(constitution),
    }
