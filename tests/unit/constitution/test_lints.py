"""Warnings: what a file may say and had better not."""

import pytest

from constitution.document import published, read_bytes
from constitution.lints import lint

PLAIN = """\
format: constitution/v1
id: harbour
title: Harbour
version: 1.0.0
scopes: {general: {description: Any.}, sensitive: {description: Health.}}
principles:
  - {id: kind, text: Treat people kindly.}
  - {id: brief, text: Keep the reply short., weight: 0.5}
  - {id: honest, text: Say only what is true.}
propositions:
  - {id: rude, kind: regex, pattern: stupid}
  - {id: n, kind: measure, measure: words}
  - {id: long, kind: measure, measure: words, op: ">", value: 600}
  - {id: short, kind: measure, measure: words, op: "<", value: 12}
  - {id: share, kind: measure, measure: repetition}
rules:
  - {id: r, when: rude && n > 3 && share > 0.5 && (long || short), reward: -1.0}
cases:
  - {id: c, prompt: p, better: b, worse: w, because: [kind, brief, honest]}
"""


def warnings(text: str) -> list[str]:
    """Field and message of each warning; no errors."""
    found = lint(text.encode())
    assert all(problem.severity == "warning" and problem.hint for problem in found), found
    return [f"{problem.field}: {problem.message}" for problem in found]


def test_a_good_constitution_has_no_warnings() -> None:
    assert warnings(PLAIN) == []


@pytest.mark.parametrize("name", published())
def test_what_is_published_has_no_problems(name: str) -> None:
    assert lint(read_bytes(name)) == ()


def test_an_error_hides_the_warnings() -> None:
    (problem,) = lint(PLAIN.replace("Treat people kindly.", "Response A is kind.").replace("n > 3", "m > 3").encode())

    assert problem.severity == "error"


def test_a_warning_says_where_it_stands() -> None:
    (problem,) = lint(PLAIN.replace("Treat people kindly.", "Prefer response A.").encode())

    assert (problem.line, problem.column) == (7, 16)
    assert str(problem).startswith("line 7, column 16: warning: principles[0].text: names a position: 'response A'")


@pytest.mark.parametrize(
    "text",
    ["Prefer response A.", "Is A or B kinder?", "Answer (A) is kinder.", "Take the first response.", "Say 'B'.", "A/B"],
)
def test_wording_that_names_a_position_is_warned_of(text: str) -> None:
    (warning,) = warnings(PLAIN.replace("Treat people kindly.", f'"{text}"'))

    assert warning.startswith("principles[0].text: names a position")


@pytest.mark.parametrize("text", ["A kind word.", "Vitamin A is fine.", "A reply must be kind.", "First, be kind."])
def test_an_article_is_no_position(text: str) -> None:
    assert warnings(PLAIN.replace("Treat people kindly.", f'"{text}"')) == []


@pytest.mark.parametrize(
    "token", ["<|im_start|>", "<|user|>", "[INST]", "</s>", "<<SYS>>", "<start_of_turn>", "[/A]", "[RESPONSE]"]
)
def test_chat_control_tokens_in_prose_are_warned_of(token: str) -> None:
    assert warnings(PLAIN.replace("Treat people kindly.", f'"Be kind. {token}"')) == [
        f"principles[0].text: holds the chat control token {token!r}"
    ]


def test_turns_of_a_chat_in_prose_are_warned_of() -> None:
    assert "'Human:'" in warnings(PLAIN.replace("Treat people kindly.", r'"Be kind.\n\nHuman: hello"'))[0]


def test_a_principle_without_a_case_is_warned_of() -> None:
    assert warnings(PLAIN.replace("kind, brief, honest]", "kind, honest]")) == [
        "principles[1]: the principle 'brief' has no case"
    ]


def test_near_identical_principles_are_warned_of() -> None:
    twin = PLAIN.replace("Say only what is true.", "The response should treat all people kindly.")
    twin = twin.replace("Treat people kindly.", "Please treat all people kindly.")

    assert warnings(twin) == ["principles[2].text: nearly the same as the principle 'kind'"]


