"""The files that a recipe names: its own YAML, and prompts, constitution and rows beside it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from api.iterated_steps import FeedbackStep
from api.recipe_parts import OnRewards
from api.recipes import Recipe, RoundsStep
from solon.documents import override, read_yaml, validated

BUILTIN_PROMPTS = "builtin:"
FILES = ("reviews", "traffic")
"""Fields of a `feedback` step."""
_FILE_ID = re.compile(r"^file_[0-9a-hjkmnp-tv-z]{26}$")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file with `a.b=c` overrides; paths of prompts and constitution are taken from its folder."""
    document = override(read_yaml(path), overrides)
    return _from_folder(validated(Recipe, document, str(path)), path.parent)


def _from_folder(recipe: Recipe, folder: Path) -> Recipe:
    prompts = recipe.prompts
    moved = prompts.model_copy(update={name: _beside(getattr(prompts, name), folder) for name in ("train", "eval")})
    constitution = recipe.constitution
    if is_path(constitution):
        constitution = _beside(constitution, folder)
    steps = [_step_beside(step, folder) for step in recipe.steps]
    return recipe.model_copy(update={"prompts": moved, "constitution": constitution, "steps": steps})


def _step_beside(step: Any, folder: Path) -> Any:
    if isinstance(step, FeedbackStep):
        named = {name: value for name in FILES if (value := getattr(step, name)) is not None}
        return step.model_copy(update={name: _beside(value, folder) for name, value in named.items()})
    if isinstance(step, OnRewards) and step.monitor is not None and step.monitor.prompts is not None:
        watched = step.monitor.model_copy(update={"prompts": _beside(step.monitor.prompts, folder)})
        return step.model_copy(update={"monitor": watched})
    if isinstance(step, RoundsStep):
        return step.model_copy(update={"steps": [_step_beside(each, folder) for each in step.steps]})
    return step


def _beside(reference: str, folder: Path) -> str:
    if reference.startswith(BUILTIN_PROMPTS) or is_file_id(reference) or Path(reference).is_absolute():
        return reference
    return str((folder / reference).resolve())


def is_path(constitution: str) -> bool:
    """Whether a recipe's constitution is a file rather than a published id."""
    return constitution.endswith((".yaml", ".yml")) or "/" in constitution


def is_file_id(reference: str) -> bool:
    """Whether this is the id of an uploaded file, and not a path."""
    return _FILE_ID.match(reference) is not None


def prompts_named(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Fields of the recipe that say what models are asked, and what they say."""
    yield from (("prompts.train", recipe.prompts.train), ("prompts.eval", recipe.prompts.eval))
    for planned in recipe.planned():
        monitor = planned.step.monitor if isinstance(planned.step, OnRewards) else None
        if monitor is not None and monitor.prompts is not None and planned.round == 1:
            yield f"{planned.place}.monitor.prompts", monitor.prompts


def files_named(recipe: Recipe) -> list[str]:
    """Fields of the recipe that name files of this machine, which a recipe sent to a server may not do."""
    named = [
        field
        for field, reference in prompts_named(recipe)
        if not reference.startswith(BUILTIN_PROMPTS) and not is_file_id(reference)
    ]
    named += [
        f"{planned.place}.{name}"
        for planned in recipe.planned()
        for name in FILES
        if isinstance(planned.step, FeedbackStep) and planned.round == 1 and getattr(planned.step, name) is not None
    ]
    return named + (["constitution"] if is_path(recipe.constitution) else [])
