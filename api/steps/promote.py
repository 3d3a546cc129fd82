"""The `promote` step: the policy as it is against the snapshot in force, and which of the two the run goes on from."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from api import prompts
from api.contest import completions, contest
from api.iterated_steps import PromoteStep
from api.judging import open_judge, opened_cache
from api.promotions import Promotion, Promotions
from api.run_context import Outcome, Run, Ticks
from critic.candidates import Sampling
from critic.labelling import Labeller
from critic.pairs import USABLE
from critic.ranking import Match
from critic.snapshots import Board, Gain
from solon.chat import ChatModel
from solon.errors import CoverageTooLow, InvalidInput
from solon.records import Prompt

MIN_COVERAGE = 0.8
"""Share of the comparisons that must end `ok` or `tie`."""
IN_FORCE = "in_force"


class Promote:
    """Writes the model directory `model`, the snapshot in force from now on, and `snapshots`, what led to it."""

    def inputs(self, step: PromoteStep, run: Run) -> dict[str, str]:
        """The policy, what was in force, all matches so far, and the critic."""
        earlier = run.artifacts.get("snapshots")
        found = {"policy": run.policy_digest(), "base": run.base_digest(), "critic": json.dumps(run.critic_digests())}
        asked = {"prompts": prompts.digest(_prompts(step, run))}
        return found | asked | {"snapshots": earlier.digest if earlier is not None else "none"}

    async def do(self, step: PromoteStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The decision; raises CoverageTooLow where too few comparisons could be judged."""
        known = _History.of(run)
        new, old = run.policy_digest(), known.in_force
        if new != old:
            known.matches += await _matches(step, run, known, ticks)
        board = Board(known.matches, seed=run.recipe.seed)
        gain = board.gain(new, old, level=step.level)
        promoted = gain.beyond_doubt
        known.settle(new, run.policy_path(), promoted)
        known.copy_in_force(folder / "model")
        if promoted and step.name is not None:
            _put_in_force(step.name, run, folder, new, old, gain)
        standings = [asdict(each) for each in board.standings(level=step.level)]
        (folder / "snapshots.json").write_text(json.dumps(known.as_dict() | {"standings": standings}, indent=2) + "\n")
        result = {"promoted": promoted, "gain": asdict(gain), "standings": standings, "without": known.without}
        ending = f"{known.without} snapshots in a row were not promoted" if known.without >= step.patience else ""
        return Outcome({"model": folder / "model", "snapshots": folder / "snapshots.json"}, result, ending)


class _History:
    """Snapshots so far, their matches, and which is in force."""

    def __init__(self, in_force: str, path: Path, matches: list[Match], without: int) -> None:
        self.in_force, self.path, self.matches, self.without = in_force, path, matches, without

    @classmethod
    def of(cls, run: Run) -> "_History":
        """What the last `promote` step of the run left; at first the policy that the recipe names is in force."""
        earlier = run.artifacts.get("snapshots")
        if earlier is None:
            return cls(run.base_digest(), run.base_path(), [], 0)
        stored: dict[str, Any] = json.loads(earlier.path.read_text(encoding="utf-8"))
        matches = [Match(**each) for each in stored["matches"]]
        return cls(stored[IN_FORCE], earlier.path.parent / "model", matches, stored["without"])

    def settle(self, new: str, path: Path, promoted: bool) -> None:
        """Take the decision over."""
        if promoted:
            self.in_force, self.path, self.without = new, path, 0
        else:
            self.without += 1

    def copy_in_force(self, to: Path) -> None:
        """The snapshot's directory; its files are shared where the disk allows it."""
        try:
            shutil.copytree(self.path, to, copy_function=os.link)
        except OSError:
            shutil.rmtree(to, ignore_errors=True)
            shutil.copytree(self.path, to)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {IN_FORCE: self.in_force, "without": self.without, "matches": [asdict(each) for each in self.matches]}


def _prompts(step: PromoteStep, run: Run) -> tuple[Prompt, ...]:
    found = run.choice_prompts(step.prompts)
    if len(found) < 2:
        raise InvalidInput(
            "there are no evaluation prompts left to choose a snapshot on",
            field="prompts.eval_limit",
            remedy="set it below the number of evaluation prompts: the rest are for choosing",
        )
    return found


async def _matches(step: PromoteStep, run: Run, known: _History, ticks: Ticks) -> list[Match]:
    """The policy as it is against the snapshot in force, on the same prompts, judged in both orders."""
    asked, done = _prompts(step, run), 0

    def tick() -> None:
        nonlocal done
        done += 1
        ticks(done, 3 * len(asked), "comparing")

    sampling = Sampling(step.max_tokens, step.temperature, keep_cut=True)
    seed = run.recipe.seed
    new = await completions(await run.policy(), asked, seed=seed, sampling=sampling, tick=tick)
    old = await completions(await _in_force(run, known), asked, seed=seed, sampling=sampling, tick=tick)
    with opened_cache(run.settings) as cache:
        judge = await open_judge(run.recipe.judge, run.constitution, run.settings, run.models, cache, run.accounts)
        held = await contest(Labeller(run.constitution, judge, seed=seed), asked, new, old, tick)
    usable = [pair for pair in held.pairs if pair.status in USABLE and pair.p_a is not None]
    if len(usable) < MIN_COVERAGE * len(asked):
        raise CoverageTooLow(
            f"{len(usable)} of {len(asked)} comparisons could be judged, {MIN_COVERAGE:.0%} are needed",
            remedy="see the judge's log; is it fit for these prompts?",
        )
    return [Match(run.policy_digest(), known.in_force, pair.p_a or 0.0, pair.prompt.id) for pair in usable]


async def _in_force(run: Run, known: _History) -> ChatModel:
    """The snapshot in force, running."""
    if known.in_force == run.base_digest():
        return await run.writer(run.recipe.policy)
    name = f"{known.path.parent.name}-in-force"
    await run.models.serve({name: known.path})
    return await run.models.chat(name)


def _put_in_force(name: str, run: Run, folder: Path, new: str, old: str, gain: Gain) -> None:
    """Record that the name means this snapshot from now on."""
    Promotions.of(run.settings).add(
        Promotion(
            project=run.settings.project,
            name=name,
            snapshot=folder.name,
            path=str((folder / "model").resolve()),
            digest=new,
            replaces=old,
            gain=(gain.value, gain.low, gain.high),
            by=f"recipe {run.recipe.name}",
        )
    )
