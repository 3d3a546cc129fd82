"""The JSON Schema that editors use says what the loader says, as far as a JSON Schema can."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from constitution.document import Constitution, published, read_bytes
from constitution.json_schema import PUBLISHED_AT, as_text, json_schema
from tests.unit.constitution.constitutions import constitutions

VALIDATOR = Draft202012Validator(json_schema())
MALFORMED = Path(__file__).parent / "malformed"


def data(raw: bytes) -> Any:
    return YAML(typ="safe", pure=True).load(raw.decode())


def test_the_published_schema_is_the_one_that_the_code_has() -> None:
    assert PUBLISHED_AT.read_text() == as_text(), (
        "solon constitution schema --out constitution/constitution.schema.json"
    )


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("name", published())
def test_it_accepts_every_published_constitution(name: str) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(data(read_bytes(name)))] == []


@settings(max_examples=15)
@given(constitutions())
def test_it_accepts_what_the_loader_accepts(constitution: Constitution) -> None:
    VALIDATOR.validate(constitution.model_dump(mode="json", exclude_defaults=True))


@pytest.mark.parametrize(
    "name",
    [
        *("unknown-key", "unknown-key-in-principle", "unknown-key-in-proposition", "unknown-key-in-combine"),
        *("missing-title", "missing-text", "missing-kind", "wrong-format", "float-version", "version-two-numbers"),
        *("path-like-id", "proposition-id-hyphen", "tag-with-space", "title-number", "text-too-long", "veto-number"),
        *("weight-zero", "status-unknown", "tie-margin-one", "kind-unknown", "operator-unknown", "rule-too-long"),
        *("example-incomplete", "principle-a-word", "tags-not-a-list"),
    ],
)
def test_it_refuses_what_the_loader_refuses_for_its_shape(name: str) -> None:
    assert not VALIDATOR.is_valid(data((MALFORMED / f"{name}.yaml").read_bytes()))


def test_a_derived_file_may_hold_fragments_and_a_plain_one_may_not() -> None:
    head = {"format": "constitution/v1", "id": "x", "title": "X", "version": "1.0.0"}
    fragment = {"principles": [{"id": "honest", "weight": 2.0, "compare": None}]}

    assert VALIDATOR.is_valid(head | fragment | {"derived_from": {"constitution": "civic@1.0.0"}})
    assert not VALIDATOR.is_valid(head | fragment)
    assert not VALIDATOR.is_valid(
        head | {"derived_from": {"constitution": "civic@1.0.0"}, "principles": [{"id": "honest", "wieght": 2.0}]}
    )


@pytest.mark.parametrize(
    "field", ["combine: {tie_margin: null}", "scopes: {sensitive: null}", "scopes: {new: {description: x}}"]
)
def test_null_takes_a_key_away_from_a_derived_file_only(field: str) -> None:
    plain = b"format: constitution/v1\nid: x\ntitle: X\nversion: 1.0.0\n"
    derived = plain + b"derived_from: {constitution: civic@1.0.0}\n"

    assert VALIDATOR.is_valid(data(derived + field.encode()))
    assert VALIDATOR.is_valid(data(plain + field.encode())) == ("null" not in field)
