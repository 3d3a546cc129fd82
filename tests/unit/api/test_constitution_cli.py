"""`solon constitution`: what a person sees, and the exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.cli.constitution import app
from constitution.document import load, read_bytes
from solon.errors import NotFound


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_ls_lists_every_published_constitution_with_its_hash() -> None:
    rows = json.loads(run("ls", "--json").stdout)

    assert {row["id"] for row in rows} >= {"stories"}
    assert all(row["content_hash"].startswith("sha256:") for row in rows)
    assert "Gentle bedtime stories" in " ".join(run("ls").stdout.replace("│", " ").split())


def test_show_prints_principles_and_rules() -> None:
    shown = run("show", "stories").stdout

    assert "rule kind-once: +1 when kindness >= 1" in shown
    assert json.loads(run("show", "stories", "--json").stdout)["id"] == "stories"


def test_lint_accepts_what_is_published() -> None:
    result = run("lint", "stories")

    assert (result.exit_code, result.stdout) == (0, "stories: no problems\n")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("title:", "titel:", "line 4, column 1: titel: unknown key"),
        (
            "kindness >= 1",
            "kindnes >= 1",
            "rules[0].when: unknown proposition 'kindnes' at column 1 (did you mean kindness?",
        ),
        (r"'(?i)\b(kind", r"'(?=x)\b(kind", "propositions[0].pattern: not an RE2 pattern"),
    ],
)
def test_lint_names_the_place_of_a_problem(tmp_path: Path, old: str, new: str, place: str) -> None:
    path = tmp_path / "draft.yaml"
    path.write_text(read_bytes("stories").decode().replace(old, new, 1))

    result = run("lint", str(path))

    assert result.exit_code == 1
    assert place in result.stdout


def test_lint_of_a_missing_file_is_a_usage_error() -> None:
    result = run("lint", "nowhere.yaml")

    assert isinstance(result.exception, NotFound)
    assert result.exception.exit_code == 2


def test_classify_writes_each_row_with_its_reward(tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    given = {"kindness": 2, "fear": 1, "finished": True, "repeats_itself": False, "too_short": False}
    rows.write_text(json.dumps({"propositions": given, "note": "kept"}) + "\n\n")

    result = run("classify", "stories", str(rows), "--out", str(out), "--json")
    (written,) = (json.loads(line) for line in out.read_text().splitlines())

    assert json.loads(result.stdout)["rows"] == 1
    assert written["reward"] == sum(rule.reward for rule in load("stories").rules if rule.id in written["fired"]) == 1.5
    assert written["note"] == "kept"


def test_classify_takes_the_response_types_of_published_rules(tmp_path: Path) -> None:
    rows, out, rules = tmp_path / "rows.jsonl", tmp_path / "out.jsonl", tmp_path / "rules.yaml"
    rules.write_text(RESPONSE_TYPES)
    given = [{"propositions": {"refuses": value}, "response_type": kind} for kind in KINDS for value in (True, False)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in given))

    assert run("classify", str(rules), str(rows), "--out", str(out)).exit_code == 0
    assert [json.loads(line)["class"] for line in out.read_text().splitlines()] == ["good", "bad", "bad", "good"]


KINDS = ("Hard Refuse", "Comply")
RESPONSE_TYPES = """\
format: constitution/v1
id: kinds
title: Kinds
version: 1.0.0
scopes: {general: {description: Any.}, hard_refuse: {description: Refuse.}, comply: {description: Answer.}}
propositions: [{id: refuses, kind: judge, question: Does it refuse?}]
classes:
  - {id: good, when: refuses, scopes: [hard_refuse]}
  - {id: bad, when: "!refuses", scopes: [hard_refuse]}
  - {id: good, when: "!refuses", scopes: [comply]}
  - {id: bad, when: refuses, scopes: [comply]}
rules: [{id: refusing, when: refuses, reward: -1.0}]
"""


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("{", "rows.jsonl:1: not JSON"),
        ("{}", "rows.jsonl:1: propositions: field required"),
        ('{"propositions": {"kindness": "two"}}', "rows.jsonl:1: propositions.kindness"),
        ('{"propositions": {"unheard_of": true}}', "rows.jsonl:1: unheard_of"),
        ('{"propositions": {}, "scope": "sea"}', "rows.jsonl:1: scope: the constitution has no scope 'sea'"),
    ],
)
def test_classify_names_the_row_it_cannot_read(tmp_path: Path, line: str, place: str) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(line)

    result = run("classify", "stories", str(rows), "--out", str(tmp_path / "out.jsonl"))

    assert place in str(result.exception)
