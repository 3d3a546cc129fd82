"""The vLLM server of a recipe's `rollouts`, as its training is told of it: users name it, operators register it."""

from pathlib import Path

from api.recipe_parts import RolloutsPart
from api.recipes import PPOStep, Recipe
from solon.errors import InvalidInput
from solon.settings import Settings
from trainer.config import RolloutServer


def check_rollouts(recipe: Recipe, settings: Settings) -> None:
    """Raise NotFound or InvalidInput where a step names a server that cannot write its completions."""
    for planned in recipe.planned():
        if isinstance(planned.step, PPOStep) and planned.step.rollouts is not None:
            rollout_server(planned.step.rollouts, settings, f"{planned.place}.rollouts.model")


def rollout_server(part: RolloutsPart, settings: Settings, field: str = "rollouts.model") -> RolloutServer:
    """The server that is registered under the name; raises NotFound or InvalidInput, naming `field`."""
    entry = settings.model(part.model, "policy")
    if entry.endpoint is None or entry.adapters is None:
        raise InvalidInput(
            f"{part.model!r} is no server that takes adapters",
            field=field,
            remedy=f"register it with engine `vllm`, `endpoint` and `adapters`: models.{part.model}.adapters",
        )
    return RolloutServer(
        model=part.model,
        endpoint=entry.endpoint,
        adapter_dir=Path(entry.adapters),
        max_concurrency=entry.max_concurrency,
        timeout_s=entry.timeout_s,
        api_key_env=entry.api_key_env,
        allow_private=settings.egress.models_private,
        max_mismatch=part.max_mismatch,
    )
