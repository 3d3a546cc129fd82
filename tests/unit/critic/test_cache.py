"""The judgement cache tells judgements apart and keeps them exactly."""

import pytest
from pydantic import ValidationError

from critic.cache import MemoryCache, judgement_key, packed, unpacked
from critic.readings import Reading
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


@pytest.mark.parametrize(
    "reading",
    [
        READING,
        Reading(None, None),
        Reading(0.0, 1.0, refused=True, note="neither label among 20 tokens"),
        Reading(None, 0.9, score=-0.3333333333333333, scale=(0.1, 0.2, 0.7)),
        Reading(0.6, None, text="B is kinder; \u201cA\u201d\nis not.", prompt_tokens=7, completion_tokens=80),
    ],
)
def test_a_reading_is_unpacked_exactly(reading: Reading):
    assert unpacked(packed(reading)) == reading


@pytest.mark.parametrize(
    "text", ["", "3", "{}", '{"p_first": 1.5, "label_mass": 1}', '{"p_first": 0.5, "label_mass": 1, "verdict": "A"}']
)
def test_what_is_no_reading_is_refused(text: str):
    with pytest.raises(ValidationError):
        unpacked(text)


def test_the_reading_that_came_first_is_kept():
    cache = MemoryCache()
    assert cache.put("k", READING) == READING
    assert cache.put("k", Reading(0.5, 1.0)) == READING


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
