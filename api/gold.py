"""Rows of the starter world with the verdict of its oracle: what a judge of that world is audited on."""

import random
from typing import TYPE_CHECKING, Final

from api.prompts import AGORA
from constitution.document import Constitution
from critic.judge import verdict
from critic.pairs import label
from solon.errors import InvalidInput
from solon.records import Completion, Message, Prompt, Status, Verdict, Vote
from solon.rows import HumanVote, Row

if TYPE_CHECKING:
    from trainer.starter.corpus import Pair

GOLD: Final = f"{AGORA}gold"
"""Name of the rows: builtin:agora/gold."""
ROWS: Final = 200
_SURE: Final = 0.95


def gold_rows(constitution: Constitution, count: int, seed: int) -> list[Row]:
    """Pairs on topics that the starter models never saw, with the label that perfect verdicts come to.

    The oracle answers each principle with `_SURE`, a half or 1 - `_SURE`, and the constitution combines the answers.

    Raises InvalidInput where a principle is not written in the words of the starter world.
    """
    from trainer.starter.corpus import draw_pair

    rng = random.Random(f"audit-{seed}")
    rows: list[Row] = []
    while len(rows) < count:
        pair = draw_pair(rng, "eval")
        if pair.a == pair.b:
            continue
        prompt = Prompt(id=f"agora-{len(rows):04d}", messages=(Message(role="user", content=pair.prompt.text),))
        verdicts = [_verdict(constitution, index, pair) for index in range(len(constitution.principles))]
        found = label(verdicts, constitution.principles, constitution.combine)
        vote: HumanVote = "tie" if found.status is Status.TIE or found.p_a is None else "a" if found.p_a > 0.5 else "b"
        completions = (Completion(text=pair.a), Completion(text=pair.b))
        rows.append(Row(prompt=prompt, completions=completions, human_votes=(vote,)))
    return rows


def _verdict(constitution: Constitution, index: int, pair: "Pair") -> Verdict:
    """What the oracle says under one principle, the same in both orders."""
    from trainer.starter.gold import preference

    principle = constitution.principles[index]
    found = preference(pair, principle.text)
    if found is None:
        raise InvalidInput(
            "the oracle does not know these words",
            field=f"principles.{index}.text",
            remedy="audit on rows that people judged, or write it in the words of trainer/starter/wordings.yaml",
        )
    p_a = 0.5 + (found - 0.5) * (2 * _SURE - 1)
    ab = Vote(principle=principle.id, order="ab", status=Status.OK, p_first=p_a)
    ba = Vote(principle=principle.id, order="ba", status=Status.OK, p_first=1 - p_a)
    return verdict((ab, ba), constitution.combine.tie_margin)
