"""The `label` step: candidates from the policy, compared by judge and rules."""

from contextlib import aclosing
from itertools import chain
from pathlib import Path

from api import prompts
from api.accounts import cost_of
from api.dataset_cards import write_card
from api.judging import open_judge, opened_cache
from api.recipes import LabelStep
from api.steps import Outcome, Run, Ticks
from critic.audit import audit
from critic.candidates import Sampling
from critic.pipeline import label
from solon.datasets import PairWriter, read_discards, read_pairs
from solon.records import Discard
from solon.rows import Row

ROWS_IN_FLIGHT = 64
"""Wide enough that the local server fills its batches while the judge works on other rows."""


class Label:
    """Writes `pairs.jsonl` with its manifest."""

    def inputs(self, step: LabelStep, run: Run) -> dict[str, str]:
        """Critic, policy and prompts."""
        return run.critic_digests() | {"policy": run.policy_digest(), "prompts": prompts.digest(run.train_prompts())}

    async def do(self, step: LabelStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The pairs; raises CoverageTooLow where too few comparisons could be judged."""
        recipe, rows = run.recipe, prompts.rows(run.train_prompts())
        path = folder / "pairs.jsonl"
        ticks(0, len(rows), "starting the models")
        with (
            opened_cache(run.settings) as cache,
            PairWriter(path, about={"recipe": recipe.name}) as writer,
        ):
            judge = await open_judge(recipe.judge, run.constitution, run.settings, run.models, cache, run.accounts)
            policy = await run.policy()
            items = label(
                rows,
                constitution=run.constitution,
                judge=judge,
                policy=policy,
                n=step.candidates,
                pairing=step.pairing,
                schedule=step.schedule,
                min_margin=step.min_margin,
                seed=recipe.seed,
                sampling=Sampling(step.max_tokens, step.temperature, keep_cut=step.keep_cut),
                min_coverage=step.min_coverage,
                weights=recipe.weights,
                max_rows_in_flight=ROWS_IN_FLIGHT,
            )
            seen = Seen(rows, ticks)
            async with aclosing(items) as labelled:
                async for item in labelled:
                    writer.write(item)
                    seen.add(item.prompt_id if isinstance(item, Discard) else item.prompt.id, writer)
            manifest = writer.commit(spend=cost_of(judge, policy))
            seen.finish(writer)
        found = audit(chain(read_pairs(path), read_discards(path)))
        write_card(path, found)
        usable = found.coverage.value if found.coverage is not None else 0.0
        result = {"prompts": len(rows), "statuses": manifest.statuses, "discards": manifest.discards}
        flips = found.flip_rate.value if found.flip_rate is not None else None
        return Outcome({"pairs": path}, result | {"coverage": usable, "flip_rate": flips})


class Seen:
    """Counts the rows that are done; items arrive in the order of the rows."""

    def __init__(self, rows: list[Row], ticks: Ticks) -> None:
        self._place = {row.prompt.id: number for number, row in enumerate(rows)}
        self._ticks = ticks

    def add(self, prompt_id: str, writer: PairWriter) -> None:
        """An item of this prompt came: all rows before it are done."""
        self._tick(self._place[prompt_id], writer)

    def finish(self, writer: PairWriter) -> None:
        """All rows are done."""
        self._tick(len(self._place), writer)

    def _tick(self, done: int, writer: PairWriter) -> None:
        counts = writer.counts
        metrics = {"ok": counts.get("ok", 0), "tie": counts.get("tie", 0), "discarded": sum(writer.discards.values())}
        self._ticks(done, len(self._place), "", {name: float(value) for name, value in metrics.items()})
