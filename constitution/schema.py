"""The schema of a constitution, `format: constitution/v1`: the same models describe the file, requests and answers."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

ID = r"^[a-z][a-z0-9-]{0,62}$"
NAME = r"^[a-z][a-z0-9_-]{0,62}$"
VARIABLE = r"^[a-z][a-z0-9_]{0,62}$"
TAG = r"^[a-z][a-z0-9_-]{0,62}([:/][a-z0-9_-]{1,62}){0,3}$"
VERSION = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$"
LANGUAGE = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"
DATE = r"^\d{4}-\d{2}-\d{2}$"
PARENT = r"^([a-z][a-z0-9-]{0,62}@\d+\.\d+\.\d+|[^\\]{1,400}\.ya?ml)$"
HASH = r"^sha256:[0-9a-f]{64}$"
_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")


def _visible(text: str) -> str:
    """`text`, refused when it holds control characters or changes the direction of writing unseen."""
    found = _INVISIBLE.search(text)
    if found is not None:
        raise _refused(f"the text holds the invisible character U+{ord(found[0]):04X}", "remove it")
    return text


def _refused(message: str, hint: str, field: str = "") -> PydanticCustomError:
    """An error with its remedy; `field` is the part of the model that it is about, empty for the value itself."""
    return PydanticCustomError("refused", "{message}", {"message": message, "hint": hint, "field": field})


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8000), AfterValidator(_visible)]
"""Prose; the white space around it carries no meaning and is dropped."""
Name = Annotated[str, StringConstraints(pattern=NAME)]
"""Id of a part of a constitution."""
Variable = Annotated[str, StringConstraints(pattern=VARIABLE)]
"""Id of a proposition; also its name in CEL, hence no hyphen."""
Expression = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
"""A CEL expression over propositions."""
Tag = Annotated[str, StringConstraints(pattern=TAG)]
"""A word to group principles by, such as `harmlessness` or `hazard:ailuminate/violent_crimes`."""
Version = Annotated[str, StringConstraints(pattern=VERSION)]
"""Three numbers, as in 3.1.0."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Part(BaseModel):
    """Frozen and strict: no unknown key, no conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Scope(Part):
    """A kind of request that some principles and rules are limited to."""

    description: Text


class Scoped(Part):
    """A part that may be limited to some scopes."""

    scopes: tuple[Name, ...] = ()
    """Where it applies; empty: everywhere."""

    def applies(self, scope: str) -> bool:
        """Whether it applies to a prompt of this scope."""
        return not self.scopes or scope in self.scopes


class VoteCount(Part):
    """How a group of participants voted on a statement."""

    agree: Annotated[int, Field(ge=0)] = 0
    disagree: Annotated[int, Field(ge=0)] = 0
    passed: Annotated[int, Field(ge=0)] = 0
    """Saw it and took no side."""


class VoteEvidence(Part):
    """The people's votes that a principle was drafted from."""

    kind: Literal["votes"]
    source: Text
    statement: Text
    """Its id in the source."""
    consensus: Annotated[float, Field(ge=0, le=1)]
    """Group-aware: the product over the groups of their smoothed shares of agreement (`consensus`)."""
    groups: dict[Text, VoteCount]


class LabelEvidence(Part):
    """The labelled pairs that a principle was inferred from."""

    kind: Literal["labels"]
    source: Text
    pairs: Annotated[int, Field(ge=0)]
    """On which the principle is decided."""
    agreement: Annotated[float, Field(ge=0, le=1)]
    """Share of these whose label it agrees with."""


Evidence = Annotated[VoteEvidence | LabelEvidence, Field(discriminator="kind")]


class Principle(Scoped):
    """One thing the judge is asked about."""

    id: Name
    title: Text | None = None
    tags: tuple[Tag, ...] = ()
    weight: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0
    """Share in the weighted mean, relative to the other principles that apply."""
    veto: bool = False
    """A completion that breaks it cannot beat one that does not."""
    text: Text
    """The principle itself, shown to the judge."""
    compare: Text | None = None
    """The question put to the judge about two completions; None: the default question."""
    critique: Text | None = None
    revise: Text | None = None
    evidence: Evidence | None = None
    """Where a drafted principle comes from."""


class ComparisonExample(Part):
    """A solved comparison that the judge sees before every pair: `better` follows the principle better."""

    id: Name
    kind: Literal["comparison"]
    principle: Name
    prompt: Text
    better: Text
    worse: Text


class CritiqueExample(Part):
    """A solved critique and revision that a model sees before it writes its own."""

    id: Name
    kind: Literal["critique"]
    principle: Name | None = None
    """The principle it was written under; None: none in particular."""
    prompt: Text
    response: Text
    critique: Text
    revision: Text


Example = Annotated[ComparisonExample | CritiqueExample, Field(discriminator="kind")]


class JudgeProposition(Part):
    """A yes/no question to the judge about one completion; in CEL it holds when P(yes) >= 0.5."""

    id: Variable
    kind: Literal["judge"]
    question: Text
    only_if: Expression | None = None
    """CEL over propositions listed before it: elsewhere the question does not apply and is not asked. None: always."""


class RegexProposition(Part):
    """Holds when the RE2 pattern is found anywhere in the completion."""

    id: Variable
    kind: Literal["regex"]
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=4000)]


Measure = Literal[
    "characters",
    "words",
    "sentences",
    "lines",
    "paragraphs",
    "bullets",
    "finished_last_sentence",
    "repetition",
    "reading_grade",
    "valid_json",
    "matches",
    "language",
    "correct_answer",
    "instructions_followed",
]
PROMPT_MEASURES = frozenset({"language", "correct_answer", "instructions_followed"})
"""Measures that need something of the prompt, and do not apply where it is missing."""


