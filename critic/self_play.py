"""Self-play: demonstrations against a policy's own samples, and whether it can tell them apart.

Source: Chen et al. 2024 (SPIN), arXiv:2401.01335.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from critic.suspicion import flags
from solon.intervals import Interval, wilson
from solon.records import Comparison, Completion, PreferencePair, Prompt, Provenance, Status
from solon.seeds import counter_seed

DEMONSTRATION: Final = "demonstration"
"""In place of a judge's name: no judge says that the demonstration is better, the method takes it so."""


def pair(prompt: Prompt, shown: Completion, written: Completion, made: Provenance) -> PreferencePair:
    """The demonstration as a, chosen, against the sample as b; in quarantine where one speaks to a judge."""
    parts = json.dumps([prompt.id, shown.text, written.text, made.policy])
    return PreferencePair(
        id="pref_" + hashlib.sha256(parts.encode()).hexdigest()[:26],
        status=Status.OK,
        prompt=prompt,
        a=shown,
        b=written,
        p_a=1.0,
        chosen="a",
        p_chosen=1.0,
        margin=1.0,
        flags=tuple(flags(Comparison(prompt=prompt, a=shown, b=written))),
        provenance=made.model_copy(update={"judge": {"name": DEMONSTRATION}}),
    )


def held_out(prompt: Prompt, share: float, seed: int) -> bool:
    """Whether a prompt is never trained on; the same in every round."""
    return counter_seed(seed, prompt.id, "self_play") < share * 2**31


def told_apart(margins: Sequence[float]) -> Interval | None:
    """How often the implicit reward is higher for the demonstration, equal ones counting half; None without margins.

    Args:
        margins: nats; ln of the policy's gain over the one that wrote the samples, of the demonstration less that of
            the sample. 0 where the two are the same text: those cannot be told apart.
    """
    return wilson(sum(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in margins), len(margins))
