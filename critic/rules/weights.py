"""Fitted weights as a file: what they weigh, what they were fitted with, and the reward they give.

Features are probabilities in [0, 1]: `proposition:ID` (applies and holds), `class:ID`, `rule:ID` (fires). A proposition
that does not apply counts as 0, an unanswered one leaves the reward unknown.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from constitution.digest import content_hash
from constitution.document import Constitution
from critic.rules.fitting import FitSettings
from critic.rules.ruleset import Chances
from solon.errors import Conflict, InvalidInput, NotFound

Over = Literal["propositions", "rules"]
"""`propositions` weighs propositions and classes, as published rule-based rewards do; `rules` weighs the rules."""


def features(chances: Chances, over: Over) -> dict[str, float | None]:
    """The features of one completion, by name."""
    parts = {"rule": chances.rules}
    if over == "propositions":
        parts = {"proposition": chances.propositions, "class": chances.classes}
    return {f"{kind}:{name}": p for kind, those in parts.items() for name, p in those.items()}


class RuleWeights(BaseModel):
    """Weights by scope and feature, with all that made them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Literal["rule-weights/v1"] = "rule-weights/v1"
    constitution: str
    constitution_hash: str
    judge: dict[str, str | None]
    """name, model, revision and server of the judge that answered; empty where none was asked."""
    over: Over
    settings: FitSettings
    scale: float | None
    """Standard deviation of the reward model on the fitting set; None: fitted without one."""
    weights: dict[str, dict[str, float]]
    report: dict[str, Any]
    """By scope: prompts, pairs, and the share of pairs in the right order; for people."""

    def reward(self, chances: Chances, scope: str, model_reward: float | None = None) -> float | None:
        """The fitted reward of one completion; None where a weighed feature or the model's reward is missing.

        Raises:
            InvalidInput: no weights were fitted for the scope.
        """
        weights = self.weights.get(scope)
        if weights is None:
            known = ", ".join(self.weights)
            raise InvalidInput(
                "no weights were fitted for this scope", field=f"scope {scope}", remedy=f"known: {known}"
            )
        found = features(chances, self.over)
        parts = [None if (value := found.get(name)) is None else w * value for name, w in weights.items() if w]
        if self.scale is not None:
            parts.append(None if model_reward is None else model_reward / self.scale)
        known_parts = [part for part in parts if part is not None]
        return sum(known_parts) if len(known_parts) == len(parts) else None

    def check(self, constitution: Constitution) -> None:
        """Raises Conflict where the weights were fitted under another text."""
        if self.constitution_hash != content_hash(constitution):
            raise Conflict(
                f"the weights were fitted under another text of {self.constitution!r}",
                field="weights",
                remedy="fit them again, or name the constitution they were fitted under",
            )


def read_weights(path: Path) -> RuleWeights:
    """The weights in a JSON file; NotFound or InvalidInput where there are none."""
    try:
        return RuleWeights.model_validate_json(path.read_bytes())
    except OSError as error:
        raise NotFound(
            f"cannot read {path}: {error.strerror}", remedy="give a file written by `solon rules fit`"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"not rule weights: {first['msg'].lower()}",
            field=f"{path}: {where}" if where else str(path),
            remedy="give a file written by `solon rules fit`",
        ) from error
