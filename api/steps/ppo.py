"""The `ppo` step: a training child samples from the policy and trains it on reward models, rules and judge."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from api import monitoring, prompts
from api.events import Event
from api.judging import open_judge, opened_cache
from api.recipe_parts import (
    JudgeTerm,
    MonitorPart,
    RewardTerm,
    asks_critic,
    models_of,
)
from api.recipes import PPOStep
from api.reward_service import RewardService, scorers
from api.reward_sources import artifact_name, reward_model, source_of
from api.rollouts import rollout_server
from api.run_context import Outcome, Run, Ticks
from critic.labelling import Labeller
from trainer.config import PPOConfig

_SHOWN = ("reward", "kl", "tokens", "unfinished", "monitor_gold_judge", "monitor_gold_oracle")


class PPO:
    """Writes the model directory `model`."""

    def inputs(self, step: PPOStep, run: Run) -> dict[str, str]:
        """Policy, prompts, and what each reward depends on."""
        found = {"policy": run.policy_digest(), "prompts": prompts.digest(run.train_prompts())}
        for name in (name for term in step.terms for name in models_of(term)):
            found[artifact_name(name)] = reward_model(run, name).digest
        return found | (run.critic_digests() if step.asks_critic else {}) | monitoring.inputs(step.monitor, run)

    async def do(self, step: PPOStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The trained model; rules and judge are served to the child while it trains."""
        write_prompts(run, folder)
        async with rewards_served(step.terms, run, step.monitor) as url:
            config = _config(step, run, folder, url)
            done = await run.train(config, folder / "model-run", ticks.steps(*_SHOWN))
        monitored = monitoring.shown(done.get("monitor"))
        if monitored is not None and monitored["alarm"] is not None:
            run.emit(Event(type="alarm", step=folder.name, message=monitored["alarm"]["message"], detail=monitored))
        result = {name: done.get(name) for name in ("prompts", "dropped", "metrics", "ended_by")}
        result |= {"monitor": monitored} if monitored is not None else {}
        return Outcome({"model": folder / "model"}, result)


def write_prompts(run: Run, folder: Path) -> None:
    """Write the training prompts into prompts.jsonl of the step's folder."""
    lines = (prompt.model_dump_json() + "\n" for prompt in run.train_prompts())
    (folder / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")


@asynccontextmanager
async def rewards_served(
    terms: Sequence[RewardTerm], run: Run, monitor: MonitorPart | None = None
) -> AsyncGenerator[str]:
    """The address where rules, judge and monitor have completions scored, while it lasts; empty where nobody asks."""
    wanted = asks_critic(terms)
    async with AsyncExitStack() as stack:
        if not wanted and monitor is None:
            yield ""
            return
        cache = stack.enter_context(opened_cache(run.settings))
        asked, compared = await monitoring.monitor_services(monitor, run, cache)
        if wanted:
            judge = await open_judge(run.recipe.judge, run.constitution, run.settings, run.models, cache, run.accounts)
            drawn = next((term.principles for term in terms if isinstance(term, JudgeTerm)), None)
            asked |= scorers(Labeller(run.constitution, judge, seed=run.recipe.seed), drawn)
        yield (await stack.enter_async_context(RewardService(asked, compared))).url


def _config(step: PPOStep, run: Run, folder: Path, url: str) -> PPOConfig:
    settings = step.model_dump(exclude={"type", "rewards", "costs", "kl", "lora", "constraint", "monitor", "rollouts"})
    return PPOConfig(
        **settings,
        kl=step.kl,
        lora=step.lora,
        constraint=step.constraint,
        rollouts=rollout_server(step.rollouts, run.settings) if step.rollouts is not None else None,
        monitor=monitoring.monitor_config(step.monitor, run, folder, url),
        type="ppo",
        model=run.policy_path(),
        prompts=folder / "prompts.jsonl",
        rewards=[source_of(term, run, url) for term in step.rewards],
        costs=[source_of(term, run, url) for term in step.costs],
        output=folder / "model",
        state=run.unfinished(folder),
        seed=run.recipe.seed,
    )
