"""The `critique_revision` step: originals from the policy, critiqued, revised, and compared with what they became."""

from pathlib import Path

from api import digests, prompts
from api.critiquing import Cast, Critiquing, open_cast, pairs_path
from api.judging import opened_cache
from api.recipes import CritiqueRevisionStep, Recipe
from api.run_context import Outcome, Run, Ticks
from critic.candidates import Sampling
from critic.critique import Plan
from solon.templates import template_hash


class CritiqueRevision:
    """Writes `critiques.jsonl` and `critiques.revisions.jsonl` and, where revisions are verified, pairs."""

    def inputs(self, step: CritiqueRevisionStep, run: Run) -> dict[str, str]:
        """Critic, policy, prompts and templates."""
        templates = "+".join(template_hash(name) for name in ("critique", "revision"))
        critic = run.settings.model(step.critic or run.recipe.policy)
        own = {"critic": digests.of_model(critic), "critique_templates": templates}
        asked = {"policy": run.policy_digest(), "prompts": prompts.digest(run.train_prompts())}
        return run.critic_digests() | own | asked

    async def do(self, step: CritiqueRevisionStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The chains; raises CoverageTooLow where too few revisions could be compared with their originals."""
        recipe, rows = run.recipe, prompts.rows(run.train_prompts())
        path = folder / "critiques.jsonl"
        ticks(0, len(rows), "starting the models")
        cast = cast_of(step, recipe)
        plan = Plan(step.rounds, step.principles, Sampling(step.max_tokens, step.temperature), recipe.seed)
        with opened_cache(run.settings) as cache:
            running = await open_cast(cast, run.constitution, run.settings, run.models, cache, run.accounts, run.texts)
            work = Critiquing(run.constitution, running, plan, step.min_coverage)
            found = await work.write(rows, len(rows), path, ticks, {"recipe": recipe.name})
        outputs = {"critiques": path, "revisions": path.with_name(f"{path.stem}.revisions.jsonl")}
        if step.verify:
            outputs["pairs"] = pairs_path(path)
        return Outcome(outputs, {"prompts": len(rows), **found})


def cast_of(step: CritiqueRevisionStep, recipe: Recipe) -> Cast:
    """Who does what in the step."""
    return Cast(recipe.policy, step.critic, recipe.judge if step.verify else None)
