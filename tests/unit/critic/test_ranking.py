"""Ratings from comparisons: against independent computations, under ties, with intervals over prompts."""

import math
import random

import numpy as np
import pytest
from scipy.optimize import minimize

from critic.ranking import AVERAGE, POINTS_PER_LOGIT, Match, Method, leaderboard, p_better, ratings

METHODS: tuple[Method, ...] = ("bradley_terry", "newman", "elo")


def played(strength: dict[str, float], prompts: int, seed: int, *, tie: float = 0.0) -> list[Match]:
    """Everyone against everyone on each prompt, won with the Bradley-Terry probability of log-strengths."""
    generator = random.Random(seed)
    names = list(strength)
    matches: list[Match] = []
    for prompt in range(prompts):
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                p = 1 / (1 + math.exp(strength[b] - strength[a]))
                won = 0.5 if generator.random() < tie else float(generator.random() < p)
                matches.append(Match(a, b, won, str(prompt)))
    return matches


def test_bradley_terry_maximises_the_likelihood_of_soft_outcomes() -> None:
    generator = random.Random(1)
    names = ["a", "b", "c", "d"]
    couples = [generator.sample(names, 2) for _ in range(30)]
    matches = [Match(a, b, generator.random()) for a, b in couples]
    prior = 0.3

    def loss(x: np.ndarray) -> float:
        def log_s(z: float) -> float:
            return -math.log1p(math.exp(-z))

        place = {name: i for i, name in enumerate(names)}
        total = sum(
            m.p_a * log_s(x[place[m.a]] - x[place[m.b]]) + (1 - m.p_a) * log_s(x[place[m.b]] - x[place[m.a]])
            for m in matches
        )
        return -total - sum(prior * (log_s(z) + log_s(-z)) for z in x)

    best = minimize(loss, np.zeros(4), tol=1e-12).x
    found = ratings(matches, prior=prior)

    expected = [AVERAGE + POINTS_PER_LOGIT * z for z in best]
    assert [found[name] for name in names] == pytest.approx(expected, abs=0.05)


def test_newman_gives_ties_their_own_probability() -> None:
    """Its estimate maximises the likelihood of Davidson's model: P(tie) in proportion to 2 v sqrt(w_i w_j)."""
    matches = played({"a": 1.0, "b": 0.0, "c": -0.5}, prompts=60, seed=3, tie=0.3)
    prior = 0.1

    def loss(parameters: np.ndarray) -> float:
        x, v = dict(zip("abc", parameters[:3], strict=True)), math.exp(parameters[3])

        def log_p(z: float, outcome: float) -> float:
            weights = {1.0: math.exp(z / 2), 0.0: math.exp(-z / 2), 0.5: 2 * v}
            return math.log(weights[outcome] / sum(weights.values()))

        total = sum(log_p(x[m.a] - x[m.b], m.p_a) for m in matches)
        return -total - sum(prior * (log_p(z, 1.0) + log_p(z, 0.0)) for z in x.values())

    best = minimize(loss, np.zeros(4), tol=1e-10).x
    found = ratings(matches, "newman", prior=prior)

    assert [found[name] for name in "abc"] == pytest.approx([AVERAGE + POINTS_PER_LOGIT * z for z in best[:3]], abs=0.5)


def test_elo_follows_its_update_rule() -> None:
    matches = [Match("a", "b", 1.0), Match("b", "c", 0.52), Match("a", "c", 0.0)]
    expected = {"a": 1000.0, "b": 1000.0, "c": 1000.0}
    for match, outcome in zip(matches, (1.0, 0.5, 0.0), strict=True):
        change = 4 * (outcome - p_better(expected[match.a], expected[match.b]))
        expected[match.a] += change
        expected[match.b] -= change

    assert ratings(matches, "elo", tie_margin=0.1) == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
def test_only_ties_rate_everyone_as_average(method: Method) -> None:
    assert ratings([Match("a", "b", 0.5), Match("b", "c", 0.5)], method) == pytest.approx(dict.fromkeys("abc", AVERAGE))


@pytest.mark.parametrize("method", METHODS)
def test_swapping_the_sides_changes_nothing(method: Method) -> None:
    matches = played({"a": 1.0, "b": 0.0, "c": -1.0}, 10, seed=2, tie=0.2)
    swapped = [Match(match.b, match.a, 1 - match.p_a, match.prompt) for match in matches]

    assert ratings(swapped, method) == pytest.approx(ratings(matches, method), abs=0.01)


def test_the_undefeated_and_the_unconnected_have_finite_ratings() -> None:
    found = ratings([Match("a", "b", 1.0)] * 5 + [Match("c", "d", 0.7)])

    assert all(math.isfinite(rating) for rating in found.values())
    assert found["a"] > found["c"] > AVERAGE > found["d"] > found["b"]


@pytest.mark.parametrize("method", METHODS)
def test_the_leaderboard_finds_the_order_and_its_intervals_hold_the_ratings(method: Method) -> None:
    strength = {"weak": -1.0, "strong": 1.0, "middling": 0.0}

    board = leaderboard(played(strength, 100, seed=5), method, resamples=100)

    assert [rating.player for rating in board] == ["strong", "middling", "weak"]
    assert all(rating.low <= rating.rating <= rating.high for rating in board)
    assert all(rating.matches == 200 for rating in board)
    assert sum(rating.wins for rating in board) == pytest.approx(300)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    strength = {"a": 0.4, "b": 0.0, "c": -0.4}
    held = 0
    for seed in range(30):
        board = {r.player: r for r in leaderboard(played(strength, 40, seed), resamples=60, prior=1e-3, seed=seed)}
        truth = AVERAGE + POINTS_PER_LOGIT * strength["a"]
        held += board["a"].low <= truth <= board["a"].high

    assert held >= 24  # 95 % of 30 is 28.5; fewer than 24 has probability 0.001


def test_matches_on_one_prompt_widen_the_interval() -> None:
    """Ten copies of each outcome on the same prompt say no more than one, and the interval knows."""
    matches = played({"a": 0.3, "b": 0.0}, 40, seed=7)
    copies = [match for match in matches for _ in range(10)]

    def width(of: list[Match]) -> float:
        rating = leaderboard(of, resamples=100, prior=1e-3)[0]
        return rating.high - rating.low

    spread = [Match(match.a, match.b, match.p_a, f"{i}") for i, match in enumerate(copies)]
    assert width(copies) == pytest.approx(width(matches), rel=0.1)
    assert width(spread) < width(copies) / 2


def test_the_same_seed_gives_the_same_intervals() -> None:
    matches = played({"a": 0.3, "b": 0.0}, 20, seed=7)

    assert leaderboard(matches, resamples=50, seed=1) == leaderboard(matches, resamples=50, seed=1)
    assert leaderboard(matches, resamples=50, seed=1) != leaderboard(matches, resamples=50, seed=2)


def test_nobody_played() -> None:
    assert ratings([]) == {}
    assert leaderboard([]) == []
