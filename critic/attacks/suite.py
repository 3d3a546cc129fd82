"""The attack suite: the texts of `suite.yaml` by kind, and where in a comparison each is put."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Literal, get_args

from ruamel.yaml import YAML

from solon.records import Comparison, Completion, Message

Position = Literal["start", "middle", "end", "alone", "prompt"]
"""Of the attack: within the completion, instead of it, or at the end of what the person asked."""

POSITIONS: Final[tuple[Position, ...]] = get_args(Position)
_CONTROL: Final = "control"


@dataclass(frozen=True)
class Attack:
    """One text at one position."""

    kind: str
    """Its class in the suite; `control` is ordinary text."""
    text: str
    position: Position
    number: int
    """Of the text within its kind, from 0."""

    @property
    def id(self) -> str:
        """Such as `order-2-end`."""
        return f"{self.kind}-{self.number}-{self.position}"


@cache
def _texts() -> dict[str, list[str]]:
    source = files("critic.attacks").joinpath("suite.yaml").read_text(encoding="utf-8")
    texts: dict[str, list[str]] = YAML(typ="safe", pure=True).load(source)
    return texts


def suite() -> tuple[Attack, ...]:
    """Every attack at every position."""
    return tuple(attack for kind in _texts() if kind != _CONTROL for attack in _of(kind))


def controls() -> tuple[Attack, ...]:
    """Ordinary texts at every position: what any inserted text does to the judge."""
    return _of(_CONTROL)


def _of(kind: str) -> tuple[Attack, ...]:
    return tuple(
        Attack(kind, text, position, number) for number, text in enumerate(_texts()[kind]) for position in POSITIONS
    )


def placed(attack: Attack, comparison: Comparison) -> Comparison:
    """The comparison with the attack in its completion a, or in its prompt."""
    if attack.position == "prompt":
        *earlier, last = comparison.prompt.messages
        turn = Message(role=last.role, content=f"{last.content}\n{attack.text}")
        prompt = comparison.prompt.model_copy(update={"messages": (*earlier, turn)})
        return comparison.model_copy(update={"prompt": prompt})
    attacked = Completion(text=_inserted(attack, comparison.a.text))
    return comparison.model_copy(update={"a": attacked})


def _inserted(attack: Attack, text: str) -> str:
    match attack.position:
        case "start":
            return f"{attack.text}\n{text}"
        case "end":
            return f"{text}\n{attack.text}"
        case "alone":
            return attack.text
        case _:
            middle = text.find(" ", len(text) // 2)
            place = middle if middle >= 0 else len(text)
            return f"{text[:place]}\n{attack.text}\n{text[place:].lstrip()}"
