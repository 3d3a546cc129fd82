"""The `condition` step: labelled pairs, once for each value profile, each naming the profile that its label follows."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.iterated_steps import ConditionStep, Profile
from api.reweighting import reweight
from api.run_context import Outcome, Run, Ticks
from constitution.digest import content_hash
from solon.datasets import PairWriter, read_discards, read_pairs
from solon.profiles import under_profile
from solon.records import Discard, PreferencePair

PROFILE = "profile"
"""Key of `PreferencePair.extra` with the name of the profile that a label follows."""


class Condition:
    """Writes `pairs.jsonl`, and `profiles.json`, which names the profiles."""

    def inputs(self, step: ConditionStep, run: Run) -> dict[str, str]:
        """Pairs and constitution."""
        return {"pairs": run.artifacts["pairs"].digest, "constitution": content_hash(run.constitution)}

    async def do(self, step: ConditionStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The pairs under every profile; raises InvalidInput where the stored votes do not suffice."""
        source = run.artifacts["pairs"].path
        stored = await asyncio.to_thread(lambda: list(read_pairs(source)))
        views: list[tuple[Profile | None, list[PreferencePair | Discard]]] = []
        result: dict[str, Any] = {"judge_calls": 0, "profiles": {}}
        if step.plain:
            views.append((None, [*stored]))
        for number, profile in enumerate(step.profiles, start=1):
            items, changes = await reweight(stored, run.constitution, profile.weights)
            views.append((profile, items))
            statuses = Counter(item.status.value for item in items if isinstance(item, PreferencePair))
            result["profiles"][profile.name] = {"statuses": dict(sorted(statuses.items())), "changes": changes}
            ticks(number, len(step.profiles))
        path = folder / "pairs.jsonl"
        with PairWriter(path, about={"recipe": run.recipe.name, "profiles": _named(step)}) as writer:
            for item in _interleaved(views):
                writer.write(item)
            for discard in read_discards(source):
                writer.write(discard)
            manifest = writer.commit()
        (folder / "profiles.json").write_text(json.dumps(_named(step), indent=2) + "\n", encoding="utf-8")
        outputs = {"pairs": path, "profiles": folder / "profiles.json"}
        return Outcome(outputs, result | {"statuses": manifest.statuses, "discards": manifest.discards})


def _named(step: ConditionStep) -> dict[str, dict[str, float]]:
    return {profile.name: dict(profile.weights) for profile in step.profiles}


def _interleaved(
    views: list[tuple[Profile | None, list[PreferencePair | Discard]]],
) -> Iterator[PreferencePair | Discard]:
    """All views of the first pair, then of the next: a training that ends early has seen every profile."""
    for items in zip(*(items for _, items in views), strict=True):
        for (profile, _), item in zip(views, items, strict=True):
            yield item if profile is None else _conditioned(item, profile)


def _conditioned(item: PreferencePair | Discard, profile: Profile) -> PreferencePair | Discard:
    if isinstance(item, Discard):
        return item.model_copy(update={"detail": f"{item.detail} (profile {profile.name})"})
    prompt = item.prompt
    # Another prompt than the plain one: the same completions have other labels there.
    asked = prompt.model_copy(
        update={"id": f"{prompt.id}@{profile.name}", "messages": under_profile(prompt.messages, profile.weights)}
    )
    changes = {"id": f"{item.id}@{profile.name}", "prompt": asked, "extra": item.extra | {PROFILE: profile.name}}
    return item.model_copy(update=changes)
