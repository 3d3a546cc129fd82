"""Which family a registered model is of."""

import pytest

from solon.families import family_of, kin_of
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


def test_kin_are_the_models_of_the_same_family_and_unknown_ones_are_nobodys():
    models = {"a": entry(model="Qwen/x"), "b": entry(model="qwen2"), "c": entry(), "d": entry()}
    assert kin_of("a", models) == {"a", "b"}
    assert kin_of("c", models) == {"c"}
    assert kin_of("starter-judge", Settings.load(environment={}).models) == {
        "starter",
        "starter-critic",
        "starter-judge",
        "starter-marker",
    }