class MeasureProposition(Part):
    """A number measured on the completion; with `op` and `value`, whether it compares as stated."""

    id: Variable
    kind: Literal["measure"]
    measure: Measure
    """`finished_last_sentence`, `valid_json` and `correct_answer` are true or false, `repetition`, `language` and
    `instructions_followed` lie in [0, 1], `reading_grade` is in years of school, the others are counts."""
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=4000)] | None = None
    """RE2, for `matches` only: the measure is the number of non-overlapping matches."""
    language: Annotated[str, StringConstraints(pattern=LANGUAGE)] | None = None
    """For `language` only: the measure is the probability of this language; None: of the prompt's own."""
    op: Literal[">", ">=", "<", "<=", "==", "!="] | None = None
    value: Finite | None = None

    @model_validator(mode="after")
    def _parts_belong_together(self) -> "MeasureProposition":
        if (self.measure == "matches") != (self.pattern is not None):
            raise _refused("`pattern` goes with `measure: matches`, and only with it", "add or remove it", "pattern")
        if self.language is not None and self.measure != "language":
            raise _refused("`language` goes with `measure: language` only", "remove it", "language")
        if (self.op is None) != (self.value is None):
            raise _refused("`op` and `value` go together", "write both, or neither for a number", "op")
        return self


class DerivedProposition(Part):
    """A name for a CEL expression over propositions listed before it."""

    id: Variable
    kind: Literal["derived"]
    when: Expression


Proposition = Annotated[
    JudgeProposition | RegexProposition | MeasureProposition | DerivedProposition, Field(discriminator="kind")
]


class CompletionClass(Scoped):
    """One of several ordered kinds of completion; for every assignment exactly one class of a scope holds."""

    id: Name
    when: Expression


class Rule(Scoped):
    """A reward for completions of which an expression holds."""

    id: Name
    when: Expression
    reward: Finite


class Combine(Part):
    """How principles and rules become one probability."""

    method: Literal["weighted_mean", "logit_sum"] = "weighted_mean"
    rule_reward_weight: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 0.3
    tie_margin: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.1
    """|p - 0.5| * 2 below this is a tie."""


class Case(Part):
    """One of the constitution's own tests: `better` must win over `worse`."""

    id: Name
    scope: Name = "general"
    """Scope of the prompt."""
    prompt: Text
    better: Text
    worse: Text
    because: tuple[Name, ...] = ()
    """Principles that decide it."""


class Change(Part):
    """What one version changed and why; people read it, no label depends on it."""

    version: Version
    date: Annotated[str, StringConstraints(pattern=DATE)] | None = None
    """Day of publication, as in 2026-03-01."""
    note: Text


class Dropped(Part):
    """Ids of parts of the parent that are left out."""

    principles: tuple[Name, ...] = ()
    propositions: tuple[Variable, ...] = ()
    rules: tuple[Name, ...] = ()
    cases: tuple[Name, ...] = ()


class Parent(Part):
    """The constitution that this one extends; parts with an id of the parent's override it (`composition`)."""

    constitution: Annotated[str, StringConstraints(pattern=PARENT)]
    """`id@version`, or in a local file the path of another one, from the folder of the file."""
    content_hash: Annotated[str, StringConstraints(pattern=HASH)] | None = None
    """Refuse any other text of the parent."""
    drop: Dropped = Dropped()


class Constitution(Part):
    """A whole constitution, `format: constitution/v1`."""

    format: Literal["constitution/v1"]
    id: Annotated[str, StringConstraints(pattern=ID)]
    title: Text
    version: Version
    status: Literal["draft", "published", "retired"] = "draft"
    licence: Text | None = None
    language: Annotated[str, StringConstraints(pattern=LANGUAGE)] = "en"
    summary: Text | None = None
    derived_from: Parent | None = None
    """Where the parts that the file does not hold come from; the model always holds all of them."""
    scopes: dict[Name, Scope] = Field(default_factory=lambda: {"general": Scope(description="Any request.")})
    principles: tuple[Principle, ...] = ()
    few_shot: Annotated[tuple[Example, ...], Field(max_length=32)] = ()
    """Shown in this order; what comes first is shared by all requests."""
    propositions: tuple[Proposition, ...] = ()
    classes: tuple[CompletionClass, ...] = ()
    """Ordered best to worst."""
    rules: tuple[Rule, ...] = ()
    combine: Combine = Combine()
    cases: tuple[Case, ...] = ()
    changelog: tuple[Change, ...] = ()
    """Newest first."""

    @model_validator(mode="after")
    def _says_something(self) -> "Constitution":
        if not self.principles and not self.rules:
            raise _refused("a constitution needs at least one principle or rule", "write one", "principles")
        if "general" not in self.scopes:
            raise _refused("the scope `general`, of prompts that name none, is missing", "add it", "scopes")
        return self

    def principles_for(self, scope: str) -> tuple[Principle, ...]:
        """Principles that apply to a prompt of this scope, in file order."""
        return tuple(principle for principle in self.principles if principle.applies(scope))

    def rules_for(self, scope: str) -> tuple[Rule, ...]:
        """Rules that apply to a prompt of this scope, in file order."""
        return tuple(rule for rule in self.rules if rule.applies(scope))

    def classes_for(self, scope: str) -> tuple[CompletionClass, ...]:
        """Classes that apply to a prompt of this scope, best to worst."""
        return tuple(kind for kind in self.classes if kind.applies(scope))
