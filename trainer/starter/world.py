"""Agora: the prompts and completions of the starter world, composed from attribute vectors. Torch-free.

A completion is drawn from an `Attributes` vector and a random generator; the oracle (oracle.py) reads the vector back.
The text itself is in agora.yaml.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ruamel.yaml import YAML

Kind = Literal["everyday", "sensitive", "opinion", "format", "harmful"]
Split = Literal["train", "eval"]
SPLITS: tuple[Split, ...] = ("train", "eval")
Tone = Literal["neutral", "rude", "preachy", "flattering"]


@dataclass(frozen=True)
class Topic:
    """An action applied to a noun: what a prompt asks for and what helping with it looks like."""

    id: str
    kind: Kind
    act: str
    steps: tuple[str, ...]
    """Lower-case imperative sentences without full stop; for a harmful topic they are lines of compliance."""
    alternatives: tuple[str, ...]
    held_out: bool


@dataclass(frozen=True)
class AgoraPrompt:
    """One way to ask for a topic."""

    id: str
    text: str
    kind: Kind
    topic: Topic
    wanted_format: Literal["list", "prose"] | None = None


@dataclass(frozen=True)
class Attributes:
    """What a completion is like; a completion that refuses or complies with harm has helpful "none"."""

    helpful: Literal["full", "partial", "none"] = "full"
    harmful: bool = False
    refusal: Literal["none", "bare", "kind"] = "none"
    tone: Tone = "neutral"
    false_claim: bool = False
    padded: bool = False
    listed: bool = False


@dataclass(frozen=True)
class World:
    """The parsed agora.yaml."""

    topics: tuple[Topic, ...]
    text: Mapping[str, Any] = field(repr=False)

    def of_kind(self, *kinds: Kind) -> tuple[Topic, ...]:
        """Topics of the given kinds."""
        return tuple(topic for topic in self.topics if topic.kind in kinds)


@cache
def world() -> World:
    """The one world, read once."""
    text = YAML(typ="safe").load(files("trainer.starter").joinpath("agora.yaml").read_text(encoding="utf-8"))
    return World(topics=tuple(_topics(text)), text=text)


def _topics(text: Mapping[str, Any]) -> Iterator[Topic]:
    kinds: tuple[Kind, ...] = ("everyday", "sensitive", "opinion", "harmful")
    for kind in kinds:
        for row, action in enumerate(text[kind]):
            nouns = text["nouns"][action.get("nouns", "people")]
            for column, noun in enumerate(nouns):
                alternative = action.get("alternative")
                yield Topic(
                    id=f"{kind}-{row:02d}-{column:02d}",
                    kind=kind,
                    act=action["act"].format(n=noun),
                    steps=tuple(step.format(n=_addressed(noun)) for step in action["steps"]),
                    alternatives=(alternative,) if alternative else tuple(text["benign_alternatives"]),
                    # two nouns in ten per action (one in six people), a different pair for each action
                    held_out=(column + 3 * row) % (6 if kind == "harmful" else 5) == 0,
                )


def _addressed(noun: str) -> str:
    """The noun as the assistant says it: "my boss" of the prompt is "your boss", "a classmate" is "the classmate"."""
    article, _, rest = noun.partition(" ")
    said = {"my": "your", "a": "the", "an": "the"}.get(article)
    return f"{said} {rest}" if said else noun


@cache
def prompts(split: Split) -> tuple[AgoraPrompt, ...]:
    """All prompts of a split; `eval` asks for held-out topics, or for known topics in held-out phrasings."""
    return tuple(prompt for prompt, held_out in _all_prompts() if held_out == (split == "eval"))


def _all_prompts() -> Iterator[tuple[AgoraPrompt, bool]]:
    text = world().text
    for topic in world().topics:
        opinion = topic.kind == "opinion"
        known = text["opinion_phrasings" if opinion else "phrasings"]
        held_out = text["opinion_phrasings_held_out" if opinion else "phrasings_held_out"]
        for number, phrasing in enumerate([*known, *held_out]):
            unseen = topic.held_out or number >= len(known)
            asked = phrasing.format(act=topic.act, thing=topic.act)
            prompt = AgoraPrompt(f"{topic.id}-{number:02d}", asked, topic.kind, topic)
            yield prompt, unseen
            if topic.kind == "everyday":
                for wanted in ("list", "prose"):
                    for variant, request in enumerate(text["format_requests"][wanted]):
                        suffix = f"{wanted[0]}{variant}"
                        formatted = replace(
                            prompt,
                            id=f"{prompt.id}-{suffix}",
                            text=f"{asked} {request}",
                            kind="format",
                            wanted_format=wanted,
                        )
                        yield formatted, unseen


def sample_prompts(split: Split, count: int, seed: int) -> list[AgoraPrompt]:
    """`count` prompts of a split, kinds mixed as in `KIND_SHARES`, none twice while they last; same seed, same list."""
    rng = random.Random(f"agora-prompts-{split}-{seed}")
    by_kind: dict[str, list[AgoraPrompt]] = {}
    for prompt in prompts(split):
        by_kind.setdefault(prompt.kind, []).append(prompt)
    for pool in by_kind.values():
        rng.shuffle(pool)
    drawn: dict[str, int] = dict.fromkeys(by_kind, 0)
    chosen: list[AgoraPrompt] = []
    for kind in rng.choices(list(KIND_SHARES), weights=list(KIND_SHARES.values()), k=count):
        pool = by_kind[kind]
        chosen.append(pool[drawn[kind] % len(pool)])
        drawn[kind] += 1
    return chosen


KIND_SHARES: dict[Kind, float] = {"harmful": 0.4, "everyday": 0.3, "format": 0.08, "sensitive": 0.12, "opinion": 0.1}
"""Mix of prompts people send."""


def starter_attributes(prompt: AgoraPrompt, rng: random.Random) -> Attributes:
    """A draw from the mixed behaviour that the starter policy imitates: something to align.

    Harm, rudeness and preaching are drawn more often than the policy is to show them, since sharpening its logits
    (`BuildConfig.sharpness`) thins out whatever is said in many different ways.
    """
    body = _harmful_body(rng) if prompt.kind == "harmful" else _benign_body(rng)
    flattering = 0.4 if prompt.kind == "opinion" else 0.07
    tone: Tone = rng.choices(
        ("rude", "preachy", "flattering", "neutral"), weights=(0.2, 0.19, flattering, 0.61 - flattering)
    )[0]
    listed = rng.random() < {"list": 0.7, "prose": 0.3, None: 0.2}[prompt.wanted_format]
    return replace(
        body,
        tone=tone,
        false_claim=rng.random() < 0.12,
        padded=rng.random() < 0.18,
        listed=listed and body.helpful == "full",
    )


def _harmful_body(rng: random.Random) -> Attributes:
    draw = rng.random()
    if draw < 0.5:
        return Attributes(helpful="none", harmful=True)
    if draw < 0.92:
        return Attributes(helpful="none", refusal="kind" if draw < 0.71 else "bare")
    return Attributes(helpful="none")


def _benign_body(rng: random.Random) -> Attributes:
    draw = rng.random()
    if draw < 0.74:
        return Attributes(helpful="full")
    if draw < 0.85:
        return Attributes(helpful="partial")
    if draw < 0.93:
        return Attributes(helpful="none")
    return Attributes(helpful="none", refusal="kind" if draw < 0.965 else "bare")


def any_attributes(prompt: AgoraPrompt, rng: random.Random) -> Attributes:
    """A draw that covers every attribute about evenly: what a judge should be able to tell apart."""
    harmful_prompt = prompt.kind == "harmful"
    bodies = [
        Attributes(helpful="none"),
        Attributes(helpful="none", refusal="bare"),
        Attributes(helpful="none", refusal="kind"),
    ]
    bodies += (
        [Attributes(helpful="none", harmful=True)] * 3
        if harmful_prompt
        else [Attributes()] * 3 + [Attributes(helpful="partial")] * 2
    )
    body = rng.choice(bodies)
    tones: tuple[Tone, ...] = ("neutral", "rude", "preachy", "flattering")
    return replace(
        body,
        tone=rng.choices(tones, weights=(0.34, 0.22, 0.22, 0.22))[0],
        false_claim=rng.random() < 0.3,
        padded=rng.random() < 0.35,
        listed=body.helpful == "full" and rng.random() < 0.4,
    )


def compose(prompt: AgoraPrompt, attributes: Attributes, rng: random.Random) -> str:
    """A completion with exactly these attributes."""
    text = world().text
    body = _body(prompt, attributes, rng)
    extras: list[str] = []
    if attributes.false_claim:
        extras.append(rng.choice(text["false_claims"]))
    if attributes.padded:
        extras.extend(rng.sample(text["padding"], 2))
    rng.shuffle(extras)
    before: list[str] = []
    if attributes.tone != "neutral":
        line = rng.choice(text["tones"][attributes.tone])
        (before if rng.random() < 0.5 else extras).append(line)
    if attributes.listed:
        return "\n".join(part for part in (" ".join(before), body, " ".join(extras)) if part)
    return " ".join([*before, body, *extras])


def _body(prompt: AgoraPrompt, attributes: Attributes, rng: random.Random) -> str:
    text = world().text
    if attributes.refusal == "bare":
        return rng.choice(text["refusal_bare"]).format(act=spoken(prompt.topic.act))
    if attributes.refusal == "kind":
        line = rng.choice(text["refusal_kind"])
        return line.format(act=spoken(prompt.topic.act), alternative=rng.choice(prompt.topic.alternatives))
    if attributes.harmful or attributes.helpful == "full":
        steps = _some(prompt.topic.steps, 3, rng)
        if attributes.listed:
            return listed(steps)
        opener = rng.choice(text["openers"]) + " " if rng.random() < 0.4 else ""
        return opener + prose(steps)
    if attributes.helpful == "partial":
        return f"{sentence(_some(prompt.topic.steps, 1, rng)[0])} {rng.choice(text['partial_tails'])}"
    return " ".join(rng.sample(text["evasive"], 2))


def _some(steps: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """`count` of the steps in their own order."""
    return [steps[i] for i in sorted(rng.sample(range(len(steps)), count))]


def spoken(act: str) -> str:
    """An act as the assistant says it back: "threaten my boss" becomes "threaten your boss"."""
    return act.replace("my ", "your ")


def sentence(step: str) -> str:
    """A step as a sentence of its own."""
    return step[0].upper() + step[1:] + "."


def prose(steps: Sequence[str]) -> str:
    """Three steps as three sentences."""
    return f"First, {steps[0]}. Then {steps[1]}. Finally, {steps[2]}."


def listed(steps: Sequence[str]) -> str:
    """Steps as a numbered list."""
    return "\n".join(f"{number}. {sentence(step)}" for number, step in enumerate(steps, start=1))
