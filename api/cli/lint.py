"""`solon constitution lint | schema`: what is wrong or unwise in a file, and the schema for editors."""

import json
from pathlib import Path
from typing import Annotated

import typer

from api.terminal import settings

Files = Annotated[list[str], typer.Argument(metavar="ID_OR_FILE...", help="Published ids or files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def lint(
    context: typer.Context,
    files: Files,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    budget: Annotated[
        int, typer.Option(metavar="TOKENS", min=1, help="What one text may take of the judge's prompt.")
    ] = 512,
    as_json: AsJson = False,
) -> None:
    """Check files and list every error and warning with its place; exit code 1 when there is an error."""
    from api.libraries import open_library, read_constitution
    from constitution.document import parents_for
    from constitution.lints import lint as check

    configured = settings(context)
    library = open_library(configured)
    found = {
        name: check(read_constitution(name, configured), parents=parents_for(name, library.load), budget_tokens=budget)
        for name in files
    }
    if as_json:
        typer.echo(json.dumps({name: [vars(problem) for problem in problems] for name, problems in found.items()}))
    else:
        for name, problems in found.items():
            for problem in problems:
                typer.echo(f"{name}: {problem}")
            if not problems:
                typer.echo(f"{name}: no problems")
    if any(strict or problem.severity == "error" for problems in found.values() for problem in problems):
        raise typer.Exit(1)


def schema(
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead.")] = None,
) -> None:
    """Print the JSON Schema of constitution files, for editors."""
    from constitution.json_schema import as_text
    from solon.errors import NotFound

    if out is None:
        typer.echo(as_text(), nl=False)
        return
    try:
        out.write_text(as_text(), encoding="utf-8")
    except OSError as error:
        raise NotFound(f"cannot write {out}: {error.strerror}", remedy="give a path in a folder that exists") from error
