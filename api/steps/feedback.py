"""The `feedback` step: people's reviews and fresh prompts join the pairs."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from api import digests, prompts
from api.dataset_cards import write_card
from api.iterated_steps import FeedbackStep
from api.judging import open_judge, opened_cache
from api.run_context import Outcome, Run, Ticks
from critic.candidates import Sampling
from critic.contamination import Decontaminator
from critic.feedback import joined, reviewed
from critic.pipeline import label
from solon.datasets import PairWriter, read_manifest, read_pairs
from solon.errors import NotFound
from solon.records import Discard, PreferencePair
from solon.rows import read_rows

_IN_FLIGHT = 64


class Feedback:
    """Writes `pairs.jsonl`, the next version of the dataset."""

    def inputs(self, step: FeedbackStep, run: Run) -> dict[str, str]:
        """Files, the pairs so far and, where fresh prompts are labelled, policy and critic."""
        files = {name: digests.of_path(_file(step, name)) for name in ("reviews", "traffic") if getattr(step, name)}
        before = {"pairs": run.artifacts["pairs"].digest} if "pairs" in run.artifacts else {}
        asked = {"evaluation": prompts.digest(run.all_eval_prompts())}
        labelled = {"policy": run.policy_digest(), **run.critic_digests()} if step.traffic else {}
        return files | before | asked | labelled

    async def do(self, step: FeedbackStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The joined pairs; a pair that people have judged is theirs, whatever a judge said of it."""
        known = await asyncio.to_thread(_evaluated, step, run)
        before = run.artifacts["pairs"].path if "pairs" in run.artifacts else None
        stored = [] if before is None else await asyncio.to_thread(lambda: list(read_pairs(before)))
        people = await asyncio.to_thread(_reviews, step, run)
        fresh = await _labelled(step, run, known, ticks) if step.traffic else []
        about = {"recipe": run.recipe.name, "version": 1 + _version(before)}
        parts = {"reviews": people, "before": stored, "traffic": fresh}
        of = {id(item): name for name, items in parts.items() for item in items}
        items = joined(people, stored, fresh, known)
        result = await asyncio.to_thread(_write, folder / "pairs.jsonl", about, items, of)
        return Outcome({"pairs": folder / "pairs.jsonl"}, about | result)


def _write(
    path: Path, about: dict[str, Any], items: Iterable[PreferencePair | Discard], of: dict[int, str]
) -> dict[str, Any]:
    """How many pairs of each source are in the dataset, and what was left out."""
    kept: Counter[str] = Counter()
    with PairWriter(path, about=about) as writer:
        for item in items:
            writer.write(item)
            if not isinstance(item, Discard):
                kept[of[id(item)]] += 1
        manifest = writer.commit()
    write_card(path)
    return {"kept": dict(kept), "statuses": manifest.statuses, "discards": manifest.discards}


def _reviews(step: FeedbackStep, run: Run) -> list[PreferencePair]:
    """People's pairs."""
    rows = read_rows(_file(step, "reviews")) if step.reviews else ()
    return [reviewed(row, run.constitution) for row in rows]


async def _labelled(
    step: FeedbackStep, run: Run, known: Decontaminator, ticks: Ticks
) -> list[PreferencePair | Discard]:
    """The fresh prompts, answered by the policy as it is and labelled; those that are evaluated on are not asked."""
    read = await asyncio.to_thread(lambda: list(read_rows(_file(step, "traffic"))))
    checked = [(row, known.check_prompt(row.prompt)) for row in read]
    found: list[PreferencePair | Discard] = [discard for _, discard in checked if discard is not None]
    rows = [row for row, discard in checked if discard is None]
    if not rows:
        return found
    ticks(0, None, "starting the models")
    with opened_cache(run.settings) as cache:
        judge = await open_judge(run.recipe.judge, run.constitution, run.settings, run.models, cache, run.accounts)
        items = label(
            rows,
            constitution=run.constitution,
            judge=judge,
            policy=await run.policy(),
            n=step.candidates,
            pairing=step.pairing,
            seed=run.recipe.seed,
            sampling=Sampling(step.max_tokens, step.temperature),
            min_coverage=step.min_coverage,
            weights=run.recipe.weights,
            max_rows_in_flight=_IN_FLIGHT,
        )
        async with aclosing(items) as labelled:
            async for item in labelled:
                found.append(item)
                ticks(len(found), None, "labelling")
    return found


def _evaluated(step: FeedbackStep, run: Run) -> Decontaminator:
    """Knows all evaluation prompts."""
    known = Decontaminator() if step.near_duplicates else Decontaminator(covered=1.0, threshold=1.0)
    for prompt in run.all_eval_prompts():
        known.add(prompt, f"evaluation: {prompt.id}")
    return known


def _version(pairs: Path | None) -> int:
    """Of the dataset, counted by these steps; 0 for one that none of them wrote."""
    if pairs is None:
        return 0
    try:
        return int(read_manifest(pairs, verify=False).about.get("version", 0))
    except NotFound:
        return 0


def _file(step: FeedbackStep, name: str) -> Path:
    """The file; raises NotFound where it is not there."""
    path = Path(getattr(step, name))
    if not path.is_file():
        raise NotFound(f"there is no file {path}", field=f"feedback.{name}", remedy="check the path")
    return path
