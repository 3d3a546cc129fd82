"""Laws of the document: what is written reads back, and the hash follows the meaning."""

import io
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from constitution.digest import content_hash
from constitution.document import Constitution, parse
from constitution.writing import dump
from tests.unit.constitution.constitutions import constitutions


@settings(max_examples=60)
@given(constitutions())
def test_what_is_dumped_loads_as_the_same_constitution(constitution: Constitution) -> None:
    assert parse(dump(constitution).encode(), "dumped") == constitution


@settings(max_examples=25)
@given(constitutions())
def test_dumping_what_was_loaded_writes_the_same_text(constitution: Constitution) -> None:
    text = dump(constitution)

    assert dump(parse(text.encode(), "dumped")) == text


def shuffled(value: Any, comment: str, draw: Any) -> Any:
    """The same data with the keys of every mapping in another order, and a comment above each."""
    if isinstance(value, list):
        return [shuffled(part, comment, draw) for part in value]
    if not isinstance(value, dict):
        return value
    mapping = CommentedMap()
    for key in draw(st.permutations(list(value))):
        mapping[key] = shuffled(value[key], comment, draw)
        mapping.yaml_set_comment_before_after_key(key, before=comment)
    return mapping


@settings(max_examples=25)
@given(constitutions(), st.data(), st.text("abc :-#'{[&*!", max_size=20).map("x{}x".format))
def test_comments_and_key_order_do_not_move_the_hash(
    constitution: Constitution, data: st.DataObject, comment: str
) -> None:
    stream = io.StringIO()
    YAML().dump(shuffled(constitution.model_dump(mode="json"), comment, data.draw), stream)
    text = stream.getvalue()

    assert "# " + comment in text
    assert content_hash(parse(text.encode(), "shuffled")) == content_hash(constitution)
