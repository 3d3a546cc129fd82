"""Merge patches: the data is what RFC 7396 says, and no line changes that need not."""

import difflib
import json
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from constitution.document import published, read_bytes
from constitution.patching import merged, parse_patch, patched
from constitution.rewriting import rewritten, same
from constitution.source import read
from solon.errors import InvalidInput

HAND_WRITTEN = b"""\
# The harbour's own text.
format: constitution/v1
id: harbour   # never changes
title: 'Harbour'

scopes: {general: {description: Any request.}, sensitive: {description: "Health, law."}}
principles:
  # --- safety ---
  - id: no-harm     # first among equals
    weight: 2.0     # twice the others
    text: >-
      Refuse the part of a request whose likely effect is serious harm.
      Help with the rest.
      Do not lecture.
    tags: [safety, "hazard"]

  # --- tone ---
  - {id: kind, text: Be kind., weight: 1}   # short
  - weight: 0.5
    id: plain
    text: |
      Say it plainly.
      Say it once.
rules:
- id: preachy
  when: judgemental
# nothing below this line
"""


def changed_lines(old: bytes, new: bytes) -> list[str]:
    """Lines of the difference, each with its sign."""
    difference = difflib.ndiff(old.decode().splitlines(), new.decode().splitlines())
    return [line for line in difference if line[0] in "+-"]


@pytest.mark.parametrize(
    ("patch", "lines"),
    [
        ({"title": "Port"}, ["- title: 'Harbour'", "+ title: 'Port'"]),
        ({"id": "port"}, ["- id: harbour   # never changes", "+ id: port   # never changes"]),
        (
            {"principles": {"no-harm": {"weight": 3}}},
            ["-     weight: 2.0     # twice the others", "+     weight: 3     # twice the others"],
        ),
        (
            {"principles": {"kind": {"weight": 2}}},
            [
                "-   - {id: kind, text: Be kind., weight: 1}   # short",
                "+   - {id: kind, text: Be kind., weight: 2}   # short",
            ],
        ),
        ({"principles": {"no-harm": {"veto": True}}}, ["+     veto: true"]),
        ({"principles": {"plain": {"weight": None}}}, ["-   - weight: 0.5", "-     id: plain", "+   - id: plain"]),
        (
            {
                "principles": {
                    "no-harm": {
                        "text": "Refuse the part of a request whose likely effect is serious harm. "
                        "Help with all the rest. Do not lecture."
                    }
                }
            },
            ["-       Help with the rest.", "+       Help with all the rest."],
        ),
        (
            {"principles": {"plain": {"text": "Say it plainly.\nSay it twice.\n"}}},
            ["-       Say it once.", "+       Say it twice."],
        ),
        (
            {"principles": {"no-harm": {"tags": ["safety"]}}},
            ['-     tags: [safety, "hazard"]', "+     tags: [safety]"],
        ),
        ({"rules": {"short": {"when": "brief"}}}, ["+ - id: short", "+   when: brief"]),
        ({"licence": "MIT"}, ["+ licence: MIT"]),
        ({"cases": {"one": {"prompt": "Why?"}}}, ["+ cases:", "+   - id: one", "+     prompt: Why?"]),
    ],
)
def test_one_changed_field_is_one_changed_line(patch: dict[str, Any], lines: list[str]):
    assert sorted(changed_lines(HAND_WRITTEN, patched(HAND_WRITTEN, patch))) == sorted(lines)


def test_comments_survive_the_loss_of_a_neighbour_and_go_with_their_own_part():
    text = patched(HAND_WRITTEN, {"principles": {"no-harm": None}}).decode()
    assert "# --- tone ---" in text
    assert "# nothing below this line" in text
    assert "# --- safety ---" not in text


def test_parts_that_move_take_their_comments_along():
    first, *others = read(HAND_WRITTEN).data()["principles"]
    text = patched(HAND_WRITTEN, {"principles": [*others, first]}).decode()
    assert text.index("- {id: kind") < text.index("# --- safety ---") < text.index("- id: no-harm     # first among")
    assert sorted(text.split()) == sorted(HAND_WRITTEN.decode().split())


