"""The `label` step: candidates from the policy, compared by judge and rules."""

from contextlib import aclosing
from itertools import chain
from pathlib import Path

from api import prompts
from api.accounts import cost_of
from api.dataset_cards import write_card
from api.judging import needs_judge, open_judge, opened_cache, own_judge
from api.recipes import LabelStep
from api.run_context import Outcome, Run, Ticks
from critic.audit import audit
from critic.cache import Cache
from critic.candidates import Sampling
from critic.concurrency import ROWS_IN_FLIGHT
from critic.judge import Judge
from critic.pipeline import label
from solon.datasets import PairWriter, read_discards, read_pairs
from solon.exchanges import watching
from solon.records import SELF_PREFERENCE, Discard, PreferencePair
from solon.rows import Row


class Label:
    """Writes `pairs.jsonl` with its manifest."""

    def inputs(self, step: LabelStep, run: Run) -> dict[str, str]:
        """Critic, policy and prompts."""
        own = {"judge": run.policy_digest()} if step.judge == "policy" else {}
        rows = prompts.digest_of_rows(run.train_rows()) if step.given else prompts.digest(run.train_prompts())
        asked = {"policy": run.policy_digest(), "prompts": rows}
        return run.critic_digests() | own | asked

    async def do(self, step: LabelStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The pairs; raises CoverageTooLow where too few comparisons could be judged."""
        recipe = run.recipe
        rows = run.train_rows() if step.given else prompts.rows(run.train_prompts())
        path = folder / "pairs.jsonl"
        ticks(0, len(rows), "starting the models")
        with (
            opened_cache(run.settings) as cache,
            PairWriter(path, about={"recipe": recipe.name}) as writer,
        ):
            written = any(not row.completions for row in rows) or step.judge == "policy"
            policy = await run.policy() if written else None
            judge = await _judge(step, run, cache)
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
                    watching().labelled(item)
                    writer.write(_flagged(item) if step.judge == "policy" else item)
                    seen.add(item.prompt_id if isinstance(item, Discard) else item.prompt.id, writer)
            manifest = writer.commit(spend=cost_of(judge, policy))
            seen.finish(writer)
        found = audit(chain(read_pairs(path), read_discards(path)))
        write_card(path, found)
        usable = found.coverage.value if found.coverage is not None else 0.0
        result = {"prompts": len(rows), "statuses": manifest.statuses, "discards": manifest.discards}
        flips = found.flip_rate.value if found.flip_rate is not None else None
        return Outcome({"pairs": path}, result | {"coverage": usable, "flip_rate": flips})


async def _judge(step: LabelStep, run: Run, cache: Cache | None) -> Judge | None:
    """The recipe's judge, or the policy as one."""
    if step.judge is None or not needs_judge(run.constitution):
        return await open_judge(run.recipe.judge, run.constitution, run.settings, run.models, cache, run.accounts)
    entry = run.settings.model(run.recipe.policy, "policy")
    name, revision = await run.policy_name(), run.policy_digest()
    model, account = await run.models.chat(name), run.accounts.of(name)
    return own_judge(
        model, entry.judge, run.constitution, cache=cache, revision=revision, account=account, fences=entry.fenced
    )


def _flagged(item: PreferencePair | Discard) -> PreferencePair | Discard:
    """The item, its label marked as the policy's own."""
    if isinstance(item, Discard):
        return item
    return item.model_copy(update={"flags": (*item.flags, SELF_PREFERENCE)})


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
