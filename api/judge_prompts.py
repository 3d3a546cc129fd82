"""The exact texts that a judge was asked for a stored label: rendered again, and only where they must be the same.

A prompt follows from the constitution, the template, the completions and how the judge is asked. Text, templates and
sampling are in the label's provenance; where one of them is another by now, there is a reason instead of a guess.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from constitution.digest import content_hash
from constitution.document import Constitution
from constitution.library import Library
from constitution.weighting import weighted
from critic.examples import comparison_shots
from critic.judges.desk import Desk
from critic.judges.logprobs import Logprobs
from critic.judges.marks import Reward, Score
from critic.judges.method import Method
from critic.judges.written import Argued, JsonVerdict
from solon.chat import ChatChoice, ChatReply, TokenLogprob
from solon.errors import InvalidInput, NotFound
from solon.records import Comparison, Completion, Message, PreferencePair, Record, RuleScore, Vote
from solon.scoring import ScoreReply
from solon.templates import JUDGE_TEMPLATES, template_hash

Side = Literal["a", "b"]
Order = Literal["ab", "ba"]

_AVERAGING = ("swap", "calibration_temperature")
"""Entries of a judge's sampling that decide what is made of its answers, not how it is asked."""


class JudgePrompt(Record):
    """One request to a judge: a principle in one order, or a question about one completion."""

    judge: str | None
    principle: str | None = None
    order: Order | None = None
    proposition: str | None = None
    side: Side | None = None
    """Which completion the proposition is about."""
    messages: tuple[Message, ...]


_ANYTHING = tuple(TokenLogprob(token, -3.0) for token in ("A", "B", "Yes", "No", *map(str, range(1, 11))))
"""An answer that every method can read: only what was asked is of interest."""


class _Gone(Exception):
    """Why the texts cannot be had any more."""


async def judge_prompts(pair: PreferencePair, library: Library) -> tuple[list[JudgePrompt], str | None]:
    """The requests behind a label, and why they cannot be shown, where they cannot.

    A judge that argues first is shown with its stored argument, with several arguments only the request for them.
    """
    made = pair.provenance
    if not made.judge:
        return [], None
    try:
        constitution = _constitution(pair, library)
        _check_templates(made.template_hash)
        asked = made.sampling.get("judge", {})
        name = made.judge.get("name")
        if asked.get("method") != "jury":
            return await _of_judge(pair, constitution, name, asked, _votes(pair)), None
        prompts: list[JudgePrompt] = []
        for member, sampling in asked["judges"].items():
            sampling = {key: value for key, value in sampling.items() if key != "weight"}
            prompts += await _of_judge(pair, constitution, member, sampling, _votes(pair, member))
        return prompts, None
    except _Gone as error:
        return [], str(error)


def _constitution(pair: PreferencePair, library: Library) -> Constitution:
    made = pair.provenance
    try:
        plain = library.load(f"{made.constitution}@{made.constitution_version}")
        found = weighted(plain, made.weights)
    except (InvalidInput, NotFound) as error:
        raise _Gone("the text of the constitution is not published here") from error
    if content_hash(found) != made.constitution_hash:
        raise _Gone("the constitution of this version has another text here")
    return found


def _check_templates(recorded: str) -> None:
    now = {template_hash(name) for name in JUDGE_TEMPLATES}
    if not set(filter(None, recorded.split("+"))) <= now:
        raise _Gone("the judge was asked with templates of another version of Solon")


def _votes(pair: PreferencePair, juror: str | None = None) -> dict[tuple[str, str], Vote]:
    """Votes by principle and order, of the judge or of one judge of a jury."""
    found = {}
    for verdict in pair.verdicts:
        own = (
            verdict.votes
            if juror is None
            else [v for each in verdict.jurors if each.judge == juror for v in each.votes]
        )
        found |= {(verdict.principle, vote.order): vote for vote in own}
    return found


def _method(sampling: Mapping[str, Any], constitution: Constitution) -> Method:
    """The way of judging with these parameters."""
    labels, fences = tuple(sampling.get("labels", ("A", "B"))), bool(sampling.get("fences", False))
    clamp = tuple(sampling.get("clamp", (0.4, 0.6)))
    methods: dict[Any, Any] = {
        None: lambda: Logprobs(labels, comparison_shots(constitution, labels, fences=fences), fences),
        "json": lambda: JsonVerdict(labels, clamp, sampling["max_tokens"], fences),
        "cot": lambda: Argued(labels, clamp, sampling["samples"], sampling["max_tokens"], fences=fences),
        "score": lambda: Score(sampling["scale"], fences),
        "reward_model": Reward,
    }
    make = methods.get(sampling.get("method"))
    plain = {key: value for key, value in sampling.items() if key not in _AVERAGING}
    method = make() if make is not None else None
    if method is None or dict(method.sampling) != plain:
        raise _Gone("the judge was asked in a way that this version of Solon does not know")
    return method


async def _of_judge(
    pair: PreferencePair,
    constitution: Constitution,
    name: str | None,
    sampling: Mapping[str, Any],
    votes: Mapping[tuple[str, str], Vote],
) -> list[JudgePrompt]:
    method = _method(sampling, constitution)
    orders: tuple[Order, ...] = ("ab", "ba")
    listed = {"ab": Comparison(prompt=pair.prompt, a=pair.a, b=pair.b)}
    listed["ba"] = listed["ab"].swap()
    found: list[JudgePrompt] = []
    for principle in constitution.principles_for(pair.prompt.scope):
        for order in orders:
            vote = votes.get((principle.id, order))
            if vote is None:
                continue
            recorder = _Recorder(name or "judge", vote.reason)
            await method.prefer(listed[order], principle, Desk(recorder))
            # The second request of a judge that argues holds its argument, which several arguments share a field of.
            whole = method.name != "cot" or (vote.reason and sampling.get("samples") == 1)
            asked = recorder.asked if whole else recorder.asked[:1]
            found += [JudgePrompt(judge=name, principle=principle.id, order=order, messages=each) for each in asked]
    return found + await _questions(pair, constitution, method, name)


async def _questions(
    pair: PreferencePair, constitution: Constitution, method: Method, name: str | None
) -> list[JudgePrompt]:
    """What was asked about one completion, for the rules."""
    found: list[JudgePrompt] = []
    sides: tuple[tuple[Side, Completion, RuleScore | None], ...] = (
        ("a", pair.a, pair.rules_a),
        ("b", pair.b, pair.rules_b),
    )
    for side, completion, score in sides:
        for proposition in constitution.propositions:
            if score is None or proposition.kind != "judge" or proposition.id not in score.propositions:
                continue
            recorder = _Recorder(name or "judge", "")
            with suppress(InvalidInput):  # a reward model answers no questions
                await method.ask(pair.prompt, completion, proposition.question, Desk(recorder))
            found += [
                JudgePrompt(judge=name, proposition=proposition.id, side=side, messages=each) for each in recorder.asked
            ]
    return found


@dataclass
class _Recorder:
    """A model that keeps what it is asked and says what the judge had said."""

    name: str
    said: str
    asked: list[tuple[Message, ...]] = field(default_factory=list[tuple[Message, ...]])

    @property
    def model(self) -> str:
        return self.name

    async def complete(self, messages: Sequence[Message], **_: Any) -> ChatReply:
        self.asked.append(tuple(messages))
        return ChatReply(choices=(ChatChoice(text=self.said, finish_reason="stop", first_token=_ANYTHING),))

    async def score(self, messages: Sequence[Message]) -> ScoreReply:
        self.asked.append(tuple(messages))
        return ScoreReply(0.0)
