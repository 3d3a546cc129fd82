"""A step's process that needs no model: what it does is said by the recipe's name. Run with the command it stands for.

quick     three ticks of progress
curves    a training of five optimiser steps, with a checkpoint after the third
pays      pays 10 calls a step
fails     says that the judge is gone; succeeds where JOB_FOLDER/mended exists
dies      ends without a word
sleeps    starts a child of its own and sleeps
ignores   does not end when it is asked to
effects   makes one line of JOB_FOLDER/effects.txt per step, in several ticks, and says if it was not alone
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER, NUMBER = Path(sys.argv[-2]), int(sys.argv[-1])


def tell(kind: str, **fields: Any) -> None:
    """One event on standard output."""
    sys.stdout.write(json.dumps({"type": kind, **fields}) + "\n")
    sys.stdout.flush()


def finish(**detail: Any) -> None:
    """The last word of a step that worked."""
    tell("run_finished", detail={"kl_nats": 1.5} | detail)


def quick() -> None:
    """Three ticks."""
    tell("step_started", step=f"{NUMBER:02d}")
    for done in range(3):
        tell("progress", step=f"{NUMBER:02d}", done=done, total=3)
    sys.stdout.write("not an event\n")
    tell("step_finished", step=f"{NUMBER:02d}")
    finish()


def curves() -> None:
    """A training."""
    for done in range(1, 6):
        tell("metrics", step="02-dpo", message="model", done=done, total=5, metrics={"loss": 1 / done})
        if done == 3:
            detail = {"series": "02-dpo/model"}
            tell("checkpoint", step="02-dpo", done=3, message="out/unfinished/checkpoint-3", detail=detail)
    finish()


def pays() -> None:
    """Two instalments."""
    for _ in range(2):
        spend = {"calls": 5, "prompt_tokens": 50, "completion_tokens": 5, "cost_usd": 0.5}
        tell("spent", detail={"judge": spend})
    finish()


def fails() -> None:
    """Unless it is mended."""
    if (FOLDER / "mended").exists():
        return finish()
    tell("run_failed", message="the judge is gone", detail={"remedy": "do that", "field": "judge"})
    return sys.exit(1)


def dies() -> None:
    """Without a word."""
    os._exit(7)


def sleeps() -> None:
    """With a child."""
    tell("step_started", step=f"{NUMBER:02d}")
    subprocess.Popen(["sleep", "60"])
    time.sleep(60)


def ignores() -> None:
    """Being asked."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell("step_started", step=f"{NUMBER:02d}")
    time.sleep(60)


def effects() -> None:
    """One line per step, which must be the only one and made alone."""
    with (FOLDER / f"alone-{NUMBER}").open("w") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (FOLDER / "violation").touch()
        _effects()


def _effects() -> None:
    progress = FOLDER / f"progress-{NUMBER}"
    begun = int(progress.read_text()) if progress.exists() else 0  # a checkpoint
    ticks = 10
    for done in range(begun, ticks):
        time.sleep(float(os.environ.get("TICK_S", "0.05")))
        progress.with_suffix(".new").write_text(str(done + 1))
        progress.with_suffix(".new").replace(progress)
        tell("progress", step=f"{NUMBER:02d}", done=done + 1, total=ticks)
    made, name = FOLDER / f".effect-{NUMBER}.{os.getpid()}", FOLDER / f"effect-{NUMBER}"
    made.write_text(f"{NUMBER}\n")
    try:
        os.link(made, name)
    except FileExistsError:
        tell("step_skipped", step=f"{NUMBER:02d}")
    else:
        tell("step_finished", step=f"{NUMBER:02d}")
    finish()


if __name__ == "__main__":
    recipe = (FOLDER / "recipe.yaml").read_text().splitlines()
    what = next(line.split()[1] for line in recipe if line.startswith("name:"))
    done: dict[str, Callable[[], None]] = {
        each.__name__: each for each in (quick, curves, pays, fails, dies, sleeps, ignores, effects)
    }
    done.get(what, curves)()