def test_a_renamed_part_keeps_its_place_and_comments():
    new = patched(HAND_WRITTEN, {"principles": {"no-harm": {"id": "no-serious-harm"}}})
    assert changed_lines(HAND_WRITTEN, new) == [
        "-   - id: no-harm     # first among equals",
        "+   - id: no-serious-harm     # first among equals",
    ]


def test_the_whole_list_may_be_sent_as_in_the_rfc_with_the_same_effect():
    parts = json.loads(json.dumps(read(HAND_WRITTEN).data()["principles"]))
    parts[0]["weight"] = 3
    assert patched(HAND_WRITTEN, {"principles": parts}) == patched(
        HAND_WRITTEN, {"principles": {"no-harm": {"weight": 3}}}
    )


@pytest.mark.parametrize("raw", [HAND_WRITTEN, *map(read_bytes, published())])
def test_a_patch_that_changes_nothing_changes_no_byte(raw: bytes):
    data = json.loads(json.dumps(read(raw).data()))
    assert patched(raw, data) == patched(raw, {}) == raw


def test_line_ends_and_byte_order_mark_are_kept():
    raw = b"\xef\xbb\xbf" + HAND_WRITTEN.replace(b"\n", b"\r\n")
    new = patched(raw, {"title": "Port", "principles": {"new": {"text": "Be new."}}})
    assert new.startswith(b"\xef\xbb\xbf# The harbour")
    assert b"\r\n  - id: new\r\n" in new
    assert new.count(b"\n") == new.count(b"\r\n")


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [  # the examples of RFC 7396, appendix A, on mappings
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "foo"}, "bar", "bar"),
        ({"a": "foo"}, None, None),
        (["a", "b"], ["c", "d"], ["c", "d"]),
    ],
)
def test_merging_follows_the_rfc(document: Any, patch: Any, result: Any):
    assert merged(document, patch) == result


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'{"a": NaN}', b"[" * 9000, b'{"a": ' * 40 + b"1" + b"}" * 40])
def test_what_is_no_patch_is_refused(body: bytes):
    with pytest.raises(InvalidInput):
        parse_patch(body)


def test_a_file_that_cannot_be_read_cannot_be_patched():
    with pytest.raises(InvalidInput) as caught:
        patched(b"a: [1\nb: 2\n", {"a": 1})
    assert "line 2" in str(caught.value)


WORDS = st.sampled_from(
    ["no", "1.0", "a: b", "# c", "it's", '"', "", "-", "plain", "two words", "&x", "true", "{", "é", "~"]
)
PROSE = st.lists(WORDS, max_size=30).map(" ".join) | st.text("ab \n:#-'", max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | PROSE
KEYS = st.sampled_from(["id", "text", "weight", "tags", "a-b", "no", "1"])
"""None with a space: ruamel.yaml folds such a key of a flow mapping over two lines, which is not YAML."""
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner.filter(lambda value: value is not None), max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)
PARTS = st.lists(
    st.dictionaries(KEYS, VALUES, max_size=3), max_size=4, unique_by=lambda part: json.dumps(part.get("id"))
)
DOCUMENTS = st.fixed_dictionaries({"format": PROSE, "principles": PARTS}, optional={"a": VALUES, "b": VALUES})
LAYOUTS = st.tuples(
    st.booleans() | st.none(), st.sampled_from([(2, 4, 2), (2, 2, 0), (4, 6, 4)]), st.sampled_from([40, 200])
)


def written(data: dict[str, Any], layout: tuple[bool | None, tuple[int, int, int], int]) -> str:
    """The data as somebody might have laid it out."""
    flow, (mapping, sequence, offset), width = layout
    yaml = YAML(typ="rt", pure=True)
    yaml.default_flow_style = flow
    yaml.width = width
    yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
    stream = StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


@settings(max_examples=25)
@given(DOCUMENTS, DOCUMENTS, LAYOUTS)
def test_any_document_can_become_any_other(present: dict[str, Any], target: dict[str, Any], layout: Any):
    text = written(present, layout)
    assert same(read(rewritten(text, read(text.encode()).data(), target).encode()).data(), target)


@settings(max_examples=10)
@given(DOCUMENTS, LAYOUTS)
def test_a_document_that_stays_the_same_keeps_every_byte(present: dict[str, Any], layout: Any):
    text = written(present, layout)
    data = read(text.encode()).data()
    assert rewritten(text, data, data) == text
