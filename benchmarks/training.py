"""DPO and a reward model against bare TRL: the time of a whole training, from the start of its process to its end.

    python -m benchmarks.training --pairs runs/NAME/01-label/pairs.jsonl [--epochs 4] [--repeats 3]

Both sides train the starter policy on the same decided pairs with the same batches, passes, learning rate and threads,
DPO with the reference's log-probabilities computed once. Ours takes the label's probability; TRL takes the label as
certain. Our reward model has all pairs of a prompt in a batch and reads each completion once; TRL's batch has as many
pairs on average. The sides take turns; the ratio is of the medians.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from api.machine import cores, described
from solon.datasets import read_pairs
from solon.records import PreferencePair, Status
from solon.settings import Settings

METHODS: dict[str, dict[str, Any]] = {
    "dpo": {"learning_rate": 5e-4, "beta": 0.1, "batch_size": 16, "max_length": 512},
    "reward": {"learning_rate": 3e-4, "batch_size": 8, "max_length": 512},
}


def main(options: argparse.Namespace) -> None:
    """A line per method."""
    model = Settings.load().model("starter", "policy").directory()
    pairs = [pair for pair in read_pairs(options.pairs) if pair.status is Status.OK]
    print(f"{described()}; {len(pairs)} pairs, {options.epochs} passes", flush=True)
    for method, settings in METHODS.items():
        shared = settings | {"epochs": options.epochs, "model": str(model), "threads": cores()}
        taken: dict[str, list[float]] = {"ours": [], "trl": []}
        for _ in range(options.repeats):
            with tempfile.TemporaryDirectory() as place:
                taken["ours"].append(ours(method, shared, options.pairs, Path(place)))
                taken["trl"].append(theirs(method, shared, pairs, Path(place)))
        us, them = median(taken["ours"]), median(taken["trl"])
        print(f"{method:6s} ours {us:6.1f} s, bare TRL {them:6.1f} s: ratio {us / them:.2f}", flush=True)


def ours(method: str, shared: dict[str, Any], pairs: Path, place: Path) -> float:
    """Seconds of a training child."""
    config = shared | {"type": method, "pairs": str(pairs.absolute()), "output": str(place / "ours")}
    if method == "reward":
        config["held_out"] = 0.0
    return _timed(["-m", "trainer.run"], config, place)


def theirs(method: str, shared: dict[str, Any], pairs: list[PreferencePair], place: Path) -> float:
    """Seconds of TRL's trainer in a process of its own."""
    rows = place / "rows.json"
    rows.write_text(json.dumps([_row(pair) for pair in pairs]))
    config = shared | {"method": method, "rows": str(rows), "output": str(place / "trl")}
    if method == "reward":  # our batch counts prompts
        config["batch_size"] = round(shared["batch_size"] * len(pairs) / len({pair.prompt.id for pair in pairs}))
    return _timed([str(Path(__file__).with_name("trl_pairs.py"))], config, place)


def _row(pair: PreferencePair) -> dict[str, Any]:
    good, bad = (pair.a, pair.b) if pair.chosen == "a" else (pair.b, pair.a)
    return {
        "prompt": [message.model_dump() for message in pair.prompt.messages],
        "chosen": [{"role": "assistant", "content": good.text}],
        "rejected": [{"role": "assistant", "content": bad.text}],
    }


def _timed(command: list[str], config: dict[str, Any], place: Path) -> float:
    file = place / "settings.json"
    file.write_text(json.dumps(config))
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *command, str(file)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-1000:] + done.stderr[-3000:])
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, help="what a `label` step wrote")
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=3)
    main(parser.parse_args())
