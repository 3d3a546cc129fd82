"""What promotions do: a name means the snapshot that was promoted last, for whoever resolves it from then on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.promotions import Promotion, Promotions
from api.registry import Models
from solon.chat import ChatModel
from solon.settings import ModelEntry, Settings


def in_force(settings: Settings, at: float | None = None) -> dict[str, Promotion]:
    """The latest promotion of each name in the settings' project.

    Args:
        at: Unix time in seconds, at which they were in force; None: now.
    """
    history = Promotions.of(settings).history(project=settings.project)
    return {each.name: each for each in history if at is None or each.at.timestamp() <= at}


def with_promoted(settings: Settings, promoted: Mapping[str, Promotion] | None = None) -> Settings:
    """The settings in which each promoted name means its snapshot.

    Args:
        promoted: by name; None takes those in force.
    """
    found = in_force(settings) if promoted is None else promoted
    if not found:
        return settings
    models = dict(settings.models) | {name: _entry(settings.models.get(name), each) for name, each in found.items()}
    return settings.model_copy(update={"models": models})


def _entry(registered: ModelEntry | None, promotion: Promotion) -> ModelEntry:
    place: dict[str, Any] = {"engine": "local", "path": promotion.path, "revision": promotion.digest}
    if registered is None:
        return ModelEntry.model_validate({"kind": "policy"} | place)
    kept = registered.model_dump(include={"kind", "family", "judge", "characters_per_token", "max_concurrency"})
    return ModelEntry.model_validate(kept | place)


def stamp(settings: Settings) -> int:
    """Another number after every promotion, cheap enough to be asked for at every request."""
    try:
        return Promotions.of(settings).path.stat().st_mtime_ns
    except OSError:
        return 0


class PromotedModels:
    """Registered models of which some names mean snapshots; implements `api.registry.Models`."""

    def __init__(self, models: Models, promoted: Mapping[str, Promotion]) -> None:
        self._models = models
        self._promoted = promoted

    async def chat(self, name: str) -> ChatModel:
        """The running model, by the name and digest of its snapshot; raises NotFound or ModelUnavailable."""
        promotion = self._promoted.get(name)
        if promotion is None:
            return await self._models.chat(name)
        served = f"{name}.{promotion.digest.removeprefix('sha256:')[:12]}"
        await self._models.serve({served: Path(promotion.path)})
        return await self._models.chat(served)

    async def serve(self, directories: Mapping[str, Path]) -> None:
        """Make model directories available to `chat` under these names."""
        await self._models.serve(directories)
