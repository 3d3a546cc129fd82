"""Input rows: every form that is accepted, and a line, key and remedy for every one that is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from solon.errors import InvalidInput, NotFound
from solon.rows import Row, parse_row, read_rows

DATA = Path(__file__).parents[4] / "shared" / "data" / "pref"
ASKED = {"prompt": "Bread?"}
CHAT = [{"role": "system", "content": "Cook."}, {"role": "user", "content": "Bread?"}]


def parsed(**values: Any) -> Row:
    return parse_row(values, where="in.jsonl:1", default_id="row-000001")


def texts(row: Row) -> list[str]:
    return [completion.text for completion in row.completions]


def test_a_prompt_is_one_user_turn():
    row = parsed(prompt="Bread?")
    assert [(m.role, m.content) for m in row.prompt.messages] == [("user", "Bread?")]
    assert (row.prompt.id, row.prompt.scope, texts(row)) == ("row-000001", "general", [])


def test_messages_keep_all_turns():
    assert [m.role for m in parsed(messages=CHAT).prompt.messages] == ["system", "user"]


def test_an_instruction_and_its_input_are_one_prompt():
    assert parsed(instruction="Translate.", input="Brot").prompt.text == "Translate.\n\nBrot"
    assert parsed(instruction="Translate.", input="").prompt.text == "Translate."


@pytest.mark.parametrize(
    ("given", "completions", "votes"),
    [
        ({"completions": ["x", "y", "z"]}, ["x", "y", "z"], ()),
        ({"response_a": "x", "response_b": "y"}, ["x", "y"], ()),
        ({"response_a": "x", "response_b": "y", "label": "b"}, ["x", "y"], ("b",)),
        ({"response_a": "x", "response_b": "y", "votes": ["a", "tie"]}, ["x", "y"], ("a", "tie")),
        ({"chosen": "x", "rejected": "y"}, ["x", "y"], ("a",)),
        ({"completions": []}, [], ()),
    ],
)
def test_completions_and_verdicts_are_kept_apart(given: dict[str, Any], completions: list[str], votes: tuple[str, ...]):
    row = parsed(**ASKED, **given)
    assert texts(row) == completions
    assert row.human_votes == votes
    assert row.extra == {}


def test_escaped_characters_beyond_the_basic_plane_are_read(tmp_path: Path) -> None:
    (row,) = read_rows(file(tmp_path, '{"prompt": "\\ud83d\\ude00"}'))
    assert row.prompt.text == "\U0001f600"


def test_unknown_keys_are_kept():
    row = parsed(**ASKED, domain="helpful", label=3, id=7, scope="sensitive", metadata={"k": [1]})
    assert row.extra == {"domain": "helpful", "label": 3}
    assert (row.prompt.id, row.prompt.scope, row.prompt.metadata) == ("7", "sensitive", {"k": [1]})


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({}, "the row has no prompt"),
        ({"prompt": "x", "messages": CHAT}, "both prompt and messages"),
        ({"prompt": 3}, "`prompt` is not text"),
        ({"prompt": " "}, "`prompt` is empty"),
        ({"messages": []}, "`messages` is not a list of turns"),
        ({"messages": [{"role": "human", "content": "x"}]}, "`messages.0.role` is not a role"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "`messages.0.content` is not text"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "`messages.0` is not a turn"),
        ({"messages": [*CHAT, {"role": "assistant", "content": "x"}]}, "does not end with the user"),
        ({**ASKED, "completions": ["x", 3]}, "`completions` is not a list of texts"),
        ({**ASKED, "chosen": "x"}, "`rejected` is missing"),
        ({**ASKED, "chosen": "x", "rejected": None}, "`rejected` is not text"),
        ({**ASKED, "chosen": "x", "rejected": "y", "completions": []}, "both `completions` and `chosen`"),
        ({**ASKED, "response_a": "x", "response_b": "y", "label": "c"}, "`label` is not a verdict"),
        ({**ASKED, "response_a": "x", "response_b": "y", "votes": "a"}, "`votes` is not a verdict"),
        ({**ASKED, "response_a": "x", "response_b": "y", "votes": ["a"], "label": "a"}, "both label and votes"),
        ({**ASKED, "id": ""}, "`id` is not text"),
        ({**ASKED, "human_votes": ["a"]}, "`human_votes` is a key of ours"),
        ({**ASKED, "scope": 1}, "`scope` is not text"),
        ({**ASKED, "metadata": []}, "`metadata` is not an object"),
        ({**ASKED, "metadata": {"a": [{"b": float("nan")}]}}, "`metadata` holds a number that is infinite or none"),
        ({**ASKED, "domain": float("inf")}, "`domain` holds a number that is infinite or none"),
    ],
)
def test_a_malformed_row_names_its_place_and_what_to_do(values: dict[str, Any], key: str):
    with pytest.raises(InvalidInput) as caught:
        parsed(**values)
    assert key in str(caught.value)
    assert str(caught.value.field).startswith("in.jsonl:1")
    assert caught.value.remedy


def file(folder: Path, content: str | bytes) -> Path:
    path = folder / "in.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_blank_lines_and_a_byte_order_mark_do_not_matter(tmp_path: Path):
    path = file(tmp_path, b'\xef\xbb\xbf{"prompt": "a"}\n\n{"prompt": "b"}')
    assert [row.prompt.id for row in read_rows(path)] == ["row-000001", "row-000003"]


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        ('{"prompt": "a"}\n{"prompt": \n', ":2", "not JSON"),
        ('{"prompt": "a"}\n["x"]\n', ":2", "not a JSON object"),
        (b'{"prompt": "\xff"}\n', ":1", "not UTF-8"),
        ('{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}\n', ":2", "used in line 1"),
        ("\n", "in.jsonl", "no rows"),
        ('{"prompt": "a"}\n{"prompt": "\\ud800"}\n', ":2", "half of a character"),
        ("[" * 100_000, ":1", "not JSON"),
    ],
)
def test_a_malformed_file_names_the_line(tmp_path: Path, content: str | bytes, where: str, what: str):
    with pytest.raises(InvalidInput, match=what) as caught:
        list(read_rows(file(tmp_path, content)))
    assert where in str(caught.value.field)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path):
    with pytest.raises(NotFound, match="no file"):
        list(read_rows(tmp_path / "none.jsonl"))
    with pytest.raises(InvalidInput, match="cannot read"):
        list(read_rows(tmp_path))


@pytest.mark.parametrize(
    ("name", "rows", "votes"),
    [("hh_val", 399, 1), ("hh_train", 2601, 1), ("hhh221", 221, 1), ("llmbar_dev", 137, 1), ("pandalm_dev", 453, 3)],
)
def test_real_preference_data_can_be_read(name: str, rows: int, votes: int):
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no real data: {path} is absent")
    found = list(read_rows(path))
    assert len(found) == rows
    assert all(len(row.completions) == 2 and len(row.human_votes) == votes for row in found)
    assert not {"chosen", "rejected", "votes"} & set().union(*(row.extra for row in found))
    lines = path.read_bytes().splitlines()
    longest = max(found, key=lambda row: len(row.prompt.messages))
    original = next(json.loads(line) for line in lines if json.loads(line)["id"] == longest.prompt.id)
    assert len(longest.prompt.messages) == len(original.get("messages", [None]))
