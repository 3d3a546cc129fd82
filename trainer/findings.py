"""What a report holds: the records that the page shows and that report.json is. Torch-free."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from constitution.digest import content_hash
from constitution.schema import Constitution
from solon.records import PreferencePair, Probability, Record, Status
from trainer.evaluate import Behaviour, Measure, WinRate
from trainer.monitor.observations import Observation
from trainer.monitor.summary import Summary

Curve = tuple[dict[str, float], ...]
"""The lines of a metrics.jsonl: `step` and the metrics of `trainer.dpo`."""


class PrincipleText(Record):
    """A principle as published."""

    id: str
    title: str
    text: str
    weight: float
    veto: bool


class ConstitutionText(Record):
    """What the judge was told, as published."""

    id: str
    version: str
    title: str
    summary: str
    content_hash: str
    principles: tuple[PrincipleText, ...]
    rules: tuple[str, ...] = ()
    """Each rule with its reward, in one line."""


class Control(Behaviour):
    """The same numbers for a policy trained on the same pairs with shuffled labels."""

    win_rate: WinRate | None = None
    """Against the policy before training."""
    kl_nats: float | None = None


class Example(Record):
    """One evaluation prompt and what the policies answer to it."""

    prompt: str
    kind: str
    before: str
    after: str
    control: str | None = None
    before_notes: tuple[str, ...] = ()
    """What the oracle reads in it, see `trainer.evaluate.describe`."""
    after_notes: tuple[str, ...] = ()
    control_notes: tuple[str, ...] = ()


class PairSummary(Record):
    """What the training pairs are made of."""

    statuses: dict[str, int]
    """Comparisons per status."""
    discards: dict[str, int] = Field(default_factory=dict)
    """Work items that made no comparison, per reason."""
    trained_on: int
    dropped: dict[str, int] = Field(default_factory=dict)
    """Labelled pairs that the trainer left out, per reason."""
    consistent: Probability | None = None
    """Share of verdicts where both orders prefer the same completion."""
    examples: tuple[PreferencePair, ...] = ()


class Report(Record):
    """Everything the page shows; report.json is this record."""

    title: str
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    method: str
    """Of training, such as "dpo"."""
    policy: str
    """Registered name of the model that was aligned."""
    judge: str | None
    """Registered name; None when rules alone decided."""
    constitution: ConstitutionText
    before: Behaviour | None = None
    """By the oracle; None outside the starter world."""
    after: Behaviour | None = None
    control: Control | None = None
    measures: tuple[Measure, ...]
    """The rows of the before/after table, the most important first."""
    win_rate: WinRate | None = None
    """Of the policy after training against before, by the judge, both orders."""
    held_out_win_rate: WinRate | None = None
    """The same by a judge that took no part in the labelling."""
    kl_nats: float | None = None
    """KL(after || before) per sequence."""
    kl_standard_error: float | None = None
    flags: tuple[str, ...] = ()
    """Warnings, each a sentence."""
    pairs: PairSummary
    training: dict[str, Curve] = Field(default_factory=dict)
    """By name: `after`, and `control` where there is one."""
    observations: tuple[Observation, ...] = ()
    """What a monitor saw while it was trained; empty where nothing was watched."""
    monitor: Summary | None = None
    examples: tuple[Example, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)
    """By phase, in order."""
    provenance: dict[str, Any] = Field(default_factory=dict)


def constitution_text(constitution: Constitution) -> ConstitutionText:
    """The parts of a constitution that the report quotes."""
    return ConstitutionText(
        id=constitution.id,
        version=constitution.version,
        title=constitution.title,
        summary=constitution.summary or "",
        content_hash=content_hash(constitution),
        principles=tuple(
            PrincipleText(id=p.id, title=p.title or p.id, text=p.text, weight=p.weight, veto=p.veto)
            for p in constitution.principles
        ),
        rules=tuple(f"{rule.id}: {rule.reward:+g} when {rule.when}" for rule in constitution.rules),
    )


def summarise_pairs(
    pairs: Sequence[PreferencePair],
    *,
    trained_on: int,
    discards: dict[str, int] | None = None,
    dropped: dict[str, int] | None = None,
    show: int = 4,
) -> PairSummary:
    """Counts over all pairs, and the `show` most instructive of them."""
    statuses: dict[str, int] = {}
    for pair in pairs:
        statuses[pair.status.value] = statuses.get(pair.status.value, 0) + 1
    orders = [v.consistent for pair in pairs for v in pair.verdicts if v.consistent is not None]
    return PairSummary(
        statuses=statuses,
        discards=discards or {},
        trained_on=trained_on,
        dropped=dropped or {},
        consistent=sum(orders) / len(orders) if orders else None,
        examples=pick_pairs(pairs, show),
    )


def pick_pairs(pairs: Iterable[PreferencePair], count: int) -> tuple[PreferencePair, ...]:
    """The clearest pairs, each of another prompt, and last the closest tie: where the judge could not decide."""
    labelled = sorted((p for p in pairs if p.p_a is not None), key=lambda p: -abs((p.p_a or 0.5) - 0.5))
    ties = [pair for pair in labelled if pair.status is Status.TIE][-1:]
    clear: dict[str, PreferencePair] = {}
    for pair in labelled:
        if pair.status is Status.OK and not any(tie.prompt.text == pair.prompt.text for tie in ties):
            clear.setdefault(pair.prompt.text, pair)
    return (*list(clear.values())[: max(0, count - len(ties))], *ties)[:count]


def pick_examples(examples: Sequence[Example], count: int = 8) -> tuple[Example, ...]:
    """Examples of every kind of prompt in turn, those first whose notes changed."""
    waiting: dict[str, list[Example]] = {}
    for example in sorted(examples, key=lambda e: e.before_notes == e.after_notes):
        waiting.setdefault(example.kind, []).append(example)
    picked: list[Example] = []
    while len(picked) < count and any(waiting.values()):
        picked += [queue.pop(0) for queue in waiting.values() if queue]
    return tuple(picked[:count])


def read_curve(model: Path) -> Curve:
    """The training curve that `trainer.run` left in a model directory; empty where there is none."""
    path = model / "metrics.jsonl"
    if not path.is_file():
        return ()
    return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
