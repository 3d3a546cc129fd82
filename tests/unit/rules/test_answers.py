"""Final answers and whether they are the expected ones."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.rules.answers import final_answer, is_correct, number, same_answer

GSM8K = Path(__file__).parents[4] / "shared" / "data" / "verifiable" / "gsm8k_train.jsonl"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"First \boxed{3}, no: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("2 + 2 is 4.\n#### 4", "4"),
        ("#### 5\nI was wrong.\n#### 6", "6"),
        ("So the answer is 12 apples.", "12 apples."),
        ("**Answer:** 42", "42"),
        ("It costs 3 and then 7 in all", "7"),
        ("pages 3-5", "5"),
        ("nothing", None),
        ("", None),
    ],
)
def test_the_last_statement_is_the_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is $1,234.50.", "1234.5"),
        (r"\boxed{\dfrac{1}{2}}", "0.5"),
        ("Answer: (B)", "B"),
        ("The answer is 3*6 = 18 dollars", "18"),
        ("#### 50%", "50"),
        ("the answer is North", "north."),
        (r"\boxed{x^2+1}", "x^2 + 1"),
        ("The answer is **7**.", "7"),
        (r"\boxed{\text{yes}}", "Yes"),
        ("#### -3", "-3.0"),
    ],
)
def test_equal_answers_may_be_written_differently(text: str, expected: str) -> None:
    assert is_correct(text, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#### 7", "8"),
        ("12 or 13, who knows", "12"),
        ("It is 5/0", "5"),
        ("1e999999", "1"),
        ("#### -3", "3"),
        (r"\boxed{x^2-1}", "x^2+1"),
        ("no idea", "4"),
        ("0.333", "1/3"),
    ],
)
def test_other_answers_are_wrong(text: str, expected: str) -> None:
    assert not is_correct(text, expected)


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_fractions_are_compared_exactly(above: int, below: int) -> None:
    value = number(f"{above}/{below}")

    assert value is not None
    assert same_answer(f"{2 * above}/{2 * below}", f"{above}/{below}")
    assert not same_answer(f"{above * below + 1}/{below * below}", f"{above}/{below}")


@given(st.text())
def test_no_text_can_break_the_reader(text: str) -> None:
    final_answer(text)
    is_correct(text, text)


@pytest.mark.parametrize("part", [" ", "\n", "\\boxed{", "####", "9", "1,", "answer is ", "{", "1/", "answer\t"])
def test_long_adversarial_texts_are_read_quickly(part: str) -> None:
    started = time.process_time()
    is_correct(part * 20_000, "1")
    assert time.process_time() - started < 2


def test_every_worked_solution_of_gsm8k_has_its_own_answer_and_no_other() -> None:
    if not GSM8K.exists():
        pytest.skip(f"no data at {GSM8K}")
    rows = [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").splitlines()[:1000]]

    for row in rows:
        solution = row["answer"]
        value = number(final_answer(solution) or "")
        assert value is not None
        assert is_correct(solution, solution)
        assert is_correct(f"Let me think.\n#### {float(value):.6f}", solution)
        assert not is_correct(solution, str(value + 1))
