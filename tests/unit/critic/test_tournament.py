"""Which completions meet, and how often the judge is asked."""

import itertools

import pytest

from critic.schedules import Schedule
from critic.tournament import Pairing, Tournament
from solon.records import PreferencePair, Provenance, Status
from tests.unit.critic.material import comparison

MADE = Provenance(constitution="c", constitution_version="1.0.0", constitution_hash="h")


class Field:
    """Completions whose quality is known; counts comparisons."""

    def __init__(self, *quality: float, failing: bool = False) -> None:
        self.quality = quality
        self.asked: list[tuple[int, int]] = []
        self.failing = failing

    async def compare(self, i: int, j: int) -> PreferencePair:
        self.asked.append((i, j))
        p = 0.5 + max(-0.49, min(0.49, (self.quality[i] - self.quality[j]) / 20))
        c = comparison(str(i), str(j))
        status = Status.ERROR if self.failing else Status.OK
        p_a = None if self.failing else p
        return PreferencePair(id=f"{i}-{j}", status=status, prompt=c.prompt, a=c.a, b=c.b, p_a=p_a, provenance=MADE)

    async def play(
        self, pairing: Pairing, *key: str | int, schedule: Schedule | None = None, min_margin: float = 0.0
    ) -> list[tuple[int, int]]:
        tournament = Tournament(len(self.quality), self.compare)
        pairs = await tournament.play(pairing, *key, schedule=schedule, min_margin=min_margin)
        return [(int(pair.a.text), int(pair.b.text)) for pair in pairs]


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
async def test_max_margin_finds_best_and_worst_of_every_order(n: int):
    for quality in itertools.permutations(range(n)):
        field = Field(*quality)
        assert [set(pair) for pair in await field.play("max_margin")] == [{quality.index(n - 1), quality.index(0)}]
        assert len(field.asked) <= -(-3 * n // 2) - 1
        assert len(set(field.asked)) == len(field.asked)


async def test_max_margin_of_eight_takes_eleven_comparisons():
    field = Field(3, 1, 4, 8, 5, 9, 2, 6)
    await field.play("max_margin")
    assert len(field.asked) == 11


async def test_a_is_always_the_completion_listed_earlier():
    for pairing in ("max_margin", "adjacent", "all", "random"):
        field = Field(1, 5, 2, 0, 3)
        assert all(i < j for i, j in await field.play(pairing, 7, "p"))


async def test_adjacent_pairs_neighbours_and_leaves_an_odd_one_out():
    assert await Field(0, 1, 2, 3, 4).play("adjacent") == [(0, 1), (2, 3)]


async def test_all_pairs_everyone_once():
    assert await Field(0, 1, 2).play("all") == [(0, 1), (0, 2), (1, 2)]


async def test_random_depends_on_its_key_only():
    first = await Field(*range(8)).play("random", 0, "p1")
    assert first == await Field(*range(8)).play("random", 0, "p1")
    assert sorted(itertools.chain(*first)) == list(range(8))
    assert first != await Field(*range(8)).play("random", 1, "p1")


@pytest.mark.parametrize("n", [3, 4, 5, 7])
async def test_failed_comparisons_still_end_the_tournament(n: int):
    pairs = await Field(*range(n), failing=True).play("max_margin")
    assert len(pairs) == 1
    assert pairs[0][0] != pairs[0][1]


async def test_a_circle_of_preferences_still_gives_a_pair():
    class Circle(Field):
        async def compare(self, i: int, j: int) -> PreferencePair:
            pair = await super().compare(i, j)
            return pair.model_copy(update={"p_a": 0.9 if (j - i) % 3 == 1 else 0.1, "margin": 0.8})

    assert len(await Circle(0, 0, 0).play("max_margin")) == 1


@pytest.mark.parametrize("schedule", ["all", "swiss", "chunks"])
@pytest.mark.parametrize("n", [2, 3, 4, 8, 13])
async def test_a_schedule_rates_everyone_and_best_meets_worst(schedule: Schedule, n: int):
    quality = [(7 * place) % n if n % 7 else (5 * place) % n for place in range(n)]

    pairs = await Field(*quality).play("max_margin", 0, "p", schedule=schedule)

    assert len(pairs) == 1
    if schedule == "all":
        assert set(pairs[0]) == {quality.index(n - 1), quality.index(0)}


async def test_swiss_asks_less_than_all_and_finds_the_best():
    quality = (3, 9, 1, 12, 5, 0, 7, 15, 2, 11, 4, 14, 6, 10, 8, 13)
    field = Field(*quality)

    (pair,) = await field.play("max_margin", 0, "p", schedule="swiss")

    assert len(field.asked) <= 8 * 4 + 1
    assert quality.index(15) in pair


@pytest.mark.parametrize("schedule", ["all", "swiss", "chunks"])
async def test_no_comparison_is_made_twice(schedule: Schedule):
    field = Field(*range(9))
    await field.play("adjacent", 3, "p", schedule=schedule)
    assert len(set(field.asked)) == len(field.asked)


async def test_all_with_a_schedule_is_what_was_compared():
    field = Field(*range(9))
    assert await field.play("all", schedule="chunks") == sorted(field.asked)


async def test_threshold_keeps_the_pairs_that_are_far_apart():
    assert sorted(await Field(0, 5, 9).play("threshold")) == [(0, 1), (0, 2), (1, 2)]
    assert sorted(await Field(0, 1, 9).play("threshold", min_margin=0.4)) == [(0, 2), (1, 2)]
    assert await Field(0, 0, 0).play("threshold") == []


@pytest.mark.parametrize("schedule", ["all", "swiss", "chunks"])
async def test_a_schedule_whose_comparisons_all_fail_selects_nothing(schedule: Schedule):
    assert await Field(*range(5), failing=True).play("max_margin", schedule=schedule) == []
