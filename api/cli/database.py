"""`solon database show|upgrade`: the schema of the service's database."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def root() -> None:
    """The service's database: where its schema stands, and bringing it up to date."""


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Say which revision the database is at, and which this version of Solon needs; changes nothing."""
    from api.store.database import connect, database_exists
    from api.store.schema import revisions, standing
    from api.terminal import settings, write, write_json

    url = settings(context).database
    engine = connect(url)
    found = standing(engine).revision if database_exists(url) else None
    needed = revisions()[-1]
    if as_json:
        write_json({"database": _shown(url), "revision": found, "needed": needed, "current": found == needed})
        return
    state = "up to date" if found == needed else "`solon database upgrade`, or the next start, brings it up to date"
    write(f"{_shown(url)}: revision {found or 'none'}, needed {needed}; {state}")


@app.command()
def upgrade(context: typer.Context, as_json: AsJson = False) -> None:
    """Bring the database up to the revision that this version of Solon needs; every start does the same."""
    from api.store.database import connect, upgrade_database
    from api.terminal import settings, write, write_json

    url = settings(context).database
    before, after = upgrade_database(connect(url))
    if as_json:
        write_json({"database": _shown(url), "before": before.revision, "after": after.revision})
    else:
        write(f"{_shown(url)}: revision {before.revision or 'none'} before, {after.revision} now")


def _shown(url: str) -> str:
    """The URL without its password."""
    from sqlalchemy import make_url

    return make_url(url).render_as_string(hide_password=True)
