"""Temperatures fitted on people's verdicts, and which labels a judge answers with."""

import random

import pytest

from critic.averaging import logit, sigmoid, tempered
from critic.label_forms import measure_labels
from critic.temperature import fit_temperature
from solon.chat import ChatReply
from solon.errors import Failed, InvalidInput
from solon.fakes import Call, ScriptedChat, label_reply, text_reply
from tests.unit.critic.material import KIND, comparison


def judged(temperature: float, n: int = 1500, shift: float = 0.0) -> list[tuple[float, bool]]:
    """A judge whose log-odds are `temperature` times the true ones, plus `shift`."""
    draw = random.Random(0)
    truths = [draw.uniform(-2.5, 2.5) for _ in range(n)]
    return [(sigmoid(temperature * z + shift), draw.random() < sigmoid(z)) for z in truths]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_a_judge_too_sure_is_found_again(temperature: float):
    fitted = fit_temperature(judged(temperature))
    assert fitted.temperature == pytest.approx(temperature, rel=0.1)
    assert fitted.loss_after <= fitted.loss_before + 1e-12
    assert abs(fitted.shift) < 0.15


def test_a_lean_to_one_side_shows_as_a_shift():
    assert fit_temperature(judged(1.0, shift=1.0)).shift == pytest.approx(-1.0, abs=0.15)


def test_a_judge_that_is_always_right_has_a_bounded_temperature():
    fitted = fit_temperature([(0.7, True), (0.3, False)] * 50)
    assert 0.04 < fitted.temperature < 0.2
    assert abs(fitted.shift) < 0.01


def test_a_judge_that_knows_nothing_is_flattened():
    draw = random.Random(1)
    fitted = fit_temperature([(draw.choice((0.01, 0.99)), draw.random() < 0.5) for _ in range(2000)])
    assert abs(logit(tempered(0.99, fitted.temperature))) < 0.3


def test_too_few_pairs_are_refused():
    with pytest.raises(InvalidInput, match="too few"):
        fit_temperature([(0.9, True)] * 29)


async def test_the_labels_with_the_most_mass_come_first_with_their_forms():
    def script(call: Call) -> ChatReply:
        return label_reply({"1": 0.4, " 1": 0.3, "2": 0.2} if "[1]" in call.text else {"A": 0.3, "B": 0.1})

    found = await measure_labels(ScriptedChat("j", script), [comparison()] * 2, KIND, (("A", "B"), ("1", "2")))
    assert [each.labels for each in found] == [("1", "2"), ("A", "B")]
    assert found[0].label_mass == pytest.approx(0.9)
    assert next(iter(found[0].forms.items())) == ("1", pytest.approx(0.4))
    assert found[0].first_slot == pytest.approx(0.7 / 0.9)


async def test_a_model_without_log_probabilities_cannot_be_calibrated():
    with pytest.raises(Failed, match="answered none"):
        await measure_labels(ScriptedChat("mute", lambda _: text_reply("A")), [comparison()], KIND)
