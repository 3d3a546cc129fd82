"""The audit of a judge on labelled rows: how it does, on the same rows as people and as judges that know nothing."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, get_args

from critic import opinions
from critic.audit import Audit, audit, human_votes
from critic.opinions import Control, Opinion
from critic.pairs import USABLE
from critic.people import Ceiling, ceiling
from critic.scorecard import Scorecard, scorecard
from critic.self_preference import SelfPreference, self_preference
from solon.records import Discard, PreferencePair

TIE_RULE: Final = (
    "People's verdict is the side with more votes; as many for each is a tie. `forced` takes the judge's side within "
    "the tie margin too and counts rows that people decided; `decided` counts rows that both decided; everything else "
    "takes a tie as a third answer. Intervals are 95 % bootstraps over prompts."
)


@dataclass(frozen=True)
class JudgeAudit:
    """A judge on one set of rows."""

    rows: str
    """What the rows are called."""
    summary: Audit
    """Coverage, statuses, discards, flags, flip rate."""
    overall: Scorecard
    """All principles and rules together, as labels are made."""
    principles: dict[str, Scorecard]
    scopes: dict[str, Scorecard]
    controls: dict[str, Scorecard]
    """Judges that know nothing (the longest wins, the first wins, a coin), on all comparisons."""
    people: Ceiling | None
    """How far people agree among themselves; None without rows of several votes."""
    self_preference: SelfPreference | None
    tie_rule: str = TIE_RULE

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return asdict(self)


def judge_audit(
    items: Iterable[PreferencePair | Discard],
    *,
    rows: str,
    kin: Container[str],
    tie_margin: float,
    seed: int = 0,
    second_judge: Mapping[str, float] | None = None,
) -> JudgeAudit:
    """The audit of labelled rows; people's votes are in `extra["human_votes"]` of each pair.

    Args:
        kin: names of the models of the judge's family, see `solon.families.Kin`; as text, what the family is called.
        tie_margin: of the controls' verdicts; the labels have had theirs.
        second_judge: P(a is better) by pair id, beside which self-preference is set.
    """
    items = list(items)
    pairs = [item for item in items if isinstance(item, PreferencePair)]
    usable = [pair for pair in pairs if pair.status in USABLE]
    labels = opinions.labels(usable, human_votes)
    return JudgeAudit(
        rows=rows,
        summary=audit(items),
        overall=scorecard(labels),
        principles={name: scorecard(held) for name, held in opinions.by_principle(usable, human_votes).items()},
        scopes={name: scorecard(held) for name, held in _by_scope(labels).items()},
        controls={
            control: scorecard(opinions.of_control(control, pairs, human_votes, tie_margin=tie_margin, seed=seed))
            for control in get_args(Control)
        },
        people=ceiling(
            [each.votes for each in labels], [each.choice for each in labels], [each.prompt for each in labels]
        ),
        self_preference=self_preference(kin, usable, labels, tie_margin=tie_margin, control=second_judge),
    )


def _by_scope(labels: Sequence[Opinion]) -> dict[str, list[Opinion]]:
    found: dict[str, list[Opinion]] = {}
    for each in labels:
        found.setdefault(each.scope, []).append(each)
    return found
