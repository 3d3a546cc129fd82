"""Which family a registered model is of."""

import pytest

from solon.families import Kin, family_of
from solon.settings import ModelEntry, Settings


def entry(**fields: object) -> ModelEntry:
    return ModelEntry.model_validate({"kind": "judge", "engine": "openai", "endpoint": "http://x/v1"} | fields)


@pytest.mark.parametrize(
    ("name", "fields", "family"),
    [
        ("j", {"model": "Qwen/Qwen3-32B"}, "qwen"),
        ("j", {"model": "meta-llama/Llama-3.3-70B-Instruct"}, "llama"),
        ("j", {"model": "openai/gpt-oss-120b"}, "gpt"),
        ("mixtral-judge", {}, "mistral"),
        ("j", {"model": "Qwen/Qwen3-32B", "family": "House"}, "house"),
        ("philosopher", {}, None),
        ("j", {}, None),
    ],
)
def test_a_family_is_named_or_known_from_a_name(name: str, fields: dict[str, object], family: str | None):
    assert family_of(name, entry(**fields)) == family


MODELS = {
    "a": entry(model="Qwen/x"),
    "b": entry(model="qwen2"),
    "c": entry(),
    "d": entry(),
    "e": entry(family="House", model="org/tuned"),
    "f": entry(family="house", model="qwen3-tuned"),
    "panel": ModelEntry(kind="judge", engine="jury", members={"a": 1.0, "e": 2.0}),
}


@pytest.mark.parametrize(
    ("judge", "kin", "strangers"),
    [
        ("a", {"a", "b", "Qwen/x", "Qwen/Qwen3-32B", "QwQ-32B"}, {"c", "e", "f", "qwen3-tuned", "llama-3", "x", None}),
        ("c", {"c"}, {"a", "d", "x"}),
        ("e", {"e", "f", "org/tuned", "qwen3-tuned", "other/house-7b"}, {"a", "warehouse-7b", "x"}),
        ("panel", {"a", "b", "e", "f", "panel", "Qwen/Qwen3-32B"}, {"c", "llama-3"}),
    ],
)
def test_kin_are_the_models_of_the_same_family_and_unknown_ones_are_nobodys(
    judge: str, kin: set[str], strangers: set[str | None]
):
    found = Kin(judge, MODELS)
    assert {each for each in kin | strangers if each in found} == kin


def test_kin_are_called_by_their_families_or_by_the_judge():
    assert [str(Kin(each, MODELS)) for each in ("a", "c", "panel")] == ["qwen", "c", "house, qwen"]
    starters = ("starter", "starter-critic", "starter-judge", "starter-marker", "org/starter-1b")
    assert all(each in Kin("starter-judge", Settings.load(environment={}).models) for each in starters)
