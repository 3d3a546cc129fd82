"""The schema of a constitution, `format: constitution/v1`: the same models describe the file, requests and answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8000)]
"""Prose; the white space around it carries no meaning and is dropped."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
"""Id of a part of a constitution."""
Variable = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""Id of a proposition; also its name in CEL, hence no hyphen."""
Expression = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
"""A CEL expression over propositions."""
Version = Annotated[str, StringConstraints(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$")]
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
    tags: tuple[Name, ...] = ()
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


class JudgeProposition(Part):
    """A yes/no question to the judge about one completion; in CEL it holds when P(yes) >= 0.5."""

    id: Variable
    kind: Literal["judge"]
    question: Text


class RegexProposition(Part):
    """Holds when the RE2 pattern is found anywhere in the completion."""

    id: Variable
    kind: Literal["regex"]
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class MeasureProposition(Part):
    """A number measured on the completion; with `op` and `value`, whether it compares as stated."""

    id: Variable
    kind: Literal["measure"]
    measure: Literal["characters", "words", "sentences", "lines", "finished_last_sentence", "repetition", "matches"]
    """`finished_last_sentence` is true or false, `repetition` a share in [0, 1], the others are counts."""
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=4000)] | None = None
    """RE2, for `matches` only: the measure is the number of non-overlapping matches."""
    op: Literal[">", ">=", "<", "<=", "==", "!="] | None = None
    value: Finite | None = None

    @model_validator(mode="after")
    def _parts_belong_together(self) -> "MeasureProposition":
        if (self.measure == "matches") != (self.pattern is not None):
            raise ValueError("`pattern` goes with `measure: matches`, and only with it")
        if (self.op is None) != (self.value is None):
            raise ValueError("`op` and `value` go together")
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
    prompt: Text
    better: Text
    worse: Text
    because: tuple[Name, ...] = ()
    """Principles that decide it."""


class Change(Part):
    """What one version changed and why; people read it, no label depends on it."""

    version: Version
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    """Day of publication, quoted: "2026-03-01"."""
    note: Text


class Dropped(Part):
    """Ids of parts of the parent that are left out."""

    principles: tuple[Name, ...] = ()
    propositions: tuple[Variable, ...] = ()
    rules: tuple[Name, ...] = ()
    cases: tuple[Name, ...] = ()


class Parent(Part):
    """The constitution that this one extends; parts with an id of the parent's override it (`composition`)."""

    constitution: Annotated[
        str, StringConstraints(pattern=r"^([a-z][a-z0-9-]{0,62}@\d+\.\d+\.\d+|[^\\]{1,400}\.ya?ml)$")
    ]
    """`id@version`, or in a local file the path of another one, from the folder of the file."""
    content_hash: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """Refuse any other text of the parent."""
    drop: Dropped = Dropped()


class Constitution(Part):
    """A whole constitution, `format: constitution/v1`."""

    format: Literal["constitution/v1"]
    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    title: Text
    version: Version
    status: Literal["draft", "published", "retired"] = "draft"
    licence: Text | None = None
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    summary: Text | None = None
    derived_from: Parent | None = None
    """Where the parts that the file does not hold come from; the model always holds all of them."""
    scopes: dict[Name, Scope] = Field(default_factory=lambda: {"general": Scope(description="Any request.")})
    principles: tuple[Principle, ...] = ()
    few_shot: Annotated[tuple[str, ...], Field(max_length=0)] = ()
    """Reserved for examples; must be empty in this version."""
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
            raise ValueError("a constitution needs at least one principle or rule")
        if "general" not in self.scopes:
            raise ValueError("`scopes` must hold `general`, the scope of prompts that name none")
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
