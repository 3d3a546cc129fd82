"""A training of every method on tiny data, and a process that runs them: `-m tests.unit.trainer.trainings CONFIG...`.

With `--kill-at N` before it the process kills itself when a training tells of its step N. Rewards that the
configurations name `even` are those of this module.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from solon.datasets import write_pairs
from solon.records import Completion, Message, PreferencePair, Prompt, Provenance, Status
from trainer.config import read_config
from trainer.data import Sample, write_samples
from trainer.rewards.mix import Item


class Even:
    """Rewards every other character."""

    name, weight = "even", 5.0

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """The share of characters with an even code."""
        return [sum(ord(c) % 2 == 0 for c in done.text) / max(1, len(done.text)) for _, done in items]


def configurations(folder: Path, model: Path) -> dict[str, dict[str, Any]]:
    """A configuration of each method, on data in the folder with an incomplete last batch."""
    rows = [Prompt(id=f"{i}", messages=(Message(role="user", content=f"{'why ' * (i % 3)}{i}?"),)) for i in range(10)]
    (folder / "prompts.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    texts = ["yes " * (1 + i % 4) for i in range(10)]
    samples = [Sample(prompt=row, completion=Completion(text=text)) for row, text in zip(rows, texts, strict=True)]
    write_samples(folder / "rows.jsonl", samples)
    write_pairs(folder / "pairs.jsonl", [_pair(i) for i in range(16)])
    common: dict[str, Any] = {"model": str(model), "learning_rate": 1e-3, "seed": 3}
    pairs = {**common, "pairs": str(folder / "pairs.jsonl"), "batch_size": 6}
    reward = [{"type": "service", "url": "http://localhost:1", "name": "even"}]
    online = {**common, "prompts": str(folder / "prompts.jsonl"), "rewards": reward, "steps": 2, "max_tokens": 8}
    groups = {**online, "prompts_per_step": 4, "completions": 2, "minibatch": 4, "epochs": 2}
    ppo = {**online, "type": "ppo", "episodes": 6, "minibatch": 4, "micro_batch": 2, "critic": "policy"}
    watched = {"monitor": {"prompts": str(folder / "prompts.jsonl"), "every": 1, "oracle": True, "stop": False}}
    return {
        "sft": {**common, "type": "sft", "rows": str(folder / "rows.jsonl"), "batch_size": 4, "epochs": 2.0},
        "reward": {**pairs, "type": "reward", "held_out": 0.0, "epochs": 2.0},
        "dpo": {**pairs, "type": "dpo", "sft_weight": 0.1},
        "dpo-hard": {**pairs, "type": "dpo", "loss_type": "apo_zero", "soft_labels": False},
        "kto": {**pairs, "type": "kto"},
        "grpo": {**groups, "type": "grpo"},
        "rloo": {**groups, "type": "rloo"},
        "grpo-watched": {**groups, **watched, "type": "grpo", "beta": 0.0},
        "ppo": ppo,
        "ppo-watched": {**ppo, **watched},
    }


def _pair(i: int) -> PreferencePair:
    provenance = Provenance(constitution="test", constitution_version="1.0.0", constitution_hash="sha256:0")
    p = 0.6 + 0.02 * i
    return PreferencePair(
        id=f"p{i}", status=Status.OK, p_a=p, chosen="a", p_chosen=p, provenance=provenance,
        prompt=Prompt(id=f"{i // 2}", messages=(Message(role="user", content=f"Is it {i // 2}?"),)),
        a=Completion(text=f"yes {i} " * (1 + i % 3)), b=Completion(text=f"no {i}"),
    )  # fmt: skip


def written(folder: Path, name: str, config: dict[str, Any]) -> Path:
    """The file of a configuration, whose output is FOLDER/NAME-out."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps({**config, "output": str(folder / f"{name}-out"), "threads": 1, "precision": "float32"}))
    return file


def steps(events: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """The metrics of each step."""
    return [event["metrics"] for event in events if event["event"] == "progress"]


def trained(path: Path, kill_at: int | None = None) -> list[dict[str, Any]]:
    """The events of one training, as this process would tell them."""
    from trainer import run
    from trainer.runs import groups, ppo

    sources: Any = lambda sources, _field="rewards": [Even() for _ in sources]  # noqa: E731
    groups.opened, ppo.opened = sources, sources
    events: list[dict[str, Any]] = []

    def tell(event: str, **fields: Any) -> None:
        events.append({"event": event, **fields})
        if event == "progress" and fields["step"] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    run.run(read_config(path), tell)
    return events


if __name__ == "__main__":
    names, kill_at = sys.argv[1:], None
    if names[0] == "--kill-at":
        kill_at, names = int(names[1]), names[2:]
    for name in names:
        events = trained(Path(name), kill_at)
        from trainer import processes

        if processes.is_first():
            Path(name).with_suffix(".events").write_text(json.dumps(events))
