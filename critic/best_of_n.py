"""All completions of one prompt, rated against each other: the ranking, and the best of n.

Completions are compared as a schedule has it, rated by Bradley-Terry, and re-ranked by the rule model if asked to (see
`critic.rules.violations`): the reward is then the rating in units of log-odds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from critic.judge import Usage
from critic.labelling import Labeller
from critic.ranking import AVERAGE, POINTS_PER_LOGIT, Match
from critic.rules import RuleSet
from critic.rules.violations import reranked
from critic.schedules import Pair, Schedule
from critic.suspicion import labels_of, suspected
from critic.tournament import Tournament
from solon.records import Comparison, Completion, PreferencePair, Prompt, RuleScore, Status


@dataclass(frozen=True)
class RankedCompletions:
    """The completions of one prompt with what was found out about them."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    ratings: tuple[float | None, ...]
    """On the Elo scale, 1000 being the average; None for one no comparison of which could be judged."""
    violations: tuple[dict[str, float], ...] | None
    """P(broken) by rule, where re-ranked."""
    scores: tuple[float | None, ...] | None
    """In [0, 1], where re-ranked."""
    comparisons: Mapping[Pair, PreferencePair]
    """By the places of the two, the earlier one first."""
    suspected: tuple[int, ...] = ()
    """Places of the completions that speak to the judge; all of them where the prompt forges a frame."""

    @property
    def ranking(self) -> list[int]:
        """Places from best to worst; unrated ones are left out, equal ones stand in the order of listing."""
        values = self.ratings if self.scores is None else self.scores
        rated = [(value, place) for place, value in enumerate(values) if value is not None]
        return [place for _, place in sorted(rated, key=lambda each: -each[0])]

    @property
    def best(self) -> int | None:
        """Place of the best that is not suspected: of the only one, or of the one with the highest value.

        None where two share it, and where no comparison is decided and nothing re-ranks. A completion that speaks to
        the judge may have talked it into its place.
        """
        if len(self.completions) == 1:
            return None if self.suspected else 0
        values = self.ratings if self.scores is None else self.scores
        order = [place for place in self.ranking if place not in self.suspected]
        decided = self.scores is not None or any(pair.status is Status.OK for pair in self.comparisons.values())
        if not order or not decided:
            return None
        first, *others = (values[place] or 0.0 for place in order[:2])
        return None if others and math.isclose(first, others[0], rel_tol=1e-9) else order[0]

    def matches(self, names: Sequence[str]) -> list[Match]:
        """The judged comparisons between the named completions."""
        return [
            Match(names[i], names[j], pair.p_a, self.prompt.id)
            for (i, j), pair in self.comparisons.items()
            if pair.p_a is not None
        ]


async def rank(
    prompt: Prompt,
    completions: Sequence[Completion],
    labeller: Labeller,
    *,
    schedule: Schedule = "all",
    rules: RuleSet | None = None,
    seed: int = 0,
) -> RankedCompletions:
    """The completions, rated.

    Args:
        rules: of the labeller's constitution, to re-rank by; None: the ratings decide alone.
    """
    scores = await labeller.rule_scores(prompt, completions, Usage())

    async def compare(i: int, j: int) -> PreferencePair:
        comparison = Comparison(prompt=prompt, a=completions[i], b=completions[j])
        return await labeller.compare(comparison, (scores[i], scores[j]), key=(i, j))

    tournament = Tournament(len(completions), compare)
    await tournament.hold(schedule, seed, prompt.id)
    found = tournament.ratings()
    ratings = tuple(found.get(place) for place in range(len(completions)))
    violations = tuple(_violations(rules, prompt, score) for score in scores) if rules is not None else None
    return RankedCompletions(
        prompt,
        tuple(completions),
        ratings,
        violations,
        _scores(ratings, violations) if violations is not None else None,
        {places: tournament.met[places] for places in sorted(tournament.met)},
        _suspected(prompt, completions, labeller),
    )


def _suspected(prompt: Prompt, completions: Sequence[Completion], labeller: Labeller) -> tuple[int, ...]:
    labels = labels_of(labeller.judge.sampling if labeller.judge is not None else {})
    return tuple(place for place, each in enumerate(completions) if suspected(prompt, each, labels=labels))


def _violations(rules: RuleSet, prompt: Prompt, score: RuleScore | None) -> dict[str, float]:
    return rules.violations(score.propositions, prompt.scope) if score is not None else {}


def _scores(ratings: Sequence[float | None], violations: Sequence[Mapping[str, float]]) -> tuple[float | None, ...]:
    rated = [place for place, rating in enumerate(ratings) if rating is not None]
    rewards = [((ratings[place] or AVERAGE) - AVERAGE) / POINTS_PER_LOGIT for place in rated]
    found = dict(zip(rated, reranked(rewards, [violations[place] for place in rated]), strict=True))
    return tuple(found.get(place) for place in range(len(ratings)))
