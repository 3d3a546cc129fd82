"""`solon reward train`: a reward model from what people preferred, and how often it agrees with people it never saw."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from api import children
from api.children import Progress, Train
from critic.exchange.given import label
from solon.datasets import PairWriter, read_pairs
from solon.errors import InvalidInput, NotFound
from solon.records import PreferencePair, Provenance
from solon.rows import Row, read_rows
from solon.settings import Settings
from trainer.config import RewardConfig, RewardMethod

_PEOPLE = Provenance(constitution="", constitution_version="", constitution_hash="")


async def train_reward(
    rows: Path,
    held_out: Path,
    base: str,
    out: Path,
    settings: Settings,
    method: RewardMethod,
    progress: Progress,
    *,
    seed: int = 0,
    train: Train = children.train,
) -> dict[str, Any]:
    """The model is at `out`; what is returned has accuracy on `held_out`, over all and for each domain.

    Args:
        rows: a dataset of pairs, or rows of a prompt and two completions of which people chose one (`chosen` and
            `rejected`, or `votes`); a key `domain` names what a row is about.
        held_out: the same, never trained on.
        base: registered model that the reward model begins as.
    """
    scratch = Path(tempfile.mkdtemp(prefix="solon-reward-"))
    try:
        files = {name: scratch / f"{name}.jsonl" for name in ("train", "held_out")}
        read = {name: pairs_of(path) for name, path in (("train", rows), ("held_out", held_out))}
        for name, pairs in read.items():
            with PairWriter(files[name], about={"from": str(rows if name == "train" else held_out)}) as writer:
                for pair in pairs:
                    writer.write(pair)
                writer.commit()
        config = RewardConfig(
            **method.model_dump(exclude={"held_out"}),
            type="reward",
            held_out=0.0,
            model=settings.model(base).directory(),
            pairs=files["train"],
            held_out_pairs=files["held_out"],
            output=out,
            seed=seed,
        )
        done = await train(config, out.parent / f"{out.name}-run", progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    kept = ("pairs", "dropped", "held_out_dropped", "metrics", "held_out", "seconds")
    domains = Counter(str(pair.prompt.metadata.get("domain", "-")) for pair in read["train"])
    return {"out": str(out), "base": base, "train_domains": dict(domains)} | {name: done.get(name) for name in kept}


def pairs_of(path: Path) -> list[PreferencePair]:
    """The pairs of a file, one that has them or one of rows that people judged; InvalidInput where there is none."""
    if not path.is_file():
        raise NotFound(
            f"{path}: no such file", field="rows", remedy="give a file of pairs, or of rows that people judged"
        )
    with path.open(encoding="utf-8") as file:
        ours = '"object":"preference"' in file.readline().replace('": "', '":"')
    found = list(read_pairs(path)) if ours else [pair for row in read_rows(path) if (pair := _judged(row)) is not None]
    if not found:
        raise InvalidInput(
            f"{path} holds no pair that people judged", field="rows", remedy="give rows with `chosen` and `rejected`"
        )
    return found


def _judged(row: Row) -> PreferencePair | None:
    """The pair with people's verdict, the mean of their votes; None where there is none, or nothing to compare."""
    if len(row.completions) != 2 or not row.human_votes or row.completions[0].text == row.completions[1].text:
        return None
    worth = {"a": 1.0, "b": 0.0, "tie": 0.5}
    p_a = sum(worth[str(vote)] for vote in row.human_votes) / len(row.human_votes)
    domain = row.extra.get("domain") or row.prompt.metadata.get("domain")
    known = row.prompt.metadata | ({"domain": domain} if domain else {})
    return PreferencePair(
        id=f"people-{row.prompt.id}",
        prompt=row.prompt.model_copy(update={"metadata": known}),
        a=row.completions[0],
        b=row.completions[1],
        provenance=_PEOPLE,
        **label(p_a),
    )
