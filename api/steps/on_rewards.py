"""The `ppo`, `grpo` and `rloo` steps: a training child samples from the policy and trains it on what that earns, from
reward models, rules and judge, and is watched where the step has a monitor."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from api import monitoring, prompts
from api.events import Event
from api.group_steps import GRPOStep, RLOOStep
from api.judging import open_judge, opened_cache
from api.recipe_parts import JudgeTerm, models_of
from api.recipes import PPOStep
from api.reward_service import RewardService, scorers
from api.reward_sources import artifact_name, reward_model, source_of
from api.rollouts import rollout_server
from api.run_context import Outcome, Run, Ticks
from critic.labelling import Labeller
from trainer.config import GRPOConfig, PPOConfig, RLOOConfig

_CONFIGS = {"ppo": PPOConfig, "grpo": GRPOConfig, "rloo": RLOOConfig}
_SHOWN = ("reward", "kl", "tokens", "unfinished", "monitor_gold_judge", "monitor_gold_oracle")

Step = PPOStep | GRPOStep | RLOOStep


class TrainingOnRewards:
    """Writes the model directory `model`."""

    def inputs(self, step: Step, run: Run) -> dict[str, str]:
        """Policy, prompts, and what each reward and the monitor depend on."""
        found = {"policy": run.policy_digest(), "prompts": prompts.digest(run.train_prompts())}
        for name in (name for term in step.terms for name in models_of(term)):
            found[artifact_name(name)] = reward_model(run, name).digest
        if _text(step, run) is not None:
            found["ptx"] = run.artifacts["demonstrations"].digest
        return found | (run.critic_digests() if step.asks_critic else {}) | monitoring.inputs(step.monitor, run)

    async def do(self, step: Step, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The trained model; rules, judge and what a monitor asks are served to the child while it trains."""
        lines = (prompt.model_dump_json() + "\n" for prompt in run.train_prompts())
        (folder / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
        async with _served(step, run) as url:
            config = _config(step, run, folder, url)
            done = await run.train(config, folder / "model-run", ticks.steps(*_SHOWN))
        monitored = monitoring.shown(done.get("monitor"))
        if monitored is not None and monitored["alarm"] is not None:
            run.emit(Event(type="alarm", step=folder.name, message=monitored["alarm"]["message"], detail=monitored))
        result = {name: done.get(name) for name in ("prompts", "dropped", "metrics", "ended_by")}
        result |= {"monitor": monitored} if monitored is not None else {}
        return Outcome({"model": folder / "model"}, result)


@asynccontextmanager
async def _served(step: Step, run: Run) -> AsyncGenerator[str]:
    """The address where rules, judge and monitor have completions scored, while it lasts; empty where nobody asks."""
    async with AsyncExitStack() as stack:
        if not step.asks_critic and step.monitor is None:
            yield ""
            return
        cache = stack.enter_context(opened_cache(run.settings))
        asked, compared = await monitoring.monitor_services(step.monitor, run, cache)
        if step.asks_critic:
            judge = await open_judge(run.recipe.judge, run.constitution, run.settings, run.models, cache, run.accounts)
            drawn = next((term.principles for term in step.terms if isinstance(term, JudgeTerm)), None)
            asked |= scorers(Labeller(run.constitution, judge, seed=run.recipe.seed), drawn)
        yield (await stack.enter_async_context(RewardService(asked, compared))).url


def _text(step: Step, run: Run) -> Path | None:
    """What the last `sft` step learnt, where the policy is to stay good at it."""
    return run.artifacts["demonstrations"].path if isinstance(step, PPOStep) and step.ptx_weight else None


def _config(step: Step, run: Run, folder: Path, url: str) -> PPOConfig | GRPOConfig | RLOOConfig:
    kind = _CONFIGS[step.type]
    found: dict[str, Any] = {name: getattr(step, name) for name in type(step).model_fields if name in kind.model_fields}
    for name in {"rewards", "costs"} & found.keys():
        found[name] = [source_of(term, run, url) for term in found[name]]
    if isinstance(step, PPOStep) and step.rollouts is not None:
        found["rollouts"] = rollout_server(step.rollouts, run.settings)
    if (text := _text(step, run)) is not None:
        found["ptx"] = text
    found |= {
        "monitor": monitoring.monitor_config(step.monitor, run, folder, url),
        "model": run.policy_path(),
        "prompts": folder / "prompts.jsonl",
        "output": folder / "model",
        "state": run.unfinished(folder),
        "seed": run.recipe.seed,
    }
    return kind(**found)
