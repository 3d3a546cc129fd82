"""Which principle each round of a chain is about.

random     one of all that apply to the prompt, drawn anew each round (Bai et al. 2022)
by_scope   the same among those that name the prompt's scope; among all that apply where none does
all        each that applies in turn, in the order of the constitution
"""

from collections.abc import Sequence
from typing import Literal

from constitution.document import Principle
from solon.seeds import counter_seed

Choice = Literal["random", "all", "by_scope"]


def draw(
    principles: Sequence[Principle], scope: str, choice: Choice, rounds: int, *key: str | int
) -> tuple[Principle, ...]:
    """The principles of the rounds, at most `rounds`; round i depends on (`key`, i) and the principles only."""
    if choice == "all":
        return tuple(principles[:rounds])
    own = [each for each in principles if scope in each.scopes] if choice == "by_scope" else []
    among = own or principles
    return tuple(among[counter_seed(*key, number, "principle") % len(among)] for number in range(1, rounds + 1))
