"""Two orders of one comparison made into one probability.

    probability   p = (a + (1 - b)) / 2                   Lee et al. 2023, arXiv:2309.00267
    logit         p = s((logit a - logit b) / 2)          removes a bias that is added to the log-odds exactly

a and b are P(the first-listed wins) when a completion is listed first and second. A judge that looks only at the slot
has a = b and comes out at exactly 0.5 either way. Calibration divides the log-odds of p by a temperature; 0.5 stays.
"""

import math
from typing import Final, Literal

Swap = Literal["probability", "logit"]

_SUREST: Final = 1e-9
"""Log-odds are taken of probabilities this far from 0 and 1 at least."""


def averaged(a: float, b: float, swap: Swap = "probability", temperature: float = 1.0) -> float:
    """P(the completion listed first in the first order is better), in [0, 1]."""
    if swap == "logit":
        return sigmoid((logit(a) - logit(b)) / (2 * temperature))
    p = 0.5 + (a - b) / 2
    return p if temperature == 1.0 else tempered(p, temperature)


def tempered(p: float, temperature: float) -> float:
    """s(logit(p) / temperature); above 1 it is less sure."""
    return sigmoid(logit(p) / temperature)


def logit(p: float) -> float:
    """ln(p / (1 - p)), finite."""
    p = min(max(p, _SUREST), 1 - _SUREST)
    return math.log(p) - math.log1p(-p)


def sigmoid(z: float) -> float:
    """1 / (1 + exp(-z)), without overflow; exactly 0.5 at 0, and s(-z) = 1 - s(z)."""
    e = math.exp(-abs(z))
    return 1 / (1 + e) if z >= 0 else e / (1 + e)
