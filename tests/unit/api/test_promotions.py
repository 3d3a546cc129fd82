"""The record of what was promoted."""

from pathlib import Path

import pytest

from api.promotions import Promotion, Promotions
from solon.errors import InvalidInput


def promotion(digest: str, name: str = "starter", project: str = "default") -> Promotion:
    return Promotion(name=name, snapshot=f"of-{digest}", path="/models/x", digest=digest, by="a test", project=project)


def test_the_latest_promotion_of_a_name_and_project_is_in_force(tmp_path: Path):
    promotions = Promotions(tmp_path / "promotions.jsonl")
    assert promotions.current("starter") is None
    for each in (promotion("one"), promotion("two"), promotion("three", "other"), promotion("four", project="b")):
        promotions.add(each)
    current = Promotions(tmp_path / "promotions.jsonl").current("starter")
    assert current is not None
    assert current.digest == "two"
    assert [each.digest for each in promotions.history()] == ["one", "two", "three"]
    assert [each.digest for each in promotions.history(project="b")] == ["four"]


def test_promoting_what_is_in_force_changes_nothing(tmp_path: Path):
    promotions = Promotions(tmp_path / "promotions.jsonl")
    promotions.add(promotion("one"))
    promotions.add(promotion("one"))
    assert len(promotions.history()) == 1


def test_a_line_that_a_crash_cut_short_is_skipped_and_a_foreign_one_is_named(tmp_path: Path):
    path = tmp_path / "promotions.jsonl"
    promotions = Promotions(path)
    promotions.add(promotion("one"))
    with path.open("a") as file:
        file.write('{"name": "sta')
    promotions.add(promotion("two"))
    assert [each.digest for each in promotions.history()] == ["one", "two"]
    with path.open("a") as file:
        file.write('{"name": "starter"}\n')
    with pytest.raises(InvalidInput, match="no promotion"):
        promotions.history()
