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
from constitution.yaml_text import block_value, flow_entry
from tests.unit.constitution.constitutions import constitutions


@given(st.text("?:-,[]{}&*!|>'\"%@`# a0~\\=<", min_size=1, max_size=4))
def test_a_word_of_indicators_is_written_so_that_it_can_be_read(word: str) -> None:
    read = YAML(typ="rt", pure=True).load
    assert read("{" + flow_entry("k", word) + "}")["k"] == word
    assert read("k:" + block_value(word, 0) + "\n")["k"] == word


@settings(max_examples=30)
@given(constitutions())
def test_what_is_dumped_loads_as_the_same_constitution(constitution: Constitution) -> None:
    assert parse(dump(constitution).encode(), "dumped") == constitution


@settings(max_examples=12)
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


@settings(max_examples=12)
@given(constitutions(), st.data(), st.text("abc :-#'{[&*!", max_size=20).map("x{}x".format))
def test_comments_and_key_order_do_not_move_the_hash(
    constitution: Constitution, data: st.DataObject, comment: str
) -> None:
    stream = io.StringIO()
    YAML().dump(shuffled(constitution.model_dump(mode="json"), comment, data.draw), stream)
    text = stream.getvalue()

    assert "# " + comment in text
    assert content_hash(parse(text.encode(), "shuffled")) == content_hash(constitution)


READ_BY_PEOPLE = {"id", "title", "version", "status", "licence", "language", "summary", "cases", "changelog"}
FIXED = {"format", "kind", "measure", "method", "op", "status", "version", "when", "scopes", "principle", "because"}
"""Fields whose values cannot be changed by adding to them."""
OPTIONAL_TEXT = {"title", "summary", "licence", "compare", "critique", "revise"}


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all scalars that can be changed by themselves."""
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in leaves(part, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, part in enumerate(value) for leaf in leaves(part, (*path, index))]
    named = [key for key in path if isinstance(key, str)]
    fixed = FIXED & {named[-1], named[0] if len(named) == 1 else ""}
    return [] if fixed or (value is None and named[-1] not in OPTIONAL_TEXT) else [path]


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value / 2 + 0.25 if value != 0.5 else 0.75
    return "x" if value is None else f"{value}x"


def changed(value: Any, path: tuple[str | int, ...]) -> Any:
    """A copy of the data with another value at `path`."""
    if not path:
        return other(value)
    key: Any = path[0]
    if isinstance(value, dict):
        return value | {key: changed(value[key], path[1:])}
    return [changed(part, path[1:]) if index == key else part for index, part in enumerate(value)]


def tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: tuples(part) for key, part in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def matters(path: tuple[str | int, ...]) -> bool:
    """Whether a label can depend on the value at `path`."""
    if path[0] in READ_BY_PEOPLE or (path[0] == "scopes" and path[-1] == "description"):
        return False
    return not (path[0] == "principles" and path[2] in {"title", "tags", "evidence"})


@settings(max_examples=30)
@given(constitutions(), st.data())
def test_the_hash_moves_exactly_when_what_can_change_a_label_does(
    constitution: Constitution, data: st.DataObject
) -> None:
    plain = constitution.model_dump(mode="json")
    paths = [path for path in leaves(plain) if path[-1] != "language"]
    path = data.draw(st.sampled_from(paths))
    edited = Constitution.model_validate(tuples(changed(plain, path)))

    assert edited != constitution
    assert (content_hash(edited) != content_hash(constitution)) is matters(path)


@settings(max_examples=10)
@given(constitutions(), st.data())
def test_leaving_out_or_reordering_a_part_moves_the_hash(constitution: Constitution, data: st.DataObject) -> None:
    sections = ("principles", "few_shot", "propositions", "rules")
    name = data.draw(st.sampled_from([name for name in sections if getattr(constitution, name)]))
    parts = getattr(constitution, name)
    dropped = constitution.model_copy(update={name: parts[1:]})
    reversed_ = constitution.model_copy(update={name: parts[::-1]})

    assert content_hash(dropped) != content_hash(constitution)
    assert (content_hash(reversed_) != content_hash(constitution)) is (len(parts) > 1)
