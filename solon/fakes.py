"""Scripted chat models: for our tests, for those of plug-in authors, and for trying a pipeline without any model.

    first_slot_judge()                  prefers whatever is listed first, in every prompt
    keyword_judge(good, bad)            noiseless: prefers the completion with more good and fewer bad words
    noisy_judge(good, bad, flip=e)      the same, but a share e of the pairs gets the opposite verdict, in both orders
    failing_judge(judge, fails)         another judge that fails where `fails` says so
    echo_policy()                       repeats the question, ending differently for each seed
    scripted_policy({...})              the given completions of each prompt, in turn by seed

All of them are `ScriptedChat`s and count their calls. The judges read the prompts of `critic/prompts/`: text between
[A] and [/A], [B] and [/B], [RESPONSE] and [/RESPONSE], and the lines "Principle:" and "Question:".
"""

import asyncio
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon.chat import ChatChoice, ChatReply, TokenLogprob
from solon.errors import SolonError
from solon.records import Message

_ASKED = re.compile(r"^(Principle|Question): (.*)$", re.MULTILINE)
_OTHER_TOKENS = ("The", "I", "It", "Both", "Neither")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a script sees it."""

    messages: tuple[Message, ...]
    number: int
    """0 for the first call this fake received."""
    seed: int | None
    n: int
    json_schema: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        """The last message."""
        return self.messages[-1].content

    def between(self, marker: str) -> str | None:
        """The text between [marker] and [/marker] on their own lines, with a fence or without; None without them."""
        frame = rf"^\[{marker}(| [0-9a-f]+)\]\n(.*?)\n\[/{marker}\1\]$"
        found = re.search(frame, self.text, re.DOTALL | re.MULTILINE)
        return found[2] if found else None

    def asked(self, what: str) -> str:
        """The last line that starts with `what` ("Principle" or "Question"), without that word; "" without one."""
        return ([line for word, line in _ASKED.findall(self.text) if word == what] or [""])[-1]


Script = Callable[[Call], ChatReply]
"""Makes the reply, or raises the `SolonError` with which the call shall fail."""
Score = Callable[[str], float]
"""How good a completion is."""


class ScriptedChat:
    """A `ChatModel` that follows a script. `calls` counts requests, `most_in_flight` those at one time."""

    def __init__(self, name: str, script: Script, *, latency_s: float | Callable[[Call], float] = 0.0) -> None:
        self.name = name
        self.model = name
        self.calls = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.script = script
        self._latency_s = latency_s

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        top_logprobs: int = 0,
        json_schema: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """What the script says of this call."""
        call = Call(tuple(messages), self.calls, seed, n, json_schema)
        self.calls += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self._latency_s(call) if callable(self._latency_s) else self._latency_s)
            return self.script(call)
        finally:
            self.in_flight -= 1


def label_reply(labels: Mapping[str, float], *, prompt_tokens: int = 100) -> ChatReply:
    """A one-token reply whose first-token probabilities are `labels`; what they leave of 1 goes to other words."""
    rest = max(0.0, 1.0 - sum(labels.values())) / len(_OTHER_TOKENS)
    tokens = dict(labels) | (dict.fromkeys(_OTHER_TOKENS, rest) if rest > 0 else {})
    ranked = sorted(((token, p) for token, p in tokens.items() if p > 0), key=lambda entry: -entry[1])
    first = tuple(TokenLogprob(token, math.log(p)) for token, p in ranked)
    return ChatReply((ChatChoice(first[0].token, "length", first),), prompt_tokens, 1)


def text_reply(text: str, *, finish_reason: str = "stop", prompt_tokens: int = 20) -> ChatReply:
    """A reply with one text."""
    return ChatReply((ChatChoice(text, finish_reason),), prompt_tokens, len(text.split()))


def first_slot_judge(p_first: float = 0.9, *, label_mass: float = 1.0, latency_s: float = 0.0) -> ScriptedChat:
    """A judge that looks only at the slot, with P(first) = `p_first`; to any yes/no question it says yes."""

    def script(call: Call) -> ChatReply:
        names = ("A", "B") if call.between("A") is not None else ("Yes", "No")
        return label_reply({names[0]: label_mass * p_first, names[1]: label_mass * (1 - p_first)})

    return ScriptedChat("first-slot", script, latency_s=latency_s)


def scoring_judge(
    score: Callable[[str, str], float], *, sharpness: float = 4.0, name: str = "scoring", latency_s: float = 0.0
) -> ScriptedChat:
    """A judge whose P(A) is the sigmoid of `sharpness` times the difference of `score(completion, principle)`.

    A yes/no question is answered by `score(completion, question)`: above 0 is yes.
    """

    def script(call: Call) -> ChatReply:
        a, b, response = call.between("A"), call.between("B"), call.between("RESPONSE")
        if a is not None and b is not None:
            principle = call.asked("Principle")
            p = _sigmoid(sharpness * (score(a, principle) - score(b, principle)))
            return label_reply({"A": p, "B": 1 - p})
        p = _sigmoid(sharpness * (1.0 if score(response or "", call.asked("Question")) > 0 else -1.0))
        return label_reply({"Yes": p, "No": 1 - p})

    return ScriptedChat(name, script, latency_s=latency_s)


def keyword_judge(
    good: Sequence[str], bad: Sequence[str] = (), *, sharpness: float = 4.0, latency_s: float = 0.0
) -> ScriptedChat:
    """A noiseless judge: good words raise a completion, bad words lower it, whatever the principle."""
    score = keyword_score(good, bad)
    return scoring_judge(lambda text, _: score(text), sharpness=sharpness, name="keyword", latency_s=latency_s)


def noisy_judge(
    good: Sequence[str], bad: Sequence[str] = (), *, flip: float, seed: int = 0, sharpness: float = 4.0
) -> ScriptedChat:
    """A keyword judge that gives a share `flip` of the pairs the opposite verdict, the same one in both orders."""
    score = keyword_score(good, bad)

    def script(call: Call) -> ChatReply:
        a, b = call.between("A") or "", call.between("B") or ""
        sign = -1 if _uniform(seed, *sorted((a, b)), call.asked("Principle")) < flip else 1
        p = _sigmoid(sign * sharpness * (score(a) - score(b)))
        return label_reply({"A": p, "B": 1 - p})

    return ScriptedChat("noisy", script)


def failing_judge(judge: ScriptedChat, fails: Callable[[Call], SolonError | None]) -> ScriptedChat:
    """`judge`, except where `fails` returns an error for the call; the calls of both are counted."""

    def script(call: Call) -> ChatReply:
        error = fails(call)
        if error is not None:
            raise error
        judge.calls += 1
        return judge.script(call)

    return ScriptedChat("failing", script)


def echo_policy(endings: Sequence[str] = (" Yes.", " No.", " Perhaps.", " Of course.")) -> ScriptedChat:
    """A policy that repeats the question and adds the ending its seed picks."""
    return ScriptedChat("echo", lambda call: text_reply(call.text + endings[(call.seed or 0) % len(endings)]))


def scripted_policy(completions: Mapping[str, Sequence[str]]) -> ScriptedChat:
    """A policy that gives each prompt, by the text of its last message, its completions in turn."""
    turns: dict[str, int] = {}

    def script(call: Call) -> ChatReply:
        turn = turns.get(call.text, 0)
        turns[call.text] = turn + 1
        texts = completions[call.text]
        return text_reply(texts[turn % len(texts)])

    return ScriptedChat("scripted", script)


def keyword_score(good: Sequence[str], bad: Sequence[str] = ()) -> Score:
    """Occurrences of good words less those of bad ones, ignoring case."""

    def score(text: str) -> float:
        low = text.lower()
        return float(sum(low.count(word) for word in good) - sum(low.count(word) for word in bad))

    return score


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def _uniform(*key: object) -> float:
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
