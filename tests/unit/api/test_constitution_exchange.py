"""`solon constitution import | render`: what a person sees."""

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from api.cli.constitution import app
from constitution.document import load
from solon.errors import Conflict, NotFound

SOURCE = json.dumps({"rude0": {"prompt": ["Say what is rude."], "edit_request": "Make it polite."}})


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_an_imported_draft_loads_and_the_notes_are_told(tmp_path: Path) -> None:
    source, out = tmp_path / "cai.json", tmp_path / "drafts" / "ours.yaml"
    source.write_text(SOURCE)

    result = run("import", str(source), "--out", str(out), "--id", "ours")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "No principle is stated in the source" in result.stderr
    assert load(out).id == "ours"


def test_without_a_place_the_draft_is_printed(tmp_path: Path) -> None:
    source = tmp_path / "cai.json"
    source.write_text(SOURCE)

    assert run("import", str(source)).stdout.startswith("format: constitution/v1\nid: cai\n")
    assert json.loads(run("import", str(source), "--json").stdout)["principles"] == 1


def test_a_draft_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    source, out = tmp_path / "cai.json", tmp_path / "ours.yaml"
    source.write_text(SOURCE)
    out.write_text("mine")

    assert isinstance(run("import", str(source), "--out", str(out)).exception, Conflict)
    assert out.read_text() == "mine"
    assert run("import", str(source), "--out", str(out), "--replace").exit_code == 0


def test_a_missing_file_is_a_usage_error() -> None:
    assert isinstance(run("import", "nowhere.json").exception, NotFound)


def test_render_chooses_the_form_by_the_ending(tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    assert run("render", "stories", "--out", str(page)).exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert run("render", "stories").stdout.startswith("# Gentle bedtime stories\n")
    assert run("render", "stories", "--format", "html").stdout.startswith("<!doctype html>")

    refused = run("render", "stories", "--out", str(tmp_path / "stories.pdf"))
    assert refused.exit_code != 0
    assert "cannot tell what stories.pdf is to be" in str(refused.exception)
