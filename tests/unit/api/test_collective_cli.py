"""`solon constitution collect`: what a person sees and gets."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.cli.constitution import app
from constitution.document import load
from solon.errors import InvalidInput

KIND, RUDE = "Answers should be kind.", "It is fine to be rude."


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    path = tmp_path / "votes.csv"
    rows = [f"p{n},{KIND},agree,{'north' if n < 6 else 'south'}" for n in range(12)]
    rows += [f"p{n},{RUDE},{'agree' if n < 6 else 'disagree'},{'north' if n < 6 else 'south'}" for n in range(12)]
    path.write_text("participant,statement,vote,group\n" + "\n".join(rows) + "\n")
    return path


def collect(votes: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["collect", str(votes), "--out", str(votes.with_name("draft.yaml")), *more])


def test_what_all_groups_support_becomes_a_draft_that_loads(votes: Path) -> None:
    result = collect(votes, "--id", "town", "--title", "Town")

    drafted = load(votes.with_name("draft.yaml"))
    assert [each.text for each in drafted.principles] == [KIND]
    assert (drafted.id, drafted.status) == ("town", "draft")
    assert "1 of 2 statements drafted" in result.stdout
    assert "12% agree in south" in result.stdout
    assert "6/0/0" in result.stdout


def test_every_statement_is_in_the_json_with_its_counts(votes: Path) -> None:
    found = json.loads(collect(votes, "--json").stdout)

    assert [(each["text"], each["taken"]) for each in found["statements"]] == [(KIND, True), (RUDE, False)]
    assert found["statements"][1]["groups"]["south"] == {"agree": 0, "disagree": 6, "passed": 0}


def test_groups_are_found_where_the_table_names_none(votes: Path) -> None:
    votes.write_text("\n".join(line.rpartition(",")[0] for line in votes.read_text().splitlines()))

    found = json.loads(collect(votes, "--json").stdout)
    assert [sorted(each["groups"]) for each in found["statements"]] == [["A", "B"], ["A", "B"]]
    assert [each["taken"] for each in found["statements"]] == [True, False]


def test_what_cannot_be_drafted_is_a_usage_error(votes: Path) -> None:
    result = collect(votes, "--min-votes", "7")

    assert isinstance(result.exception, InvalidInput)
    assert "no principle can be drafted" in str(result.exception)
    assert not votes.with_name("draft.yaml").exists()
