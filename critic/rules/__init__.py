"""Rule-based rewards: propositions about a completion, CEL rules over them, classes that partition them."""

from critic.rules.ruleset import Ask, Classification, RuleSet

__all__ = ["Ask", "Classification", "RuleSet"]
