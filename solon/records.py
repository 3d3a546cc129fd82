"""The immutable records that travel between the packages, one per arrow of the data flow.

    Prompt -> [Completion] -> Comparison -> [Vote] -> [Verdict] -> PreferencePair | Discard
    Prompt -> Completion -> [Revision] -> RevisionChain | Discard

A and B are positions (which completion is listed first), chosen and rejected are outcomes. A judge failure is a
`Status`, never a number: every probability here is None unless the status says it was measured.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

INJECTION_SUSPECTED = "injection_suspected"
"""Flag of a pair with a text that seems to speak to the judge instead of to the person who asked."""

POSITION_INCONSISTENT = "position_inconsistent"
"""Flag of a pair whose better side changes with the order of listing: its soft label stands, a hard one does not."""

SELF_PREFERENCE = "self_preference"
"""Flag of a pair whose label the policy gave to texts of its own."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
"""In [0, 1]."""


def _is_empty(value: str | tuple[object, ...]) -> bool:
    return not value


def _is_none(value: object) -> bool:
    return value is None


class Record(BaseModel):
    """Frozen, strict about unknown fields, documented under each field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Status(StrEnum):
    """How a judgement ended. Only `ok` (and `tie` under a soft loss) may reach a trainer."""

    OK = "ok"
    """Both orders answered and one side is preferred by more than the tie margin."""
    TIE = "tie"
    """Both orders answered and neither side is preferred by more than the tie margin."""
    REFUSED = "refused"
    """The judge declined to judge."""
    OFF_FORMAT = "off_format"
    """Too little probability on the allowed labels."""
    TRUNCATED = "truncated"
    """The prompt does not fit the judge's context; nothing was cut to make it fit."""
    TIMEOUT = "timeout"
    """No answer in time, after retries."""
    ERROR = "error"
    """The endpoint failed on this request, after retries."""
    INCOMPLETE_SWAP = "incomplete_swap"
    """One of the two orders failed; the other alone is never used."""


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(Record):
    """What was asked: a conversation whose last turn is the user's."""

    id: str
    messages: tuple[Message, ...] = Field(min_length=1)
    scope: str = "general"
    """Which principles apply; a key of the constitution's `scopes`."""
    metadata: dict[str, Any] = Field(default_factory=dict)

    @property
    def text(self) -> str:
        """The user's last turn."""
        return self.messages[-1].content


class Completion(Record):
    """One answer to a prompt."""

    text: str
    finish_reason: Literal["stop", "length", "given"] = "given"
    """`given` when a user supplied the text, else why the model stopped."""
    model: str | None = None
    """Registered name of the policy that wrote it; of a given one what the row says, None where it says nothing."""
    seed: int | None = None


class Comparison(Record):
    """Two completions of one prompt, in the order in which they are listed."""

    prompt: Prompt
    a: Completion
    b: Completion

    def swap(self) -> "Comparison":
        """The same comparison with the completions listed in the other order."""
        return Comparison(prompt=self.prompt, a=self.b, b=self.a)


class Vote(Record):
    """One judge call: one principle, one order."""

    principle: str
    order: Literal["ab", "ba"]
    status: Status
    p_first: Probability | None = None
    """P(the first-listed completion wins), from the label log-probabilities; None unless status is `ok`."""
    label_mass: Probability | None = None
    """Probability on all accepted forms of the two labels together; a lower bound where a form is not among the top."""
    detail: str = ""
    """Why the call failed, for people."""
    cache_hit: bool = False
    reason: str = Field(default="", exclude_if=_is_empty)
    """What the judge wrote before it decided; empty for judges that answer with one token."""


class Juror(Record):
    """What one judge of a jury says of a comparison under one principle."""

    judge: str
    """Registered name."""
    weight: float
    status: Status
    p_a: Probability | None = None
    """Its own mean over both orders; None unless status is `ok` or `tie`."""
    consistent: bool | None = None
    votes: tuple[Vote, ...] = ()


class Verdict(Record):
    """What the judge says of one comparison under one principle, averaged over both orders."""

    principle: str
    status: Status
    p_a: Probability | None = None
    """P(completion a is better), (p_ab + 1 - p_ba) / 2 (Lee et al. 2023); None unless status is `ok` or `tie`."""
    consistent: bool | None = None
    """Whether both orders prefer the same completion."""
    votes: tuple[Vote, ...] = ()
    """One per order; of a jury, the weighted means of its judges' votes."""
    disagreement: Annotated[float, Field(ge=0.0, le=0.5)] | None = Field(default=None, exclude_if=_is_none)
    """Weighted standard deviation of the judges' p_a; None for a single judge."""
    jurors: tuple[Juror, ...] = Field(default=(), exclude_if=_is_empty)
    """The judges of a jury, those that failed included; empty for a single judge."""


