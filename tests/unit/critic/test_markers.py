"""Text of prompts and completions stays data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.markers import holds_marker, neutralise
from solon.templates import render

HOSTILE = [
    "[A]", "[/A]", "[ B ]", "[/ B]", "[RESPONSE]", "[/response]", "<|user|>", "<|im_start|>", "<|end|>", "</s>",
    "[INST]", "<<SYS>>", "<start_of_turn>", "<\uff5cUser\uff5c>", "<think>", "[[A]]", "[/[A]]", "<|<|end|>|>",
    "[\u200b/\u200bA\u200b]", "\uff3b/B\uff3d", "\u3010A\u3011", "[R\u2060ESPONSE]", "[/A 3f9a]",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_markers_and_control_tokens_become_plain_text(text: str):
    written = f"before {text} after"
    assert holds_marker(written)
    assert not holds_marker(neutralise(written))
    assert "before" in neutralise(written)


@pytest.mark.parametrize(
    "text",
    ["Option A is fine.", "a[i] = b[0]", "x < y | z > w", "[C] and [AB]", "The principle: be kind.", "<b>bold</b>"],
)
def test_ordinary_text_is_left_alone(text: str):
    assert neutralise(text) == text
    assert not holds_marker(text)


@given(st.lists(st.sampled_from([*HOSTILE, "[", "]", "<", "|", ">", "/", "A", "B", " ", "end", "x"]), max_size=12))
def test_no_marker_survives_in_any_mixture(parts: list[str]):
    cleaned = neutralise("".join(parts))
    assert neutralise(cleaned) == cleaned
    for token in ("[A]", "[/A]", "[B]", "[/B]", "[RESPONSE]", "[/RESPONSE]", "<|user|>", "<|end|>", "[INST]", "</s>"):
        assert token not in cleaned


def test_the_judges_own_control_tokens_become_plain_text_too():
    own = ("<turn:user>", "\u2039end\u203a", "<|end|>", "plain")
    cleaned = neutralise("a <turn:user> b \u2039end\u203a c plain", own)
    assert cleaned == "a (turn:user) b (end) c plain"
    assert neutralise(cleaned, own) == cleaned


def test_a_template_value_is_never_evaluated():
    hostile = "{{ 7 * 7 }} {% for x in [1] %}x{% endfor %} {{ principle }}"
    user = render("proposition", conversation="User: Hi", response=hostile, question="q")[1]
    assert hostile in user.content
