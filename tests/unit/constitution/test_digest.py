"""Laws of the two hashes: what moves them and what does not."""

import io
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from constitution.digest import content_hash, principle_hash
from constitution.document import Constitution, load, parse

HARBOUR = load(Path(__file__).parent / "harbour.yaml")
DATA: dict[str, Any] = YAML(typ="safe").load((Path(__file__).parent / "harbour.yaml").read_text())


def as_yaml(data: Any) -> str:
    stream = io.StringIO()
    YAML(typ="safe").dump(data, stream)
    return stream.getvalue()


def changed(**fields: Any) -> Constitution:
    return Constitution.model_validate(HARBOUR.model_dump() | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "other"},
        {"title": "Other"},
        {"version": "9.9.9"},
        {"status": "draft"},
        {"summary": None},
        {"licence": None},
        {"language": "de"},
        {"cases": ()},
        {"scopes": {"sensitive": {"description": "x"}, "general": {"description": "y"}}},
    ],
)
def test_what_only_people_read_does_not_move_the_hash(fields: dict[str, Any]) -> None:
    assert content_hash(changed(**fields)) == content_hash(HARBOUR)


@pytest.mark.parametrize(
    "fields",
    [
        {"principles": HARBOUR.principles[:1]},
        {"principles": HARBOUR.principles[::-1]},
        {"propositions": HARBOUR.propositions[:2]},
        {"rules": ()},
        {"classes": ()},
        {"combine": {"tie_margin": 0.2}},
        {"scopes": {**HARBOUR.scopes, "new": {"description": "x"}}},
    ],
)
def test_what_can_change_a_label_moves_the_hash(fields: dict[str, Any]) -> None:
    assert content_hash(changed(**fields)) != content_hash(HARBOUR)


def test_a_default_written_out_is_the_same_text() -> None:
    assert content_hash(changed(few_shot=())) == content_hash(HARBOUR)
    assert content_hash(parse(as_yaml(DATA).replace("weight: 2.0", "weight: 2").encode(), "x")) == content_hash(HARBOUR)


def test_the_hash_is_pinned() -> None:
    assert content_hash(HARBOUR) == "sha256:41e08081a65661e7342bf01b652870fff69983648d4163609bea25e3cd80a909"


def test_a_principle_is_judged_again_when_its_wording_changes_and_not_when_its_weight_does() -> None:
    principle = HARBOUR.principles[0]

    assert principle_hash(principle.model_copy(update={"weight": 9.0, "veto": False, "id": "x"})) == principle_hash(
        principle
    )
    assert principle_hash(principle.model_copy(update={"text": "Other."})) != principle_hash(principle)
    assert principle_hash(principle.model_copy(update={"compare": None})) != principle_hash(principle)