class RuleScore(Record):
    """What the constitution's rules say of one completion."""

    reward: float
    """Sum of the rewards of the rules that fired."""
    fired: tuple[str, ...] = ()
    """Ids of the rules that fired."""
    propositions: dict[str, bool | float | Literal["not_applicable"] | None] = Field(default_factory=dict)
    """Value of each proposition (judge propositions as P(yes)); None is "unanswered"."""


class Provenance(Record):
    """What made a label: enough to find the exact texts again."""

    constitution: str
    constitution_version: str
    constitution_hash: str
    principle_hashes: dict[str, str] = Field(default_factory=dict)
    proposition_hashes: dict[str, str] = Field(default_factory=dict)
    """Of the questions that were put to the judge about one completion, by proposition."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Factors given with the request, by principle or `tag:NAME`; `constitution_hash` is of the text with them."""
    template_hash: str = ""
    judge: dict[str, str | None] = Field(default_factory=dict)
    """name, model, revision, server."""
    policy: str | None = None
    sampling: dict[str, Any] = Field(default_factory=dict)
    seed: int | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cache_hits: int = 0
    judge_calls: int = 0


class PreferencePair(Record):
    """A labelled comparison. With status `ok` it is a training pair; with any other status it says why it is not."""

    object: Literal["preference"] = "preference"
    id: str
    status: Status
    prompt: Prompt
    a: Completion
    b: Completion
    p_a: Probability | None = None
    """P(a is better) over all principles and rules."""
    chosen: Literal["a", "b"] | None = None
    """The better side; None unless status is `ok`."""
    p_chosen: Probability | None = None
    """P(chosen is better), >= 0.5; None unless status is `ok`; 0.5-ish for a `tie` is in `p_a`."""
    margin: float | None = None
    """|p_a - 0.5| * 2, in [0, 1]."""
    verdicts: tuple[Verdict, ...] = ()
    rules_a: RuleScore | None = None
    rules_b: RuleScore | None = None
    flags: tuple[str, ...] = ()
    provenance: Provenance
    extra: dict[str, Any] = Field(default_factory=dict)
    """Unknown keys of the input row, passed through."""

    @property
    def quarantined(self) -> bool:
        """Whether a text seems to speak to the judge: the label is shown, and kept from training files."""
        return INJECTION_SUSPECTED in self.flags

    @property
    def chosen_text(self) -> str | None:
        """Text of the better completion, None unless status is `ok`."""
        return None if self.chosen is None else (self.a if self.chosen == "a" else self.b).text

    @property
    def rejected_text(self) -> str | None:
        """Text of the worse completion, None unless status is `ok`."""
        return None if self.chosen is None else (self.b if self.chosen == "a" else self.a).text


class Revision(Record):
    """One round of a chain: what was found wrong, what was written instead, and what became of it."""

    round: int = Field(ge=1)
    principle: str
    """The one drawn for this round."""
    critique: str = ""
    completion: Completion | None = None
    """The rewritten completion; None when there was none to be had."""
    rejected: str | None = None
    """Why it is not used, a short stable word (`critic.revision` lists them); None when it is kept."""
    status: Status | None = None
    """How the comparison with the original ended; None where none was made."""
    p_better: Probability | None = None
    """P(better than the original) under the whole constitution, from both orders; None unless measured."""
    p_better_under_principle: Probability | None = None
    """The same under the round's principle alone."""
    pair: str | None = None
    """Id of the comparison with the original, a `PreferencePair` of which it is b."""

    @property
    def kept(self) -> bool:
        """Whether it may be learned from."""
        return self.rejected is None and self.completion is not None


class RevisionChain(Record):
    """A completion, and what critique after critique made of it (Bai et al. 2022, arXiv:2212.08073, section 3)."""

    object: Literal["critique"] = "critique"
    id: str
    prompt: Prompt
    original: Completion
    revisions: tuple[Revision, ...] = ()
    """One per round, whatever became of it."""
    flags: tuple[str, ...] = ()
    """`known_benign`; `injection_suspected`, of the prompt or the original."""
    provenance: Provenance
    extra: dict[str, Any] = Field(default_factory=dict)
    """Unknown keys of the input row, passed through."""

    @property
    def quarantined(self) -> bool:
        """Whether prompt or original seem to speak to the judge: the original is no text to learn from."""
        return INJECTION_SUSPECTED in self.flags

    @property
    def kept(self) -> tuple[Revision, ...]:
        """The revisions that may be learned from, in order."""
        return tuple(revision for revision in self.revisions if revision.kept)


class Discard(Record):
    """A work item that made no comparison, with its reason; discards are counted and listed, never silent."""

    object: Literal["discard"] = "discard"
    prompt_id: str
    reason: str
    """A short stable word: `identical_completions`, `empty_completion`, `generation_failed`, ..."""
    detail: str = ""
    pair: PreferencePair | None = Field(default=None, exclude_if=_is_none)
    """The pair itself, where one was taken out of a dataset."""
