"""The prompts a recipe names."""

from pathlib import Path

import pytest

from api.prompts import digest, is_agora, prompts
from solon.errors import InvalidInput, NotFound


def test_agora_prompts_are_a_seeded_draw_without_repeats():
    drawn = prompts("builtin:agora/train", 50, seed=1)
    assert drawn == prompts("builtin:agora/train", 50, seed=1)
    assert drawn != prompts("builtin:agora/train", 50, seed=2)
    assert len({prompt.id for prompt in drawn}) == len(drawn) == 50
    assert {prompt.metadata["kind"] for prompt in drawn} > {"everyday", "harmful"}


def test_the_splits_share_no_prompt():
    train, held_out = (prompts(f"builtin:agora/{split}", None, seed=0) for split in ("train", "eval"))
    assert not {prompt.text for prompt in train} & {prompt.text for prompt in held_out}


def test_shares_of_prompts_have_none_in_common_and_begin_with_the_first(tmp_path: Path):
    shares = [prompts("builtin:agora/train", 30, seed=1, share=share) for share in range(3)]
    assert shares[0] == prompts("builtin:agora/train", 30, seed=1)
    assert len({prompt.id for share in shares for prompt in share}) == 90
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "one"}\n{"prompt": "two"}\n{"prompt": "three"}\n')
    assert [prompt.text for prompt in prompts(str(path), 2, seed=0, share=1)] == ["three"]


def test_a_file_gives_its_first_prompts(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "one"}\n{"prompt": "two"}\n{"prompt": "three"}\n')
    assert [prompt.text for prompt in prompts(str(path), 2, seed=0)] == ["one", "two"]
    assert not is_agora(str(path))


@pytest.mark.parametrize("name", ["builtin:agora/test", "builtin:elsewhere"])
def test_an_unknown_built_in_name_lists_the_known_ones(name: str):
    with pytest.raises(NotFound) as caught:
        prompts(name, 1, seed=0)
    assert "builtin:agora/train" in caught.value.remedy


def test_a_malformed_row_is_named(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "one"}\n{"prompt": 2}\n')
    with pytest.raises(InvalidInput) as caught:
        prompts(str(path), None, seed=0)
    assert caught.value.field == f"{path}:2: prompt"


def test_the_digest_follows_content_and_order():
    drawn = prompts("builtin:agora/eval", 5, seed=0)
    assert digest(drawn) == digest(list(drawn))
    assert digest(drawn) != digest(drawn[::-1])
