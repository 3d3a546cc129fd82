"""What the oracle says of two completions under a principle written in the starter world's words. Torch-free."""

from functools import cache

from trainer.starter.corpus import Pair
from trainer.starter.wordings import Direction, criteria, statements


def criterion_of(text: str) -> tuple[str, Direction] | None:
    """The criterion that a principle's text is about and the pole it wants; None for words the world does not know."""
    return _meanings().get(" ".join(text.split()))


def preference(pair: Pair, text: str) -> float | None:
    """P(a follows the principle better): 1, 0, or 0.5 where both do alike or it does not apply; None as above."""
    meaning = criterion_of(text)
    if meaning is None:
        return None
    found = pair.preference(*meaning)
    return 0.5 if found is None else found


@cache
def _meanings() -> dict[str, tuple[str, Direction]]:
    return {text: (criterion, direction) for criterion in criteria() for text, direction in statements(criterion)}