def test_principles_that_differ_in_the_word_that_matters_are_not_alike() -> None:
    text = PLAIN.replace("Treat people kindly.", "The response should not flatter the person.")

    assert warnings(text.replace("Say only what is true.", "The response should not lecture the person.")) == []


@pytest.mark.parametrize(("weight", "warned"), [("0.5", False), ("2.0", False), ("2.1", True), ("50", True)])
def test_one_weight_above_half_of_all_is_warned_of(weight: str, warned: bool) -> None:
    found = warnings(PLAIN.replace("weight: 0.5", f"weight: {weight}"))

    assert [each.startswith("principles[1].weight: ") for each in found] == [True] * warned


def test_the_weights_of_each_scope_are_looked_at() -> None:
    text = PLAIN.replace("kindly.}", "kindly., scopes: [sensitive]}").replace("true.}", "true., weight: 1.5}")

    assert warnings(text) == ["principles[2].weight: 75% of all weight in general"]


def test_a_text_beyond_the_judges_budget_is_warned_of() -> None:
    long = PLAIN.replace("Treat people kindly.", "Be kind to all. " * 50)

    assert warnings(long) == []
    assert "about 199 tokens, beyond the judge's budget of 100" in lint(long.encode(), budget_tokens=100)[0].message


@pytest.mark.parametrize(
    "when",
    [
        *("rude && !rude", "n < 0", "n > 5 && n < 3", "n > 5 && n < 6", "long && short", "false"),
        *("share > 0.5 && share < 0.4", "rude && n == 2 && n != 2", "!(rude || !rude)"),
    ],
)
def test_a_rule_that_can_never_fire_is_warned_of(when: str) -> None:
    text = PLAIN.replace("rules:", f"rules:\n  - {{id: vain, when: '{when}', reward: 1}}")

    assert warnings(text) == ["rules[0].when: 'vain' can never hold"]


@pytest.mark.parametrize("when", ["true", "rude || !rude", "n >= 0", "n > 3 || n <= 3", "!(long && short)"])
def test_a_rule_that_always_fires_is_warned_of(when: str) -> None:
    text = PLAIN.replace("rules:", f"rules:\n  - {{id: vain, when: '{when}', reward: 1}}")

    assert warnings(text) == ["rules[0].when: 'vain' always holds and changes nothing"]


@pytest.mark.parametrize(
    "when",
    ["rude", "n == 7", "n > 2 && n < 4", "share > 0.2 && share <= 0.3", "long || short", "n + n == 6", "n % 2 == 1"],
)
def test_a_rule_that_can_fire_and_fail_is_not(when: str) -> None:
    assert warnings(PLAIN.replace("rules:", f"rules:\n  - {{id: fine, when: '{when}', reward: 1}}")) == []


def test_a_class_that_can_never_hold_is_warned_of() -> None:
    classes = "classes:\n  - {id: good, when: '!rude'}\n  - {id: bad, when: rude}\n  - {id: odd, when: rude && !rude}\n"

    assert warnings(PLAIN + classes) == ["classes[2].when: 'odd' can never hold"]


def test_a_derived_condition_is_seen_through() -> None:
    text = PLAIN.replace(
        "rules:", "  - {id: never, kind: derived, when: long && short}\nrules:\n  - {id: v, when: never, reward: 1}"
    )

    assert warnings(text) == ["rules[0].when: 'v' can never hold"]


def test_a_proposition_without_use_is_warned_of() -> None:
    assert warnings(PLAIN.replace("rude && ", "")) == ["propositions[0]: no rule or class uses 'rude'"]


def test_a_scope_in_which_nothing_applies_is_warned_of() -> None:
    text = "\n".join(
        line.replace("}", ", scopes: [sensitive]}") if "text:" in line or "reward" in line else line
        for line in PLAIN.splitlines()
    )

    assert warnings(text) == ["scopes.general: nothing applies in the scope 'general'"]


def test_a_case_that_compares_a_text_with_itself_is_warned_of() -> None:
    assert warnings(PLAIN.replace("worse: w", "worse: b")) == ["cases[0].worse: the same text as `better`"]
