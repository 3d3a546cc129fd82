"""The `best_of_n` step: samples of the policy as it is, scored, and the best of all rounds of each prompt."""

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from api import prompts
from api.iterated_steps import BestOfNStep
from api.run_context import Outcome, Run, Ticks
from api.scoring import score, scorer_digest
from critic.candidates import Sampling, generate
from critic.concurrency import in_order
from critic.rejection import Sampled, best, scored, summary
from critic.suspicion import suspected
from solon.chat import ChatModel
from solon.errors import CoverageTooLow
from solon.formats import text_lines
from solon.records import INJECTION_SUSPECTED, Completion, Discard, Prompt
from trainer.data import Sample, write_samples

_IN_FLIGHT = 64


class BestOfN:
    """Writes `samples.jsonl`, all samples of all rounds with their scores, and `best.jsonl`."""

    def inputs(self, step: BestOfNStep, run: Run) -> dict[str, str]:
        """Policy, prompts, what scores, and the samples of the rounds before."""
        earlier = run.artifacts.get("samples")
        asked = {"policy": run.policy_digest(), "prompts": prompts.digest(run.train_prompts())}
        return asked | {
            "scorer": scorer_digest(step.rewards, run),
            "samples": earlier.digest if earlier is not None else "none",
        }

    async def do(self, step: BestOfNStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The best; raises CoverageTooLow where too few samples have a score."""
        earlier = read_sampled(run.artifacts["samples"].path) if "samples" in run.artifacts else []
        turn = max((sample.round for sample in earlier), default=0) + 1
        scorer = scorer_digest(step.rewards, run)
        fresh, left_out = await _sample(step, run, turn, ticks)
        waiting = [each for each in (*earlier, *fresh) if each.scorer != scorer]
        found = await score(step.rewards, [(each.prompt, each.completion) for each in waiting], run, folder, ticks)
        new = iter(scored(waiting, found.totals, found.terms, scorer))
        samples = [each if each.scorer == scorer else next(new) for each in (*earlier, *fresh)]
        _require(samples, step.min_coverage)
        picked = best(samples, scorer)
        _write(folder / "samples.jsonl", samples)
        write_samples(folder / "best.jsonl", (Sample(prompt=s.prompt, completion=s.completion) for s in picked))
        result = summary(samples, scorer, turn, run.recipe.seed)
        again = len(waiting) - len(fresh)
        result |= {"round": turn, "left_out": dict(left_out), "scored_again": again, "scorer": scorer}
        return Outcome({"samples": folder / "samples.jsonl", "best": folder / "best.jsonl"}, result)


async def _sample(step: BestOfNStep, run: Run, turn: int, ticks: Ticks) -> tuple[list[Sampled], Counter[str]]:
    """This round's samples, and how many were left out by reason."""
    asked, digest = run.train_prompts(), run.policy_digest()
    ticks(0, len(asked), "sampling")
    policy = await run.policy()
    sampling = Sampling(step.max_tokens, step.temperature, keep_cut=step.keep_cut)
    left_out: Counter[str] = Counter()
    fresh: list[Sampled] = []
    async with aclosing(in_order(asked, _writer(policy, step, run, sampling), width=_IN_FLIGHT)) as written:
        done = 0
        async for prompt, completions, lost in written:
            left_out.update(discard.reason for discard in lost)
            for completion in completions:
                reason = _unfit(prompt, completion, step.keep_cut)
                if reason:
                    left_out[reason] += 1
                else:
                    fresh.append(Sampled(prompt=prompt, completion=completion, round=turn, policy=digest))
            done += 1
            ticks(done, len(asked), "sampling")
    return fresh, left_out


def _writer(policy: ChatModel, step: BestOfNStep, run: Run, sampling: Sampling):  # noqa: ANN202 - of `in_order`
    async def write(prompt: Prompt) -> tuple[Prompt, Sequence[Completion], Sequence[Discard]]:
        written, lost = await generate(policy, prompt, step.samples, seed=run.recipe.seed, sampling=sampling)
        return prompt, written, lost

    return write


def _unfit(prompt: Prompt, completion: Completion, keep_cut: bool) -> str:
    """Why it is not scored. Repeated texts are: leaving them out would bias what the best of n is expected to be."""
    if not completion.text.strip():
        return "empty_completion"
    if completion.finish_reason == "length" and not keep_cut:
        return "cut_completion"
    return INJECTION_SUSPECTED if suspected(prompt, completion) else ""


def _require(samples: Sequence[Sampled], floor: float) -> None:
    known = sum(sample.score is not None for sample in samples)
    if not samples or known < floor * len(samples) or not known:
        raise CoverageTooLow(
            f"{known} of {len(samples)} samples have a score, {floor:.0%} are needed",
            remedy="lower `min_coverage` and see `terms` in samples.jsonl; is the reward fit for these prompts?",
        )


def read_sampled(path: Path) -> list[Sampled]:
    """The samples in a file of this step."""
    return [Sampled.model_validate_json(line) for _, line in text_lines(path)]


def _write(path: Path, samples: Sequence[Sampled]) -> None:
    path.write_text("".join(sample.model_dump_json() + "\n" for sample in samples), encoding="utf-8")
