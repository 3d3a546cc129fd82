"""`solon pairs import|export|dedup|decontaminate|card` on files: what goes in comes out, or is listed with a reason."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api import cli
from solon.datasets import read_discards, read_manifest, read_pairs
from solon.errors import InvalidInput

HH = "\n\nHuman: {}\n\nAssistant: {}"
DATA = Path(__file__).parents[4] / "shared" / "data"


def solon(*arguments: object) -> dict[str, Any]:
    """What `solon pairs ... --json` prints."""
    found = CliRunner().invoke(cli.app, ["pairs", *map(str, arguments), "--json"])
    if found.exception is not None:
        raise found.exception
    return json.loads(found.stdout)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A dataset of five pairs, one of them a duplicate, read from transcripts of which one is malformed."""
    rows: list[Any] = [
        {"chosen": HH.format(f"Question {i}?", "Yes."), "rejected": HH.format(f"Question {i}?", "No.")}
        for i in range(4)
    ]
    rows += [rows[0], {"chosen": "Yes.", "rejected": "No."}]
    path = tmp_path / "hh.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "pairs.jsonl"
    summary = solon("import", path, "--format", "hh", "--out", out, "--licence", "MIT")
    assert (summary["pairs"], summary["discards"]) == (5, {"malformed_row": 1})
    assert summary["refused"][0].startswith("line 6: ")
    return out


def test_an_import_says_where_it_came_from(pairs: Path):
    manifest = read_manifest(pairs)
    assert manifest.about["imported_from"]["format"] == "hh"
    assert manifest.about["licence"] == "MIT"
    assert [each.detail[:8] for each in read_discards(pairs)] == ["line 6: "]


def test_a_strict_import_fails_at_the_first_malformed_row(pairs: Path, tmp_path: Path):
    with pytest.raises(InvalidInput, match="line 6"):
        solon("import", tmp_path / "hh.jsonl", "--format", "hh", "--out", tmp_path / "no.jsonl", "--strict")
    assert not (tmp_path / "no.jsonl").exists()


def test_a_file_in_another_format_is_refused_and_nothing_is_written(pairs: Path, tmp_path: Path):
    with pytest.raises(InvalidInput, match="line 1"):
        solon("import", tmp_path / "hh.jsonl", "--format", "sharegpt", "--out", tmp_path / "no.jsonl")
    assert not (tmp_path / "no.jsonl").exists()


def test_what_is_removed_is_kept_beside_with_its_reason(pairs: Path, tmp_path: Path):
    found = solon("dedup", pairs, "--out", tmp_path / "once.jsonl")
    assert (found["pairs"], found["kept"], found["removed"]) == (5, 4, {"duplicate": 1})
    discards = list(read_discards(tmp_path / "once.jsonl"))
    assert [each.reason for each in discards] == ["duplicate", "malformed_row"]
    assert discards[0].pair == list(read_pairs(pairs))[4]
    again = solon("dedup", tmp_path / "once.jsonl", "--out", tmp_path / "twice.jsonl")
    assert again["removed"] == {}
    assert (tmp_path / "once.jsonl").read_bytes() == (tmp_path / "twice.jsonl").read_bytes()


def test_pairs_with_evaluation_prompts_are_taken_out(pairs: Path, tmp_path: Path):
    rows = tmp_path / "eval.jsonl"
    rows.write_text('{"id": "q2", "prompt": "question 2"}\n{"id": "q9", "prompt": "question 9"}\n')
    found = solon("decontaminate", pairs, "--against", rows, "--out", tmp_path / "clean.parquet")
    assert found["removed"] == {"evaluation_prompt": 1}
    assert "Question 2?" not in [pair.prompt.text for pair in read_pairs(tmp_path / "clean.parquet")]
    (taken,) = [each for each in read_discards(tmp_path / "clean.parquet") if each.reason == "evaluation_prompt"]
    assert taken.detail == "eval.jsonl: q2"
    assert read_manifest(tmp_path / "clean.parquet").about["decontaminated"]["prompts"] == 2


def test_the_card_says_what_there_is_and_is_the_same_again(pairs: Path):
    path = Path(solon("card", pairs)["card"])
    card = path.read_text()
    assert 'license: "MIT"' in card
    assert "| `malformed_row` | 1 |" in card
    assert "| status `ok` | 5 |" in card
    assert "No judge of Solon" in card
    assert solon("card", pairs)["card"] == str(path)
    assert path.read_text() == card


def test_a_dataset_is_not_overwritten_by_its_own_care(pairs: Path):
    with pytest.raises(InvalidInput, match="the input itself"):
        solon("dedup", pairs, "--out", pairs)


@pytest.mark.skipif(not DATA.exists(), reason="the folder of shared data is absent")
def test_real_conversations_survive_every_format(tmp_path: Path):
    rows = [json.loads(line) for line in (DATA / "pref" / "hh_val.jsonl").read_text().splitlines()][:60]
    lines = [{"prompt": row["messages"], "chosen": row["chosen"], "rejected": row["rejected"]} for row in rows]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    known = solon("import", tmp_path / "in.jsonl", "--format", "trl_preference", "--out", tmp_path / "pairs.jsonl")
    texts = [
        (pair.prompt.messages, pair.chosen_text, pair.rejected_text) for pair in read_pairs(tmp_path / "pairs.jsonl")
    ]
    assert len(texts) + sum(known["discards"].values()) == 60
    for form in ("trl_preference", "trl_unpaired", "openai_preference", "sharegpt", "annotated_pairs"):
        solon("export", tmp_path / "pairs.jsonl", "--format", form, "--out", tmp_path / "out.json")
        solon("import", tmp_path / "out.json", "--format", form, "--out", tmp_path / "back.jsonl")
        back = [
            (pair.prompt.messages, pair.chosen_text, pair.rejected_text) for pair in read_pairs(tmp_path / "back.jsonl")
        ]
        assert back == texts
