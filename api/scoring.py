"""The terms of a recipe's reward, asked about completions that are there: reward models in a child, rules and judge
here."""

import asyncio
import json
import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from api import digests
from api.judging import open_judge, opened_cache
from api.recipe_parts import GateTerm, RewardTerm, asks_critic, models_of
from api.reward_service import Scorer, scorers
from api.reward_sources import reward_model, source_of
from api.run_context import Run, Ticks
from critic.concurrency import in_order
from critic.labelling import Labeller
from solon.records import Completion, Prompt
from trainer.config import ScoreConfig
from trainer.data import Sample, write_samples
from trainer.rewards.mix import FAILED, Item, mixed

Plain = float | str | None
"""A score, None where it does not apply, `failed` where it could not be had."""

_IN_FLIGHT = 128


@dataclass(frozen=True)
class Scores:
    """What completions are worth, in their order."""

    totals: tuple[float | None, ...]
    """Sums by the terms' weights; None where a term failed or none applies."""
    terms: tuple[dict[str, Plain], ...]


def scorer_digest(terms: Sequence[RewardTerm], run: Run) -> str:
    """What tells these scores from others: the terms, the reward models' weights, judge and constitution."""
    found = {"terms": [term.model_dump(mode="json") for term in terms]}
    own = {name: reward_model(run, name).digest for term in terms for name in models_of(term)}
    return digests.of_json(found | own | (run.critic_digests() if asks_critic(terms) else {}))


async def score(
    terms: Sequence[RewardTerm], items: Sequence[tuple[Prompt, Completion]], run: Run, folder: Path, ticks: Ticks
) -> Scores:
    """The scores of the completions. Raises ModelUnavailable or TrainingFailed where none can be had.

    Args:
        folder: for the files of the child.
    """
    if not items:
        return Scores((), ())
    known = await _by_models([term for term in terms if models_of(term)], items, run, folder, ticks)
    if asks_critic(terms):
        with opened_cache(run.settings) as cache:
            judge = await open_judge(run.recipe.judge, run.constitution, run.settings, run.models, cache, run.accounts)
            ask = scorers(Labeller(run.constitution, judge, seed=run.recipe.seed))
            for term in terms:
                if not models_of(term):
                    known.append(_Known(term.type, term.weight, await _by_critic(ask[term.type], items, ticks)))
    found = mixed(known, list(items))
    named = [{name: _plain(scores[place]) for name, scores in found.terms.items()} for place in range(len(items))]
    return Scores(found.total, tuple(named))


@dataclass(frozen=True)
class _Known:
    """A term whose scores are known already."""

    name: str
    weight: float
    found: list[float | None]

    def scores(self, items: Sequence[Item]) -> Sequence[float | None]:
        """Those."""
        return self.found


async def _by_models(
    terms: Sequence[RewardTerm], items: Sequence[tuple[Prompt, Completion]], run: Run, folder: Path, ticks: Ticks
) -> list[_Known]:
    """The terms that a training child scores, all at once."""
    if not terms:
        return []
    samples = folder / "to-score.jsonl"
    write_samples(samples, (Sample(prompt=prompt, completion=completion) for prompt, completion in items))
    sources = [source_of(_plain_gate(term), run, "") for term in terms]
    config = ScoreConfig(type="score", samples=samples, rewards=sources, output=folder / "scores", seed=run.recipe.seed)

    def progress(step: int, steps: int, _: dict[str, float]) -> None:
        ticks(step, steps, "scoring")

    await run.train(config, folder / "scores-run", progress)
    lines = [json.loads(line) for line in (config.output / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    samples.unlink()
    return [_Known(each.name, each.weight, [_number(line[each.name]) for line in lines]) for each in sources]


def _plain_gate(term: RewardTerm) -> RewardTerm:
    """The term on a scale that does not depend on what else is scored with it."""
    return term.model_copy(update={"whiten": False}) if isinstance(term, GateTerm) else term


async def _by_critic(ask: Scorer, items: Sequence[tuple[Prompt, Completion]], ticks: Ticks) -> list[float | None]:
    async def one(item: tuple[Prompt, Completion]) -> float | str | None:
        return await ask(*item)

    found: list[float | None] = []
    async with aclosing(in_order(items, one, width=_IN_FLIGHT)) as scores:
        async for each in scores:
            found.append(_number(each))
            ticks(len(found), len(items), "scoring")
            await asyncio.sleep(0)
    return found


def _number(score: float | str | None) -> float | None:
    return FAILED if isinstance(score, str) else score


def _plain(score: float | None) -> Plain:
    return "failed" if score is not None and not math.isfinite(score) else score
