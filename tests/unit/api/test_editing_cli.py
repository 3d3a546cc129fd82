"""`solon constitution draft | publish | diff | label ...`: the same rules as over REST, in the same store."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api.cli import app
from solon.errors import Conflict, NotFound, PreconditionFailed, PreconditionRequired
from tests.unit.constitution.stores import HARBOUR

PATCH = '{"principles": {"kind": {"weight": 2}}}'


@pytest.fixture(params=["git", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a text and settings that choose the store."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harbour.yaml").write_bytes(HARBOUR)
    (tmp_path / "solon.yaml").write_text("constitutions: store\n" if request.param == "git" else "{}\n")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["constitution", *arguments])


def ran(*arguments: str) -> list[dict[str, Any]]:
    """The JSON lines of a command that succeeds."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.exception
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_draft_is_written_patched_published_labelled_and_shown(place: Path):
    (made,) = ran("draft", "save", "harbour", "work", "harbour.yaml", "--new", "--author", "Ada", "-m", "Begin")
    patched = run("draft", "patch", "harbour", "work", PATCH, "--if-match", made["etag"])
    assert "-    weight: 1.0\n+    weight: 2" in patched.stdout
    assert ran("draft", "ls")[0]["etag"] in patched.stdout
    assert "weight: 2" in run("draft", "show", "harbour", "work").stdout
    assert run("draft", "check", "harbour", "work").exit_code == 0
    (version,) = ran("publish", "harbour", "work", "--if-match", "*", "-m", "The first.", "--author", "Ada")
    (label,) = ran("label", "harbour", "production", "1.0.0", "--new")
    assert (version["version"], label["version"]) == ("1.0.0", "1.0.0")
    assert ran("show", "harbour@production")[0]["principles"][0]["weight"] == 2.0
    assert ran("labels", "harbour") == [label]
    assert [(event["action"], event["message"]) for event in ran("history", "harbour")] == [
        ("label_moved", "Move production to 1.0.0"),
        ("published", "The first."),
        ("draft_saved", "Patch the draft"),
        ("draft_saved", "Begin"),
    ]
    assert ran("versions", "harbour")[0]["message"] == "The first."
    assert "The first." in run("versions", "harbour").stdout
    assert "harbour" in run("ls").stdout


def test_differences_between_files_versions_and_drafts(place: Path):
    run("draft", "save", "harbour", "work", "harbour.yaml", "--new")
    run("draft", "patch", "harbour", "work", PATCH, "--if-match", "*")
    said = run("diff", "harbour.yaml", "harbour@draft:work").stdout
    assert said.startswith("~ principle kind: weight reweighted: 1.0 -> 2.0\n")
    assert "labels may change; principles to judge again: none" in said
    assert "-    weight: 1.0\n+    weight: 2" in said
    (found,) = ran("diff", "civic", "civic")
    assert (found["text"], found["difference"]["changes"]) == ("", [])
    (place / "harbour.yaml").write_text("format: [")
    assert "not a valid constitution" in run("diff", "harbour.yaml", "harbour@draft:work").stdout


def test_a_change_names_what_it_was_made_from(place: Path):
    run("draft", "save", "harbour", "work", "harbour.yaml", "--new")
    for command in (
        ("draft", "save", "harbour", "work", "harbour.yaml"),
        ("draft", "patch", "harbour", "work", PATCH),
        ("draft", "rm", "harbour", "work"),
        ("publish", "harbour", "work", "-m", "m"),
        ("label", "harbour", "production", "1.0.0"),
    ):
        result = run(*command)
        assert isinstance(result.exception, PreconditionRequired), command
        assert result.exception.exit_code == 2
    for command in (
        ("draft", "save", "harbour", "work", "harbour.yaml", "--new"),
        ("draft", "patch", "harbour", "work", PATCH, "--if-match", "0" * 64),
        ("draft", "rm", "harbour", "work", "--if-match", "0" * 64),
        ("publish", "harbour", "work", "-m", "m", "--if-match", "0" * 64),
    ):
        assert isinstance(run(*command).exception, PreconditionFailed), command


def test_a_wrong_draft_is_explained_and_a_version_is_published_once(place: Path):
    (place / "harbour.yaml").write_bytes(HARBOUR.replace(b"text:", b"txt:"))
    run("draft", "save", "harbour", "work", "harbour.yaml", "--new")
    checked = run("draft", "check", "harbour", "work")
    assert (checked.exit_code, "principles[0].txt" in checked.stdout) == (1, True)
    run("draft", "rm", "harbour", "work", "--if-match", "*")
    run("draft", "save", "civic", "work", "civic", "--new")
    assert isinstance(run("publish", "civic", "work", "--if-match", "*", "-m", "m").exception, Conflict)


def test_reading_makes_no_store(place: Path):
    assert run("show", "civic").exit_code == 0
    assert ran("history", "civic") == []
    assert isinstance(run("show", "civic@production").exception, NotFound)
    assert sorted(path.name for path in place.iterdir()) == ["harbour.yaml", "solon.yaml"]


@pytest.mark.parametrize("command", [("history",), ("labels",), ("versions",), ("draft", "ls")])
def test_an_unknown_constitution_is_no_empty_list(place: Path, command: tuple[str, ...]):
    assert isinstance(run(*command, "nowhere").exception, NotFound)
