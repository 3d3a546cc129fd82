"""The `ppo` step: a training child samples from the policy and trains it on reward models, rules and judge."""

from contextlib import AsyncExitStack
from pathlib import Path

from api import prompts
from api.judging import open_judge, opened_cache
from api.recipes import PPOStep, RewardModelTerm
from api.reward_service import RewardService, scorers
from api.steps import Outcome, Run, Ticks
from critic.labelling import Labeller
from trainer.config import PPOConfig, RewardModelSource, RewardSource, ServiceSource


class PPO:
    """Writes the model directory `model`."""

    def inputs(self, step: PPOStep, run: Run) -> dict[str, str]:
        """Policy, prompts, and what each reward depends on."""
        found = {"policy": run.policy_digest(), "prompts": prompts.digest(run.train_prompts())}
        if any(isinstance(term, RewardModelTerm) for term in step.rewards):
            found["reward_model"] = run.artifacts["reward_model"].digest
        return found | (run.critic_digests() if step.asks_critic else {})

    async def do(self, step: PPOStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The trained model; rules and judge are served to the child while it trains."""
        asked = run.train_prompts()
        (folder / "prompts.jsonl").write_text(
            "".join(prompt.model_dump_json() + "\n" for prompt in asked), encoding="utf-8"
        )
        async with AsyncExitStack() as stack:
            url = ""
            if step.asks_critic:
                cache = stack.enter_context(opened_cache(run.settings))
                judge = await open_judge(
                    run.recipe.judge, run.constitution, run.settings, run.models, cache, run.accounts
                )
                labeller = Labeller(run.constitution, judge, seed=run.recipe.seed)
                url = (await stack.enter_async_context(RewardService(scorers(labeller)))).url
            shown = ("reward", "kl", "tokens", "unfinished")
            config = _config(step, run, folder, url)
            done = await run.train(config, folder / "model-run", ticks.steps(*shown))
        result = {name: done.get(name) for name in ("prompts", "dropped", "metrics", "ended_by")}
        return Outcome({"model": folder / "model"}, result)


def _config(step: PPOStep, run: Run, folder: Path, url: str) -> PPOConfig:
    settings = step.model_dump(exclude={"type", "rewards", "kl", "lora"})
    rewards = [_source(term, run, url) for term in step.rewards]
    return PPOConfig(
        **settings,
        kl=step.kl,
        lora=step.lora,
        type="ppo",
        model=run.policy_path(),
        prompts=folder / "prompts.jsonl",
        rewards=rewards,
        output=folder / "model",
        state=run.unfinished(folder),
        seed=run.recipe.seed,
    )


def _source(term: object, run: Run, url: str) -> RewardSource:
    """The child's name for a term of the recipe."""
    if isinstance(term, RewardModelTerm):
        settings = term.model_dump(exclude={"type"})
        return RewardModelSource(type="reward_model", path=run.artifacts["reward_model"].path, **settings)
    kind: str = getattr(term, "type")  # noqa: B009 - RulesTerm or JudgeTerm
    return ServiceSource(type="service", url=url, name=kind, weight=getattr(term, "weight"))  # noqa: B009
