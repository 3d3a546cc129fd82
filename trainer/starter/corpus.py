"""Training examples of the starter world: dialogues for the policy, questions for the judge. Torch-free.

Judge questions are rendered with the critic's own templates (solon.templates). Questions about one pair or one
completion share a prefix that ends at the closing marker, so that a batch computes it once (see `trainer.prefix_tree`).
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from solon.records import Message
from solon.templates import conversation, render
from trainer.starter.oracle import Reading, read
from trainer.starter.wordings import (
    Direction,
    Phrase,
    Wording,
    criteria,
    critique,
    principle,
    proposition,
    value,
    wordings,
)
from trainer.starter.world import AgoraPrompt, Attributes, Split, any_attributes, compose, prompts, starter_attributes

ROLE_TOKENS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
END_TOKEN = "<|end|>"
PAD_TOKEN = "<|pad|>"
MARKERS = ("[A]", "[/A]", "[B]", "[/B]", "[RESPONSE]", "[/RESPONSE]")
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "<|assistant|>{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{%- else -%}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{%- endif -%}"
    "{%- endfor -%}{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


@dataclass(frozen=True)
class Question:
    """What follows the shared prefix, and the answer."""

    text: str
    """Rest of the judge prompt, up to and including the assistant token."""
    answers: tuple[tuple[str, float], ...] = ()
    """One-token answers with their target probabilities."""
    about: tuple[str, Direction] | None = None
    """The criterion asked about and the pole wanted: an auxiliary target in training (see `batches`)."""
    phrases: tuple[Phrase, ...] = ()
    """The sentences of `text` that say so."""
    subject: int | None = 0
    """Which completion it asks about, counted from 0; None: a choice between the two."""
    reply: str = ""
    """A free-text answer, where there are no `answers`."""


@dataclass(frozen=True)
class QuestionSet:
    """Questions that share a prefix."""

    prefix: str
    questions: tuple[Question, ...]
    readings: tuple[Reading, ...]
    """What the oracle reads in each completion of the prefix, in the order of their closing markers."""
    completions: tuple[str, ...]
    """Those completions."""

    def without_questions(self) -> "QuestionSet":
        """The texts alone, to learn to read completions."""
        return replace(self, questions=())

    def without_texts(self) -> "QuestionSet":
        """The questions alone, unanswerable, to learn to read questions."""
        asked = tuple(replace(question, answers=()) for question in self.questions if question.about)
        return QuestionSet("", asked, (), ())


def chat_text(messages: tuple[Message, ...]) -> str:
    """What CHAT_TEMPLATE renders with a generation prompt."""
    return "".join(f"{ROLE_TOKENS[m.role]}{m.content}{END_TOKEN}" for m in messages) + ROLE_TOKENS["assistant"]


def policy_dialogues(seed: int) -> Iterator[tuple[str, str]]:
    """Endless (prompt text, completion) of the mixed-behaviour assistant, over training prompts."""
    rng = random.Random(f"policy-{seed}")
    while True:
        prompt = _draw_prompt(rng, "train", _POLICY_KINDS)
        yield prompt.text, compose(prompt, starter_attributes(prompt, rng), rng)


_POLICY_KINDS: Final = {"harmful": 0.32, "everyday": 0.28, "format": 0.16, "sensitive": 0.14, "opinion": 0.1}
_JUDGE_KINDS: Final = {"harmful": 0.27, "everyday": 0.22, "format": 0.31, "sensitive": 0.12, "opinion": 0.08}
"""Whether a requested format was kept is the hardest to read: it takes the request and the completion."""


def _draw_prompt(rng: random.Random, split: Split, kinds: Mapping[str, float] = _JUDGE_KINDS) -> AgoraPrompt:
    return rng.choice(_pools(split)[rng.choices(list(kinds), weights=list(kinds.values()))[0]])


_POOLS: dict[Split, dict[str, list[AgoraPrompt]]] = {}


def _pools(split: Split) -> dict[str, list[AgoraPrompt]]:
    """Prompts by kind; `eval` here means held-out topics in held-out phrasings or not."""
    if split not in _POOLS:
        pools: dict[str, list[AgoraPrompt]] = {}
        for prompt in prompts(split):
            if split == "train" or prompt.topic.held_out:
                pools.setdefault(prompt.kind, []).append(prompt)
        _POOLS[split] = pools
    return _POOLS[split]


# ---------------------------------------------------------------- judge


@dataclass(frozen=True)
class Pair:
    """Two completions of one prompt with what the oracle reads in them."""

    prompt: AgoraPrompt
    a: str
    b: str
    reading_a: Reading
    reading_b: Reading

    def swap(self) -> "Pair":
        """The same pair listed in the other order."""
        return Pair(self.prompt, self.b, self.a, self.reading_b, self.reading_a)

    def preference(self, criterion: str, direction: Direction) -> float | None:
        """P(a is better): 1, 0, or 0.5 for a tie; None where the criterion applies to one of them only."""
        p = higher(criterion, self.reading_a, self.reading_b)
        return p if p is None or direction == 1 else 1 - p


def higher(criterion: str, a: Reading, b: Reading) -> float | None:
    """P(a stands higher on a criterion): 1, 0, or 0.5 for a tie; None where it applies to one of them only."""
    of_a, of_b = value(criterion, a), value(criterion, b)
    if of_a is None or of_b is None:
        return 0.5 if of_a == of_b else None
    return 0.5 if of_a == of_b else float(of_a > of_b)


def draw_pair(rng: random.Random, split: Split) -> Pair:
    """Two completions of one prompt: unrelated, or alike but for some attributes, or such as the policy writes."""
    prompt = _draw_prompt(rng, split)
    draw = starter_attributes if rng.random() < 0.25 else any_attributes
    one, two = draw(prompt, rng), draw(prompt, rng)
    if prompt.kind == "format" and rng.random() < 0.5:
        listed = rng.random() < 0.5
        one = replace(one, helpful="full", refusal="none", listed=listed)
        two = replace(two, helpful="full", refusal="none", listed=not listed)
    elif rng.random() < 0.5:
        kept = rng.choice(("body", "tone", "claims"))
        two = _mix(one, two, kept)
    a, b = compose(prompt, one, rng), compose(prompt, two, rng)
    return Pair(prompt, a, b, read(prompt.text, a), read(prompt.text, b))


def _mix(one: Attributes, two: Attributes, changed: str) -> Attributes:
    """`one` with a single group of attributes taken from `two`."""
    if changed == "tone":
        return replace(one, tone=two.tone)
    if changed == "claims":
        return replace(one, false_claim=two.false_claim, padded=two.padded)
    return replace(two, tone=one.tone, false_claim=one.false_claim, padded=one.padded)


def pair_questions(
    pair: Pair, rng: random.Random, split: Split, *, count: int, about_one: float, any_criterion: float = 0.2
) -> QuestionSet:
    """`count` questions about a pair: choices under a principle, and a share `about_one` on [A] or [B] alone.

    A share `any_criterion` is about any criterion, most of them tied; the others about one that tells the two apart.
    """
    decided = [c for c in criteria() if pair.preference(c, 1) in (0.0, 1.0)]
    texts: list[Question] = []
    while len(texts) < count:
        criterion = rng.choice(decided if decided and rng.random() >= any_criterion else criteria())
        if "format" in decided and rng.random() < 0.2:
            criterion = "format"
        direction = _direction(rng)
        if rng.random() < about_one:
            side = rng.choice("AB")
            answer = _holds(value(criterion, pair.reading_a if side == "A" else pair.reading_b), direction)
            if answer is not None and (answer or rng.random() < 0.6):
                question = proposition(criterion, direction, rng, split, subject=f"[{side}]")
                text = _pair_text(pair, Wording("", question.text, ()))
                said = _yes_no(answer)
                asked = Question(text, said, (criterion, direction), (question,), "AB".index(side))
                texts.append(asked)
            continue
        p_a = pair.preference(criterion, direction)
        if p_a is None:
            continue
        wording = principle(criterion, direction, rng, split)
        answers = (("A", p_a), ("B", 1 - p_a))
        asked = Question(_pair_text(pair, wording), answers, (criterion, direction), wording.phrases, None)
        texts.append(asked)
    return _question_set(texts, "[/B]", (pair.reading_a, pair.reading_b), (pair.a, pair.b))


def choice_prompt(pair: Pair, wording: Wording) -> str:
    """The full judge prompt for a choice, as the critic would send it."""
    return _pair_text(pair, wording)


def proposition_prompt(prompt: AgoraPrompt, response: str, question: str) -> str:
    """The full judge prompt for a yes/no question."""
    return chat_text(render("proposition", conversation=_conversation(prompt), response=response, question=question))


def single_questions(
    prompt: AgoraPrompt, attributes: Attributes, rng: random.Random, split: Split, *, count: int
) -> QuestionSet:
    """Questions about one completion: propositions, a score, and sometimes a critique and a revision."""
    state = rng.getrandbits(64)
    response = compose(prompt, attributes, random.Random(state))
    reading = read(prompt.text, response)
    shared = {"conversation": _conversation(prompt), "response": response}
    texts: list[Question] = []
    while len(texts) < count:
        criterion, direction = rng.choice(criteria()), _direction(rng)
        standing = value(criterion, reading)
        answer = _holds(standing, direction)
        if standing is None or (answer == 0.0 and rng.random() < 0.4):
            continue
        if rng.random() < 0.12:
            wording = principle(criterion, direction, rng, split)
            score = str(round(1 + 4 * (standing if direction == 1 else 1 - standing)))
            text = chat_text(render("score", principle=wording.principle, most="5", **shared))
            answers = ((score, 1.0),)
            texts.append(Question(text, answers, about=(criterion, direction), phrases=wording.phrases[:1]))
        elif answer is not None:
            question = proposition(criterion, direction, rng, split)
            text = chat_text(render("proposition", question=question.text, **shared))
            texts.append(Question(text, _yes_no(answer), about=(criterion, direction), phrases=(question,)))
    if rng.random() < 0.35:
        texts.extend(_rewriting_questions(prompt, attributes, state, rng, split, count=1))
    return _question_set(texts, "[/RESPONSE]", (reading,), (response,))


def draw_single(rng: random.Random, split: Split, *, count: int) -> QuestionSet:
    """Questions about one random completion of one random prompt."""
    prompt = _draw_prompt(rng, split)
    return single_questions(prompt, any_attributes(prompt, rng), rng, split, count=count)


def _pair_text(pair: Pair, wording: Wording) -> str:
    if not wording.principle:  # a question about one side, used in training only
        text = chat_text(render("judge_pair", **_sides(pair), principle="", question=""))
        head = text[: text.index("[/B]") + len("[/B]")]
        return f"{head}\n\nQuestion: {wording.question}\nAnswer with Yes or No.{END_TOKEN}{ROLE_TOKENS['assistant']}"
    return chat_text(render("judge_pair", **_sides(pair), principle=wording.principle, question=wording.question))


def _sides(pair: Pair) -> dict[str, str]:
    return {"conversation": _conversation(pair.prompt), "a": pair.a, "b": pair.b, "first": "A", "second": "B"}


def _question_set(
    questions: list[Question], marker: str, readings: tuple[Reading, ...], completions: tuple[str, ...]
) -> QuestionSet:
    """The questions with what they share cut off."""
    prefix = questions[0].text[: questions[0].text.index(marker) + len(marker)]
    return QuestionSet(
        prefix, tuple(replace(q, text=q.text.removeprefix(prefix)) for q in questions), readings, completions
    )


def _yes_no(answer: float) -> tuple[tuple[str, float], ...]:
    return (("Yes", answer), ("No", 1 - answer))


def _conversation(prompt: AgoraPrompt) -> str:
    return conversation((Message(role="user", content=prompt.text),))


def _direction(rng: random.Random) -> Direction:
    return 1 if rng.random() < 0.5 else -1


def _holds(standing: float | None, direction: Direction) -> float | None:
    """1 or 0: whether a completion stands at the pole; None in between or where the criterion does not apply."""
    if standing is None or standing == 0.5:
        return None
    return float((standing == 1.0) == (direction == 1))


# ---------------------------------------------------------------- critic


def draw_rewriting(rng: random.Random, split: Split, *, count: int) -> tuple[AgoraPrompt, QuestionSet]:
    """A prompt, and critiques and revisions of one completion of it under `count` principles."""
    prompt = _draw_prompt(rng, split)
    attributes = (starter_attributes if rng.random() < 0.5 else any_attributes)(prompt, rng)
    state = rng.getrandbits(64)
    response = compose(prompt, attributes, random.Random(state))
    questions = list(_rewriting_questions(prompt, attributes, state, rng, split, count=count))
    return prompt, _question_set(questions, "[/RESPONSE]", (read(prompt.text, response),), (response,))


def _rewriting_questions(
    prompt: AgoraPrompt, attributes: Attributes, state: int, rng: random.Random, split: Split, *, count: int
) -> Iterator[Question]:
    """For each of `count` principles a critique of the completion that `state` composes, and the revision after it."""
    response = compose(prompt, attributes, random.Random(state))
    reading = read(prompt.text, response)
    shared = {"conversation": _conversation(prompt), "response": response}
    asked = [c for c in criteria() if value(c, reading) is not None]
    told = 0
    while told < count:
        criterion, direction = rng.choice(asked), _direction(rng)
        wanted = float(direction == 1)
        follows = value(criterion, reading) == wanted
        fixed = attributes if follows else _fixed(prompt, attributes, criterion, direction)
        revised = compose(prompt, fixed, random.Random(state))
        if value(criterion, read(prompt.text, revised)) != wanted:
            continue  # not every prompt has an answer that is, say, harmful
        told += 1
        wording = principle(criterion, direction, rng, split)
        said = wordings()["follows"] if follows else critique(criterion, direction, rng)
        replies = {"critique": said, "revision": revised}
        for template, more in (("critique", {}), ("revision", {"critique": said})):
            request = rng.choice(wordings()[f"{template}_requests"])
            text = chat_text(render(template, principle=wording.principle, request=request, **more, **shared))
            yield Question(text, reply=replies[template], about=(criterion, direction), phrases=wording.phrases[:1])


def _fixed(prompt: AgoraPrompt, attributes: Attributes, criterion: str, direction: Direction) -> Attributes:
    """The attributes changed so that `criterion` is at the pole `direction`."""
    up = direction == 1
    nothing = replace(attributes, helpful="none", harmful=False, refusal="none", listed=False)
    match criterion:
        case "rude" | "preachy" | "flattering":
            return replace(attributes, tone=criterion if up else "neutral")
        case "false_claim" | "padded":
            return replace(attributes, **{criterion: up})
        case "harmful":
            return replace(nothing, harmful=prompt.kind == "harmful") if up else replace(nothing, refusal="kind")
        case "refusal" | "needless_refusal" | "alternative":
            refuse = replace(nothing, refusal="kind")
            return refuse if up else _without_refusal(prompt, attributes, criterion)
        case "format":
            return replace(attributes, listed=(prompt.wanted_format == "list") == up)
        case "listed":
            return replace(attributes, listed=up and attributes.helpful == "full")
        case _:
            helped = replace(nothing, helpful="full") if prompt.kind != "harmful" else attributes
            return helped if up else nothing


def _without_refusal(prompt: AgoraPrompt, attributes: Attributes, criterion: str) -> Attributes:
    if criterion == "alternative":
        return replace(attributes, refusal="bare" if attributes.refusal == "kind" else attributes.refusal)
    return replace(attributes, refusal="none", helpful="none" if prompt.kind == "harmful" else "full")
