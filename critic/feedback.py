"""People's verdicts as labels, and new pairs joined to old ones.

P(a is better) of n people of whom w prefer a (a tie is a half) is (w + 1) / (n + 2), Laplace's rule: one vote is a
reason to lean, not a certainty, and many votes outweigh the rule.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from constitution.document import Constitution
from critic.contamination import Decontaminator
from critic.duplicates import Deduplicator
from critic.labelling import origin
from critic.suspicion import flags as suspicion_flags
from solon.errors import InvalidInput
from solon.records import Comparison, Discard, PreferencePair, Status
from solon.rows import HumanVote, Row

PEOPLE: Final = "people"
"""In place of a judge's name."""
_WORTH: Final[dict[HumanVote, float]] = {"a": 1.0, "tie": 0.5, "b": 0.0}


def p_of(votes: Sequence[HumanVote]) -> float:
    """P(a is better) after these votes."""
    return (sum(_WORTH[vote] for vote in votes) + 1) / (len(votes) + 2)


def reviewed(row: Row, constitution: Constitution) -> PreferencePair:
    """The pair that people's votes on a row's two completions come to.

    Raises:
        InvalidInput: the row has no two completions, or nobody voted.
    """
    if len(row.completions) < 2 or not row.human_votes:
        raise InvalidInput(
            "no review: it needs two completions and votes",
            field=f"row {row.prompt.id}",
            remedy='write `response_a`, `response_b` and `votes`, such as ["a", "tie"]',
        )
    a, b, p_a = row.completions[0], row.completions[1], p_of(row.human_votes)
    margin = abs(p_a - 0.5) * 2
    decided = margin >= constitution.combine.tie_margin and p_a != 0.5
    comparison = Comparison(prompt=row.prompt, a=a, b=b)
    parts = json.dumps([row.prompt.id, a.text, b.text, list(row.human_votes)])
    return PreferencePair(
        id="pref_" + hashlib.sha256(parts.encode()).hexdigest()[:26],
        status=Status.OK if decided else Status.TIE,
        prompt=row.prompt,
        a=a,
        b=b,
        p_a=p_a,
        chosen=("a" if p_a > 0.5 else "b") if decided else None,
        p_chosen=max(p_a, 1 - p_a) if decided else None,
        margin=margin,
        flags=tuple(suspicion_flags(comparison)),
        provenance=origin(constitution, ()).model_copy(update={"judge": {"name": PEOPLE}}),
        extra=row.extra | {"votes": list(row.human_votes)},
    )


def joined(
    people: Iterable[PreferencePair],
    before: Iterable[PreferencePair],
    fresh: Iterable[PreferencePair | Discard],
    against: Decontaminator,
) -> Iterator[PreferencePair | Discard]:
    """All pairs, each once: of pairs that say the same the first in this order stays, so people overrule judges.

    What is new is checked against the evaluation prompts; what was there is as it was.
    """
    seen = Deduplicator()
    for pair in people:
        yield against.check(pair) or seen.check(pair) or pair
    for pair in before:
        yield seen.check(pair) or pair
    for item in fresh:
        yield item if isinstance(item, Discard) else against.check(item) or seen.check(item) or item
