"""The reward models that a run has made, and the terms of a recipe's reward as a training child names them."""

from api.recipe_parts import GateTerm, RewardModelTerm, RewardTerm
from api.run_context import Artifact, Run
from trainer.config import GateSource, RewardModelSource, RewardSource, ServiceSource


def artifact_name(model: str) -> str:
    """What a run calls the reward model of this name."""
    return "reward_model" if model == "reward_model" else f"reward_model:{model}"


def reward_model(run: Run, model: str) -> Artifact:
    """The reward model that a step made under this name."""
    return run.artifacts[artifact_name(model)]


def source_of(term: RewardTerm, run: Run, url: str) -> RewardSource:
    """The child's name for a term of the recipe."""
    if isinstance(term, RewardModelTerm):
        settings = term.model_dump(exclude={"type", "model"})
        path = reward_model(run, term.model).path
        return RewardModelSource(type="reward_model", path=path, name=term.model, **settings)
    if isinstance(term, GateTerm):
        settings = term.model_dump(exclude={"type", "helpfulness", "safety"})
        helpfulness, safety = (reward_model(run, name).path for name in (term.helpfulness, term.safety))
        return GateSource(type="gate", helpfulness=helpfulness, safety=safety, **settings)
    return ServiceSource(type="service", url=url, name=term.type, weight=term.weight)
