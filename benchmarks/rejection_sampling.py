"""What a round of rejection sampling picks, as the oracle reads it.

    solon align recipes/civic-rejection.yaml --out rejection
    python benchmarks/rejection_sampling.py rejection/03.1.1-best_of_n

After the rates of all samples so far and of the best of each prompt comes what picking is worth by the scorer, with
the divergence that it costs. No model is asked.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from api.steps.best_of_n import read_sampled
from critic.rejection import Sampled
from trainer.data import Sample, read_samples
from trainer.evaluate import Behaviour, behaviour, measures
from trainer.starter.oracle import read


def main(folder: Path) -> None:
    """Print both tables."""
    written, picked = read_sampled(folder / "samples.jsonl"), list(read_samples(folder / "best.jsonl"))
    print(f"{'':26s}{f'{len(written)} samples':>32s}{f'{len(picked)} picked':>32s}")
    for measure in measures(_behaviour(written), _behaviour(picked)):
        before, after = (str(side).partition(" (")[0] for side in (measure.before, measure.after))
        print(f"{measure.id:26s}{before:>32s}{after:>32s}")
    for each in json.loads((folder / "step.json").read_text(encoding="utf-8"))["result"]["expected_best"]:
        interval = f"{each['value']:+.3f} [{each['low']:+.3f}, {each['high']:+.3f}]"
        print(f"best of {each['n']:<3d} {interval:>28s} deviations of the reward model, {each['kl_nats']:.3f} nats")


def _behaviour(samples: Sequence[Sampled] | Sequence[Sample]) -> Behaviour:
    texts = [sample.completion.text for sample in samples]
    return behaviour([read(sample.prompt.text, text) for sample, text in zip(samples, texts, strict=True)], texts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What a round of rejection sampling picks.")
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
