"""The store of preferences, on both databases: versions, filters, verdicts, and writers at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api.store.answers import AnswerStore
from api.store.database import open_database
from api.store.preference_filter import Filter
from api.store.preferences import PreferenceStore, Stored
from api.store.reviews import ReviewStore
from critic.exchange.given import label
from solon.errors import StillRunning
from solon.records import Completion, Discard, Message, PreferencePair, Prompt, Provenance
from tests.integration.postgres import DATABASES, new_database

MADE = Provenance(constitution="civic", constitution_version="1.0.0", constitution_hash="h", judge={"name": "j"})
HERE: Any = {"project": "default"}


def pair(number: int, p_a: float = 0.9, **metadata: object) -> PreferencePair:
    prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content=f"Q{number}?"),), metadata=metadata)
    sides = {"a": Completion(text=f"good {number}\0"), "b": Completion(text="bad")}
    return PreferencePair.model_validate(
        {"id": f"pref_{number:026d}", "prompt": prompt, "provenance": MADE, **sides, **label(p_a)}
    )


@pytest.mark.parametrize("database", DATABASES)
def test_the_store_keeps_versions_counts_verdicts_and_takes_many_writers(database: str, tmp_path: Path):
    engine = open_database(new_database(database, tmp_path))
    store, reviews = PreferenceStore(engine), ReviewStore(engine)
    items = [pair(n, team="red", odd=bool(n % 2)) for n in range(40)]
    discard = Discard(prompt_id="x\0", reason="identical_completions", detail="\0")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: store.add([*items, discard], source="request", **HERE), range(4)))
    assert (sum(each.new for each in done), sum(each.changed for each in done)) == (40, 0)
    assert store.add([pair(0, 0.2)], source="request", **HERE) == Stored(changed=1)
    assert [store.get(items[0].id, version=v, **HERE).chosen for v in (1, 2)] == ["a", "b"]
    assert store.count(Filter(metadata={"odd": "true", "team": "red"}), **HERE) == 20
    assert store.count(Filter(min_margin=0.7, status=["ok"]), **HERE) == 39
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: reviews.add(items[1].id, "b", reviewer=f"r{n}", **HERE), range(8)))
    people = store.get(items[1].id, **HERE).people
    assert (people.reviews, people.b, people.agrees) == (8, 8, False)
    assert [each.id for each in store.each(Filter(disputed=True), **HERE)] == [items[1].id]
    assert store.count(Filter(), project="other") == 0
    assert [each.status for each in store.history(store.get(items[0].id, **HERE).comparison, **HERE)] == ["ok", "ok"]
    engine.dispose()


@pytest.mark.parametrize("database", DATABASES)
def test_of_many_requests_with_one_key_one_makes_the_answer(database: str, tmp_path: Path):
    engine = open_database(new_database(database, tmp_path))
    answers = AnswerStore(engine)

    def claim(_: int) -> bool:
        try:
            return answers.claim("default", "key", "hash") is None
        except StillRunning:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(claim, range(12))) == 1
    engine.dispose()
