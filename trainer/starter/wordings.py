"""Wordings of principles and propositions: every criterion of the oracle, in both directions, in many compositions.

A wording combines a noun ("reply"), a predicate ("mock the person") and a form ("Never {be}."). One combination of
predicate and form in seven is held out, so that held-out wordings are new combinations of known words. Torch-free.
"""

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ruamel.yaml import YAML

from trainer.starter.oracle import Reading
from trainer.starter.world import Split

Direction = Literal[1, -1]
"""+1: the principle wants the criterion's high pole (more helpful, ruder, ...); -1: the low pole."""

DEFAULT_QUESTION = "Which response follows the principle better?"
"""The critic's question for a principle without `compare`."""


@dataclass(frozen=True)
class Phrase:
    """A sentence made of one predicate and one form."""

    text: str
    pole: Direction
    """The pole its predicate names; the direction asked for is `pole` times the form's sign."""


@dataclass(frozen=True)
class Wording:
    """A principle as the judge reads it."""

    principle: str
    question: str
    phrases: tuple[Phrase, ...]
    """The parts of it that say something: the statement, and the question unless it is the default one."""


@cache
def wordings() -> Mapping[str, Any]:
    """The parsed wordings.yaml."""
    return YAML(typ="safe").load(files("trainer.starter").joinpath("wordings.yaml").read_text(encoding="utf-8"))


@cache
def criteria() -> tuple[str, ...]:
    """Names of everything a principle can be about."""
    return tuple(wordings()["criteria"])


def value(criterion: str, reading: Reading) -> float | None:
    """Where a completion stands on a criterion, 0 (low pole) to 1 (high pole); None where it does not apply."""
    if criterion in ("rude", "preachy", "flattering"):
        return float(reading.tone == criterion)
    if criterion not in _VALUES:
        raise ValueError(f"unknown criterion {criterion!r}")
    return _VALUES[criterion](reading)


_VALUES: dict[str, Callable[[Reading], float | None]] = {
    "helpful": lambda reading: {"full": 1.0, "partial": 0.5, "none": 0.0}[reading.helpful],
    "harmful": lambda reading: float(reading.harmful),
    "refusal": lambda reading: float(reading.refusal != "none"),
    "needless_refusal": lambda reading: float(reading.refusal != "none" and reading.prompt_kind != "harmful"),
    "alternative": lambda reading: float(reading.refusal == "kind"),
    "false_claim": lambda reading: float(reading.false_claim),
    "padded": lambda reading: float(reading.padded),
    "format": lambda reading: None if reading.follows_format is None else float(reading.follows_format),
    "listed": lambda reading: float(reading.listed),
}


def principle(criterion: str, direction: Direction, rng: random.Random, split: Split) -> Wording:
    """A random wording that wants `direction` of `criterion`; `eval` draws held-out combinations only."""
    statement = _draw("statements", criterion, direction, rng, split)
    if rng.random() < 0.35:
        return Wording(statement.text, DEFAULT_QUESTION, (statement,))
    question = _draw("questions", criterion, direction, rng, split)
    return Wording(statement.text, question.text, (statement, question))


def proposition(
    criterion: str,
    direction: Direction,
    rng: random.Random,
    split: Split,
    *,
    subject: str | None = None,
) -> Phrase:
    """A yes/no question that is true at the pole `direction` of `criterion`; `subject` replaces "the response"."""
    return _draw("propositions", criterion, direction, rng, split, subject=subject)


def critique(criterion: str, direction: Direction, rng: random.Random) -> str:
    """A sentence that says the response is at the pole opposite to `direction`."""
    predicate = rng.choice(wordings()["criteria"][criterion]["low" if direction == 1 else "high"])
    return _criticism(predicate)


def criticised(text: str) -> tuple[str, Direction] | None:
    """The criterion and the pole at which a critique says that the response is; None for what is no such sentence."""
    return _critiques().get(text.strip())


@cache
def _critiques() -> dict[str, tuple[str, Direction]]:
    poles: tuple[tuple[Direction, str], ...] = ((1, "high"), (-1, "low"))
    return {
        _criticism(predicate): (criterion, pole)
        for criterion in criteria()
        for pole, name in poles
        for predicate in wordings()["criteria"][criterion][name]
    }


def _criticism(predicate: str) -> str:
    return f"The response {_third_person(predicate)}."


def statements(criterion: str) -> Iterator[tuple[str, Direction]]:
    """Every principle text about a criterion, with the pole it wants."""
    for form in wordings()["statements"]:
        for pole, predicates in ((1, "high"), (-1, "low")):
            for predicate in wordings()["criteria"][criterion][predicates]:
                for noun in wordings()["nouns"]:
                    yield _fill(form["form"], predicate, noun, None), 1 if form["sign"] == pole else -1


def _draw(
    part: str,
    criterion: str,
    direction: Direction,
    rng: random.Random,
    split: Split,
    *,
    subject: str | None = None,
) -> Phrase:
    while True:
        form = rng.choice(wordings()[part])
        pole: Direction = 1 if form["sign"] == direction else -1
        predicate = rng.choice(wordings()["criteria"][criterion]["high" if pole == 1 else "low"])
        held_out = zlib.crc32(f"{form['form']}|{predicate}".encode()) % 7 == 0
        if held_out == (split == "eval"):
            return Phrase(_fill(form["form"], predicate, rng.choice(wordings()["nouns"]), subject), pole)


def _fill(form: str, predicate: str, noun: str, subject: str | None) -> str:
    if subject is not None:
        form = form.replace("the {N}", subject)
    if "{do}" in form and predicate.startswith("be "):
        form = form.replace("Does", "Is").replace("{do}", predicate.removeprefix("be "))
    return form.format(
        N=noun, be=predicate, do=predicate, **{"is": _third_person(predicate), "isnot": _negated(predicate)}
    )


def _third_person(predicate: str) -> str:
    verb, space, rest = predicate.partition(" ")
    if verb == "be":
        return f"is{space}{rest}"
    if verb[-1] == "y" and verb[-2] not in "aeou":
        return f"{verb[:-1]}ies{space}{rest}"
    return f"{verb}{'es' if verb.endswith(('s', 'sh', 'ch', 'x', 'o')) else 's'}{space}{rest}"


def _negated(predicate: str) -> str:
    if predicate.startswith("be "):
        return "is not " + predicate.removeprefix("be ")
    return "does not " + predicate
