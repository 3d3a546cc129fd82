"""No command writes over a file that it was given to read."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import app
from solon.errors import InvalidInput
from solon.formats import check_apart

ROW = b'{"prompt": "Hi", "completions": ["a good day", "a bad day"], "propositions": {}}\n'
JUDGED = ("--constitution", "civic", "--judge", "starter-judge")


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that a person has, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.jsonl"
    path.write_bytes(ROW)
    return path


@pytest.mark.parametrize(
    "command",
    [
        ("label", "given.jsonl", *JUDGED, "--out", "given.jsonl"),
        ("label", "given.jsonl", *JUDGED, "--relabel", "--out", "given.jsonl"),
        ("label", "given.jsonl", *JUDGED, "--server", "http://127.0.0.1:9", "--out", "given.jsonl"),
        ("critique", "given.jsonl", *JUDGED, "--policy", "starter", "--out", "given.jsonl"),
        ("rank", "given.jsonl", *JUDGED, "--out", "./given.jsonl"),
        ("rules", "score", "stories", "given.jsonl", "--out", "given.jsonl"),
        ("rules", "score", "stories", "other.jsonl", "--weights", "given.jsonl", "--out", "given.jsonl"),
        ("rules", "fit", "stories", "given.jsonl", "--out", "given.jsonl"),
        ("constitution", "classify", "stories", "given.jsonl", "--out", "given.jsonl"),
        ("constitution", "collect", "given.jsonl", "--out", "given.jsonl"),
        ("constitution", "infer", "given.jsonl", "--judge", "starter-judge", "--out", "given.jsonl"),
        ("pairs", "import", "given.jsonl", "--format", "trl_preference", "--out", "given.jsonl"),
        ("pairs", "export", "given.jsonl", "--format", "trl_preference", "--out", "given.jsonl"),
        ("pairs", "dedup", "given.jsonl", "--out", "given.jsonl"),
        ("pairs", "decontaminate", "other.jsonl", "--against", "given.jsonl", "--out", "given.jsonl"),
        ("pairs", "reweight", "given.jsonl", "--constitution", "civic", "--out", "given.jsonl"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_the_input_is_refused_as_output_and_stays_as_it_was(given: Path, command: tuple[str, ...]):
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, InvalidInput), result.exception
    assert (result.exception.field, result.exception.remedy) == ("--out", "write to another file")
    assert given.read_bytes() == ROW


@pytest.mark.parametrize("name", ["given.jsonl", "link.jsonl", "given.parquet"])
def test_links_and_files_that_stand_beside_the_output_count_too(given: Path, name: str):
    (given.parent / "link.jsonl").symlink_to(given)
    taken = given.rename(given.with_name("given.texts.jsonl")) if name == "given.parquet" else given
    with pytest.raises(InvalidInput, match="the input itself"):
        check_apart(Path(name), taken, beside=("texts.jsonl",))
    check_apart(Path("new.jsonl"), taken, None, "civic", beside=("texts.jsonl",))
