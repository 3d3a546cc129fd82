"""The rule model: how probably a completion breaks each rule, and re-ranking by it.

A rule with a negative reward says what a completion must not do. Its condition is a question (or several) put to the
judge about this rule alone, so P(the condition holds) is a rule-conditional violation probability. Candidates are then
ranked by preference and rules together,

    score = s(r - mean r) * (prod_i (1 - P(rule i is broken))) ^ (1 / number of rules)

in which no preference outweighs a rule that is broken for certain.

Source: Glaese et al. 2022, "Improving alignment of dialogue agents via targeted human judgements" (Sparrow),
arXiv:2209.14375, section 2.6: the mean there is over a fixed batch, here over the candidates of the prompt.
"""

import math
from collections.abc import Mapping, Sequence

from critic.pairs import sigmoid


def rule_score(violations: Mapping[str, float]) -> float:
    """Geometric mean of the probabilities of keeping each rule, in [0, 1]; 1 without rules."""
    kept = [1 - p for p in violations.values()]
    return 0.0 if 0.0 in kept else math.exp(math.fsum(map(math.log, kept)) / len(kept)) if kept else 1.0


def reranked(rewards: Sequence[float], violations: Sequence[Mapping[str, float]]) -> list[float]:
    """The re-ranking score of each candidate of one prompt, in [0, 1].

    Args:
        rewards: preference rewards in units of log-odds, one for each candidate.
        violations: P(broken) by rule, of each candidate.
    """
    mean = math.fsum(rewards) / len(rewards) if rewards else 0.0
    return [sigmoid(reward - mean) * rule_score(broken) for reward, broken in zip(rewards, violations, strict=True)]
