"""The schema: migrations and models say the same, data outlives them, and a database is never half migrated."""

import importlib
import itertools
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from typer.testing import CliRunner

from api import store
from api.cli import app
from api.store import schema
from api.store.database import connect, open_database
from api.store.tables import Table
from solon.errors import InvalidInput
from tests.integration.postgres import DATABASES, new_database
from tests.unit.constitution.stores import PATIENCE_S, processes

PROCESSES = 4


for module in pkgutil.iter_modules(store.__path__, "api.store."):  # every table, whichever module holds it
    importlib.import_module(module.name)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_database(request.param, tmp_path)


def script() -> ScriptDirectory:
    with connect("sqlite://").connect() as connection:
        return ScriptDirectory.from_config(schema.configuration(connection))


def first_tables() -> sa.MetaData:
    """The tables as the first revision makes them."""
    return script().get_revision("0001").module._TABLES


def test_revisions_form_one_line_in_the_order_of_their_numbers():
    line = [revision.revision for revision in script().walk_revisions()]
    assert tuple(reversed(line)) == schema.revisions()


def test_the_migrations_make_what_the_models_say(url: str):
    with open_database(url).connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_server_default": False}
        )
        assert compare_metadata(context, Table.metadata) == []
        keys = {name: sa.inspect(connection).get_pk_constraint(name) for name in Table.metadata.tables}
    made = {name: key["constrained_columns"] for name, key in keys.items()}  # Alembic does not compare them
    assert made == {name: table.primary_key.columns.keys() for name, table in Table.metadata.tables.items()}


def value(column: sa.Column[Any], number: int) -> Any:
    """Something that fits the column, another one for every number."""
    match column.type:
        case sa.JSON():
            return {"number": [number, "é"]}
        case sa.LargeBinary():
            return bytes([number])
        case sa.Boolean():
            return bool(number % 2)
        case sa.Float() | sa.Double() | sa.Numeric():
            return float(number)
        case sa.Integer():
            return number
        case sa.DateTime():
            return None
        case _:
            return f"v{number}"


def fill(connection: sa.Connection) -> dict[str, list[dict[str, Any]]]:
    """Two rows in every table, parents first; the rows by table."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    rows: dict[str, list[dict[str, Any]]] = {}
    for table in metadata.sorted_tables:
        if table.name == schema.VERSION_TABLE:
            continue
        rows[table.name] = [row_for(table, number, rows) for number in (1, 2)]
        connection.execute(table.insert(), rows[table.name])
    return rows


def row_for(table: sa.Table, number: int, rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    row = {column.name: value(column, number) for column in table.columns}
    for column, key in itertools.product(table.columns, table.foreign_keys):
        if key.parent is column:
            row[column.name] = rows[key.column.table.name][number - 1][key.column.name]
    return row


def kept(connection: sa.Connection, rows: dict[str, list[dict[str, Any]]]) -> Iterator[tuple[str, bool]]:
    """For every table, whether the rows are still there, in the columns that are."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    for name, written in rows.items():
        table = metadata.tables[name]
        found = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
        names = set(table.columns.keys()) & set(written[0])
        shown = [
            sorted(repr({column: row[column] for column in sorted(names)}) for row in side) for side in (found, written)
        ]
        yield name, shown[0] == shown[1]


@pytest.mark.parametrize("revision", schema.revisions())
def test_data_of_every_revision_outlives_the_upgrade(url: str, revision: str):
    engine = connect(url)
    schema.upgrade(engine, revision)
    with engine.begin() as connection:
        rows = fill(connection)
    with open_database(url).connect() as connection:
        assert dict(kept(connection, rows)) == dict.fromkeys(rows, True)
    assert schema.standing(engine).current


@pytest.mark.parametrize("missing", [(), ("audits", "constitution_history")])
def test_a_database_from_before_there_were_revisions_is_taken_over(url: str, missing: tuple[str, ...]):
    engine = connect(url)
    tables = first_tables()
    tables.create_all(engine, tables=[table for table in tables.sorted_tables if table.name not in missing])
    with engine.begin() as connection:
        rows = fill(connection)
    with open_database(url).connect() as connection:
        assert dict(kept(connection, rows)) == dict.fromkeys(rows, True)


def test_tables_of_somebody_else_are_refused_and_nothing_is_made(url: str):
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE jobs (id INTEGER, title TEXT)"))
    with pytest.raises(InvalidInput, match="'jobs' is not one that Solon made"):
        open_database(url)
    assert sa.inspect(engine).get_table_names() == ["jobs"]


def test_a_database_of_a_later_version_is_refused_and_left_alone(url: str):
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9000'"))
    with pytest.raises(InvalidInput, match="the database is at schema 9000") as caught:
        open_database(url)
    assert caught.value.field == "database"
    with pytest.raises(InvalidInput):
        schema.standing(engine)


def _open(url: str, results: Any) -> None:
    engine = open_database(url)
    results.put(schema.standing(engine).current)
    engine.dispose()


@pytest.mark.slow
def test_processes_that_open_a_new_database_together_make_it_once(url: str):
    context = processes()
    results = context.Queue()
    openers = [context.Process(target=_open, args=(url, results)) for _ in range(PROCESSES)]
    for opener in openers:
        opener.start()
    assert [results.get(timeout=PATIENCE_S) for _ in openers] == [True] * PROCESSES
    for opener in openers:
        opener.join(PATIENCE_S)


def test_a_database_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path):
    url = new_database("sqlite", tmp_path)
    open_database(url)
    opening = f"import sys; from api.store.database import open_database; open_database({url!r})"
    code = f"{opening}; print('alembic' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_the_command_line_shows_where_a_database_stands_and_upgrades_it(tmp_path: Path):
    url, newest = new_database("sqlite", tmp_path), schema.revisions()[-1]

    def solon(*arguments: str) -> str:
        ran = CliRunner().invoke(app, ["--set", f"database={url}", "database", *arguments])
        assert ran.exit_code == 0, ran.output
        return ran.output

    assert f"revision none, needed {newest}" in solon("show")
    assert not (tmp_path / "solon.db").exists()
    assert f"revision none before, {newest} now" in solon("upgrade")
    assert f"revision {newest}, needed {newest}; up to date" in solon("show")


def test_a_password_is_not_shown(capsys: pytest.CaptureFixture[str]):
    ran = CliRunner().invoke(app, ["--set", "database=nodb://ada:secret@host/x", "database", "show"])
    assert "secret" not in ran.output + str(ran.exception)
