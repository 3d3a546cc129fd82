"""Datasets: written whole or not at all, byte for byte the same, and read back as they were."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from solon.datasets import PairWriter, read_discards, read_manifest, read_pairs, write_pairs
from solon.errors import InvalidInput, NotFound
from solon.records import Completion, Discard, Message, PreferencePair, Prompt, Provenance, Status, Verdict, Vote

ACCOUNT = {"judge_calls": 2, "cache_hits": 1, "prompt_tokens": 40}
LOST = Discard(prompt_id="p9", reason="empty_completion", detail="completion 2")


def pair(number: int = 1, status: Status = Status.OK, *, cache_hit: bool = False, **account: Any) -> PreferencePair:
    vote = Vote(principle="kind", order="ab", status=Status.OK, p_first=0.1 + 0.2, label_mass=0.99, cache_hit=cache_hit)
    decided = status is Status.OK
    return PreferencePair(
        id=f"pref_{number}",
        status=status,
        prompt=Prompt(
            id=f"p{number}", messages=(Message(role="user", content="Brötchen?\u2028"),), metadata={"b": 1, "a": 2}
        ),
        a=Completion(text="ja"),
        b=Completion(text="nein", finish_reason="stop", model="starter", seed=3),
        p_a=0.3 if decided else None,
        chosen="b" if decided else None,
        p_chosen=0.7 if decided else None,
        margin=0.4 if decided else None,
        verdicts=(Verdict(principle="kind", status=Status.OK, p_a=0.3, consistent=True, votes=(vote,)),),
        flags=("injection_suspected",),
        provenance=Provenance(
            constitution="civic",
            constitution_version="1.0.0",
            constitution_hash="sha256:c",
            principle_hashes={"kind": "sha256:k"},
            template_hash="t",
            judge={"name": "starter-judge", "model": "starter-judge", "revision": None, "server": None},
            policy="starter",
            sampling={"judge": {"temperature": 0.0}},
            seed=7,
            **account,
        ),
        extra={"domain": "helpful"},
    )


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.parquet"])
def test_pairs_are_read_as_they_were_written(tmp_path: Path, name: str):
    path = tmp_path / "new" / name
    items = [pair(1), LOST, pair(2, Status.TRUNCATED)]
    write_pairs(path, items)
    assert list(read_pairs(path)) == [items[0], items[2]]
    assert list(read_discards(path)) == [LOST]


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.parquet"])
def test_the_same_labels_are_the_same_bytes_whatever_the_run_cost(tmp_path: Path, name: str):
    for folder, made in (("one", pair(1)), ("two", pair(1, cache_hit=True, judge_calls=0, cache_hits=8))):
        write_pairs(tmp_path / folder / name, [made, LOST], about={"job": "j"})
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted([name, "labels.discards.jsonl", "labels.manifest.json"])
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_manifest_says_what_the_dataset_is_made_of(tmp_path: Path):
    path = tmp_path / "labels.jsonl"
    manifest = write_pairs(path, [pair(1), pair(2), pair(3, Status.TIMEOUT), LOST], about={"job": "demo"})
    assert manifest == read_manifest(path)
    assert manifest.statuses == {"ok": 2, "timeout": 1}
    assert manifest.discards == {"empty_completion": 1}
    assert manifest.flags == {"injection_suspected": 3}
    assert manifest.constitutions == ({"id": "civic", "version": "1.0.0", "hash": "sha256:c"},)
    assert manifest.judges[0]["name"] == "starter-judge"
    assert (manifest.rows, manifest.seeds, manifest.policies) == (3, (7,), ("starter",))
    assert manifest.about == {"job": "demo"}


def test_the_manifest_format_is_pinned(tmp_path: Path):
    write_pairs(tmp_path / "labels.jsonl", [pair(1), LOST])
    written = json.loads((tmp_path / "labels.manifest.json").read_text())
    written["solon_version"] = "VERSION"
    golden = Path(__file__).parents[2] / "golden" / "manifest.json"
    assert written == json.loads(golden.read_text())


def test_data_that_were_changed_afterwards_are_noticed(tmp_path: Path):
    path = tmp_path / "labels.jsonl"
    write_pairs(path, [pair(1)])
    path.write_text(path.read_text().replace("ja", "JA"))
    with pytest.raises(InvalidInput, match="not the one its manifest describes"):
        read_manifest(path)
    assert read_manifest(path, verify=False).rows == 1


def test_a_dataset_appears_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "labels.jsonl"
    write_pairs(path, [pair(1), LOST])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def dying_judge() -> Iterator[PreferencePair]:
        yield pair(2)
        raise RuntimeError("the judge died")

    with pytest.raises(RuntimeError):
        write_pairs(path, dying_judge())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_discards_of_an_earlier_dataset_do_not_linger(tmp_path: Path):
    path = tmp_path / "labels.jsonl"
    write_pairs(path, [pair(1), LOST])
    write_pairs(path, [pair(1)])
    assert list(read_discards(path)) == []


def test_many_pairs_fill_several_row_groups(tmp_path: Path):
    path = tmp_path / "many.parquet"
    write_pairs(path, (pair(i) for i in range(2500)))
    assert [each.id for each in read_pairs(path)] == [f"pref_{i}" for i in range(2500)]


def test_counts_are_known_while_writing(tmp_path: Path):
    with PairWriter(tmp_path / "labels.jsonl") as writer:
        for item in (pair(1), pair(2, Status.TIE), LOST):
            writer.write(item)
        assert writer.counts == {"ok": 1, "tie": 1}
        assert writer.discards == {"empty_completion": 1}


def test_what_is_no_dataset_is_named(tmp_path: Path):
    with pytest.raises(NotFound):
        list(read_pairs(tmp_path / "none.jsonl"))
    with pytest.raises(NotFound):
        list(read_pairs(tmp_path / "none.parquet"))
    with pytest.raises(NotFound):
        read_manifest(tmp_path / "none.jsonl")
    for name in ("bad.jsonl", "bad.parquet"):
        (tmp_path / name).write_text('{"id": "x"}\n')
        with pytest.raises(InvalidInput, match="bad"):
            list(read_pairs(tmp_path / name))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot write"):
        write_pairs(tmp_path / "file" / "labels.jsonl", [])
    with pytest.raises(InvalidInput, match="is a folder"):
        write_pairs(tmp_path, [])
