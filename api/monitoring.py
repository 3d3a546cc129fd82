"""The monitor of a training step: its prompts and texts, and who says what is good."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api.judging import judge_digest, open_judge
from api.named_files import located
from api.prompts import digest, is_agora, prompts
from api.recipe_parts import MonitorPart
from api.reward_service import Comparer, Failed, Scorer
from api.run_context import Run
from constitution.digest import content_hash
from critic.cache import Cache
from critic.judge import Usage
from critic.labelling import Labeller
from critic.refusals import refuses
from solon.records import Comparison, Completion, Prompt, Status
from trainer.config import MonitorConfig, ServiceSource
from trainer.data import Sample, write_samples

_TEXTS = 64
_SHOWN = ("alarm", "published", "fits", "observations")


def inputs(part: MonitorPart | None, run: Run) -> dict[str, str]:
    """Digests of what a monitor depends on besides the step."""
    if part is None:
        return {}
    held_out = run.recipe.held_out_judge
    judge = {"monitor_judge": judge_digest(held_out, run.settings)} if held_out is not None else {}
    return {"monitor": digest(_prompts(part, run)), "monitor_constitution": content_hash(run.constitution)} | judge


def monitor_config(part: MonitorPart | None, run: Run, folder: Path, url: str) -> MonitorConfig | None:
    """What the child is told; prompts and texts are written into the step's folder."""
    if part is None:
        return None
    asked = _prompts(part, run)
    path, text = folder / "monitor-prompts.jsonl", folder / "monitor-text.jsonl"
    path.write_text("".join(prompt.model_dump_json() + "\n" for prompt in asked), encoding="utf-8")
    agora = is_agora(_reference(part, run))
    if agora:
        write_samples(text, agora_texts(_TEXTS, run.recipe.seed))

    def service(name: str) -> ServiceSource:
        return ServiceSource(type="service", url=url, name=name)

    return MonitorConfig(
        **part.model_dump(exclude={"prompts", "limit"}),
        prompts=path,
        oracle=agora,
        judge=service("held_out_judge") if run.recipe.held_out_judge is not None else None,
        refusals=None if agora else service("refusals"),
        text=text if agora else None,
    )


async def monitor_services(
    part: MonitorPart | None, run: Run, cache: Cache | None
) -> tuple[dict[str, Scorer], dict[str, Comparer]]:
    """What a monitor asks: whether texts refuse, and the held-out judge."""
    if part is None:
        return {}, {}
    name = run.recipe.held_out_judge
    if name is None:
        return {"refusals": _refusal}, {}
    judge = await open_judge(name, run.constitution, run.settings, run.models, cache, run.accounts)
    return {"refusals": _refusal}, {"held_out_judge": comparer(Labeller(run.constitution, judge, seed=run.recipe.seed))}


def comparer(labeller: Labeller) -> Comparer:
    """P(a completion is better than another) under the whole constitution, in both orders."""

    async def compare(prompt: Prompt, completion: Completion, other: Completion) -> float | Failed | None:
        if completion.text == other.text:
            return 0.5
        rules = await labeller.rule_scores(prompt, (completion, other), Usage())
        pair = await labeller.compare(Comparison(prompt=prompt, a=completion, b=other), (rules[0], rules[1]))
        return pair.p_a if pair.status in (Status.OK, Status.TIE) and pair.p_a is not None else "failed"

    return compare


def shown(monitor: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a step's result says of its monitor; the model's directory has all."""
    return None if monitor is None else {name: monitor.get(name) for name in _SHOWN}


async def _refusal(_prompt: Prompt, completion: Completion) -> float | Failed | None:
    """1 of a completion that declines, by how it is worded."""
    return float(refuses(completion.text))


def _reference(part: MonitorPart, run: Run) -> str:
    return part.prompts or run.recipe.prompts.train


def _prompts(part: MonitorPart, run: Run) -> Sequence[Prompt]:
    return prompts(located(_reference(part, run), run.settings), part.limit, run.recipe.seed)


def agora_texts(count: int, seed: int) -> list[Sample]:
    """Helpful answers of the starter world to prompts that nothing is trained on: what a policy shall stay good at."""
    from trainer.starter.world import Attributes, compose
    from trainer.starter.world import prompts as all_prompts

    rng = random.Random(f"monitor-texts-{seed}")
    benign = [prompt for prompt in all_prompts("eval") if prompt.kind in ("everyday", "sensitive")]
    return [
        Sample(
            prompt=Prompt.model_validate({"id": prompt.id, "messages": [{"role": "user", "content": prompt.text}]}),
            completion=Completion(text=compose(prompt, Attributes(), rng), finish_reason="stop"),
        )
        for prompt in rng.sample(benign, count)
    ]
