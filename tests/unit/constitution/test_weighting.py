"""Weights at request time: which principles they reach, what they leave alone, what is refused."""

from pathlib import Path

import pytest

from constitution.digest import content_hash, principle_hash
from constitution.document import load
from constitution.weighting import weighted
from solon.errors import InvalidInput

CIVIC = load("civic")


def weights_of(weights: dict[str, float]) -> dict[str, float]:
    return {each.id: each.weight for each in weighted(CIVIC, weights).principles}


def test_no_weights_and_ones_change_nothing() -> None:
    assert weighted(CIVIC, {}) is CIVIC
    assert content_hash(weighted(CIVIC, {"concise": 1.0, "tag:tone": 1.0})) == content_hash(CIVIC)


def test_factors_of_a_principle_and_its_tags_multiply() -> None:
    found = weights_of({"no-flattery": 2.0, "tag:tone": 3.0, "tag:honesty": 0.5})

    assert found["no-flattery"] == 1.0 * 2.0 * 3.0 * 0.5
    assert (found["respectful"], found["honest"], found["concise"]) == (3.0, 0.5, 0.5)


def test_zero_silences_a_principle_and_its_cases() -> None:
    found = weighted(CIVIC, {"tag:tone": 0.0})

    assert {each.id for each in CIVIC.principles} - {each.id for each in found.principles} == {
        "respectful",
        "no-lecturing",
        "no-flattery",
    }
    assert not {case.id for case in found.cases} & {"rude-cook", "sermon", "perfect-poem"}


def test_other_weights_are_another_text_with_the_same_votes() -> None:
    found = weighted(CIVIC, {"concise": 4.0})

    assert content_hash(found) != content_hash(CIVIC)
    assert [principle_hash(each) for each in found.principles] == [principle_hash(each) for each in CIVIC.principles]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"consise": 2.0}, "no principle or tag 'consise'"),
        ({"tag:tune": 2.0}, "no principle or tag 'tag:tune'"),
        ({"concise": -1.0}, "not between 0 and 100"),
        ({"concise": float("nan")}, "not between 0 and 100"),
        ({"no-serious-harm": 0.0}, "'no-serious-harm' is a veto"),
        ({"no-flattery": 100.0, "tag:tone": 11.0}, "becomes 1100, more than 1000"),
        ({"tag:harmlessness": 0.0}, "'no-serious-harm' is a veto"),
    ],
)
def test_what_cannot_be_meant_is_refused(weights: dict[str, float], says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as error:
        weighted(CIVIC, weights)

    assert error.value.field == "weights"


def test_something_must_be_left() -> None:
    harbour = load(Path(__file__).parent / "harbour.yaml").model_copy(update={"rules": ()})
    silent = {each.id: 0.0 for each in harbour.principles}
    plain = harbour.model_copy(
        update={"principles": tuple(each.model_copy(update={"veto": False}) for each in harbour.principles)}
    )

    with pytest.raises(InvalidInput, match="no principle is left"):
        weighted(plain, silent)
