"""Pairs gathered by prompt: each completion once, and the comparisons between them. Torch-free.

All comparisons of a prompt belong in one batch: spread over batches, its completions are seen again and again, and a
reward model overfits within an epoch (Ouyang et al. 2022, arXiv:2203.02155, section 3.5).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from solon.records import POSITION_INCONSISTENT, Completion, PreferencePair, Prompt, Status
from solon.seeds import counter_seed
from trainer.data import Encoder


@dataclass(frozen=True)
class Compared:
    """A comparison of two completions of a group, by their places."""

    a: int
    b: int
    p_a: float
    """P(a is better), in [0, 1]."""
    margin: float
    """How clear the label was, in [0, 1]."""


@dataclass
class Group:
    """One prompt: its completions as token ids, the prompt's included, and what is known of them."""

    key: str
    """Digest of the conversation: equal prompts are one group whatever their ids."""
    domain: str
    sequences: list[list[int]] = field(default_factory=list[list[int]])
    comparisons: list[Compared] = field(default_factory=list[Compared])

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return max(map(len, self.sequences))


def gather(pairs: Iterable[PreferencePair], encoder: Encoder, drops: Counter[str], *, soft_labels: bool) -> list[Group]:
    """The groups in order of appearance; `drops` counts pairs that are left out, under a reason each."""
    groups: dict[str, Group] = {}
    places: dict[tuple[str, tuple[int, ...]], int] = {}
    for pair in pairs:
        found = _encoded(pair, encoder, soft_labels)
        if isinstance(found, str):
            drops[found] += 1
            continue
        a, b, p_a = found
        key = _key(pair.prompt)
        group = groups.setdefault(key, Group(key, domain_of(pair.prompt)))
        place = [_place(group, places, ids) for ids in (a, b)]
        group.comparisons.append(Compared(place[0], place[1], p_a, pair.margin or 0.0))
    return list(groups.values())


def _place(group: Group, places: dict[tuple[str, tuple[int, ...]], int], ids: list[int]) -> int:
    key = (group.key, tuple(ids))
    if key not in places:
        places[key] = len(group.sequences)
        group.sequences.append(ids)
    return places[key]


def _encoded(pair: PreferencePair, encoder: Encoder, soft: bool) -> tuple[list[int], list[int], float] | str:
    """Both sequences and P(a is better), or the reason to leave the pair out."""
    p_a = _label(pair, soft)
    if p_a is None:
        return f"status:{pair.status}"
    if pair.quarantined:
        return "quarantined"
    if not soft and POSITION_INCONSISTENT in pair.flags:
        return POSITION_INCONSISTENT
    found = [encode(encoder, pair.prompt, completion) for completion in (pair.a, pair.b)]
    for ids in found:
        if isinstance(ids, str):
            return ids
    a, b = (ids for ids in found if not isinstance(ids, str))
    return "identical" if a == b else (a, b, p_a)


def encode(encoder: Encoder, prompt: Prompt, completion: Completion) -> list[int] | str:
    """Ids of prompt and completion, or `empty`, `control_tokens` or `too_long`.

    A completion that was cut has no end of turn, so a reward model can tell that it did not finish.
    """
    if not completion.text.strip():
        return "empty"
    if encoder.writes_control_tokens(completion.text):
        return "control_tokens"
    start, (rest,) = encoder.split([message.model_dump() for message in prompt.messages], completion)
    return "too_long" if len(start) + len(rest) > encoder.max_length else start + rest


def _label(pair: PreferencePair, soft: bool) -> float | None:
    """P(a is better); None when the pair may not reach a trainer."""
    if pair.status is Status.OK and pair.chosen is not None and pair.p_chosen is not None:
        certain = pair.p_chosen if soft else 1.0
        return certain if pair.chosen == "a" else 1.0 - certain
    return pair.p_a if pair.status is Status.TIE and soft else None


def _key(prompt: Prompt) -> str:
    return "\x1e".join(f"{message.role}\x1f{message.content}" for message in prompt.messages)


def domain_of(prompt: Prompt) -> str:
    """What a prompt is about, as accuracy is reported: its metadata's `domain` or `kind`, else its scope."""
    return str(prompt.metadata.get("domain") or prompt.metadata.get("kind") or prompt.scope)


def held_out(groups: Sequence[Group], share: float, seed: int) -> tuple[list[Group], list[Group]]:
    """(groups to train on, groups to measure on): a prompt is on one side, decided by a digest of it and the seed."""
    kept = [counter_seed(seed, group.key, "held_out") < share * 2**31 for group in groups]
    train = [group for group, out in zip(groups, kept, strict=True) if not out]
    return train, [group for group, out in zip(groups, kept, strict=True) if out]
