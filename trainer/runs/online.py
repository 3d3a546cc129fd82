"""What children of the online methods are rewarded by, as their provenance names it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from solon.formats import sha256_of
from trainer.config import RewardSource


def reward_digests(sources: Iterable[RewardSource]) -> dict[str, Any]:
    """Digests of the reward models' weights, by name."""
    paths: dict[str, Path] = {}
    for source in sources:
        if source.type == "reward_model":
            paths[source.name] = source.path
        elif source.type == "gate":
            paths |= {f"{source.name}.helpfulness": source.helpfulness, f"{source.name}.safety": source.safety}
    return {
        name: {str(file.relative_to(path)): sha256_of(file) for file in sorted(path.rglob("*.safetensors"))}
        for name, path in paths.items()
    }
