"""The state of the random numbers that torch and Python draw, as plain values and tensors."""

import random
from typing import Any

import torch


def random_state() -> dict[str, Any]:
    """What the next draws depend on, on the CPU and all CUDA devices."""
    version, internal, gauss = random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda, "python": [version, list(internal), gauss]}


def set_random_state(state: dict[str, Any]) -> None:
    """Draw from here on as when `random_state` gave this."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])
