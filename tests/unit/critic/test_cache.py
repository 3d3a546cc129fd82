"""The judgement cache survives crashes and tells judgements apart."""

from pathlib import Path

import pytest

from critic.cache import FileCache, judgement_key
from critic.readings import Reading
from solon.errors import InvalidInput
from solon.records import Message

READING = Reading(0.123456789012345, 0.99, prompt_tokens=3, completion_tokens=1)


def key(text: str = "A or B?", **changes: object) -> str:
    parts: dict[str, object] = {
        "model": "m",
        "revision": "r",
        "sampling": {"temperature": 0.0},
        "labels": ("A", "B"),
        "messages": [Message(role="user", content=text)],
    }
    return judgement_key(**(parts | changes))  # type: ignore[arg-type]


def test_a_reading_is_found_again_exactly(tmp_path: Path):
    with FileCache(tmp_path / "cache" / "judgements.jsonl") as cache:
        cache.put("k", READING)
    with FileCache(tmp_path / "cache" / "judgements.jsonl") as again:
        assert again.get("k") == READING
        assert again.get("other") is None


def test_a_torn_last_line_is_skipped_and_the_next_one_is_whole(tmp_path: Path):
    path = tmp_path / "judgements.jsonl"
    with FileCache(path) as cache:
        cache.put("k1", READING)
        cache.put("k2", READING)
    path.write_bytes(path.read_bytes()[:-20])
    with FileCache(path) as torn:
        assert (torn.get("k1"), torn.get("k2")) == (READING, None)
        torn.put("k3", READING)
    with FileCache(path) as again:
        assert (again.get("k1"), again.get("k3")) == (READING, READING)


def test_two_writers_share_a_file(tmp_path: Path):
    path = tmp_path / "judgements.jsonl"
    with FileCache(path) as one, FileCache(path) as other:
        for i in range(50):
            one.put(f"one{i}", READING)
            other.put(f"other{i}", READING)
    with FileCache(path) as again:
        assert len(again) == 100


def test_everything_that_decides_a_judgement_is_in_its_key():
    others = [
        key("B or A?"),
        key(model="m2"),
        key(revision=None),
        key(sampling={"temperature": 1.0}),
        key(labels=("Yes", "No")),
        key(messages=[Message(role="system", content="A or B?")]),
    ]
    assert key() == key()
    assert len({key(), *others}) == 1 + len(others)


def test_a_cache_that_cannot_be_opened_says_so(tmp_path: Path):
    with pytest.raises(InvalidInput, match="judgement cache"):
        FileCache(tmp_path)
