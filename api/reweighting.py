"""`solon pairs reweight` and POST /v1/preferences/reweight: stored votes combined with other weights."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from api.dataset_cards import write_card
from constitution.document import Constitution
from constitution.weighting import Weights
from critic.changes import change, outcome
from critic.reweighting import reweighted
from solon.datasets import BESIDE, PairWriter, read_discards, read_pairs
from solon.errors import InvalidInput
from solon.formats import check_apart, sha256_of
from solon.records import Discard, PreferencePair


def parse_weights(assignments: Sequence[str]) -> dict[str, float]:
    """Factors from `KEY=NUMBER`, such as `concise=3` and `tag:tone=0`."""
    weights: dict[str, float] = {}
    for assignment in assignments:
        key, _, factor = assignment.partition("=")
        try:
            weights[key.strip()] = float(factor)
        except ValueError as error:
            raise InvalidInput(
                f"cannot read {assignment!r}", field="--weight", remedy="write concise=3 or tag:tone=0.5"
            ) from error
    return weights


async def reweight(
    pairs: Iterable[PreferencePair], constitution: Constitution, weights: Weights
) -> tuple[list[PreferencePair | Discard], dict[str, int]]:
    """The new labels in the order of the pairs, and how many changed in what way."""
    before = list(pairs)
    async with aclosing(reweighted(before, constitution, weights)) as items:
        after = [item async for item in items]
    changes = Counter[str](change(outcome(one), outcome(other)) for one, other in zip(before, after, strict=True))
    return after, dict(sorted(changes.items()))


async def reweight_file(dataset: Path, constitution: Constitution, weights: Weights, out: Path) -> dict[str, Any]:
    """Counts before and after; the new dataset is at `out`, its manifest names the one that it was made from."""
    check_apart(out, dataset, beside=BESIDE)
    after, changes = await reweight(read_pairs(dataset), constitution, weights)
    about = {"reweighted_from": {"file": dataset.name, "sha256": sha256_of(dataset)}}
    with PairWriter(out, about=about) as writer:
        for item in (*after, *read_discards(dataset)):
            writer.write(item)
        manifest = writer.commit()
    write_card(out)
    return {
        "pairs": len(after),
        "judge_calls": 0,
        "weights": dict(weights),
        "statuses": manifest.statuses,
        "changes": changes,
        "out": str(out),
    }
