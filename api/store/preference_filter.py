"""What a list of stored preferences is narrowed by; the same for lists, counts, agreement and datasets."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import Select, exists, false, func, or_, select

from api.store.preference_tables import KEY_LENGTH, VALUE_LENGTH, PreferenceMetadataRow, PreferenceRow
from solon.settings import ModelName

AnySelect = TypeVar("AnySelect", bound="Select[*tuple[Any, ...]]")

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Time = Annotated[float, Field(ge=0.0, le=1e11, allow_inf_nan=False)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=KEY_LENGTH, pattern=r"^[^\x00]*$")]
MetadataValue = Annotated[str, StringConstraints(max_length=VALUE_LENGTH, pattern=r"^[^\x00]*$")]


StatusName = Literal["ok", "tie", "refused", "off_format", "truncated", "timeout", "error", "incomplete_swap"]


class Criteria(BaseModel):
    """What preferences are narrowed by, besides the metadata of their prompts."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    constitution: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}(@\d+\.\d+\.\d+)?$")] | None = None
    """Id, or `id@version`."""
    constitution_hash: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """Content hash of the text, weights included."""
    status: Annotated[list[StatusName], Field(max_length=8)] | None = None
    """Any of these."""
    min_margin: Share | None = None
    """|p_a - 0.5| * 2 is at least so much; what was not measured has no margin."""
    max_margin: Share | None = None
    judge: ModelName | None = None
    policy: ModelName | None = None
    scope: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")] | None = None
    flag: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,62}$")] | None = None
    """Such as `injection_suspected` or `position_inconsistent`."""
    source: Word | None = None
    """`request`, or the id of the job that labelled it; `JOB.01-label` for one step of it."""
    comparison: Annotated[str, StringConstraints(pattern=r"^cmp_[0-9a-f]{26}$")] | None = None
    """Labels of the same completions."""
    prompt: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")] | None = None
    """Id of the prompt."""
    reviewed: bool | None = None
    """Whether a person has said something of it."""
    disputed: bool | None = None
    """Whether people said otherwise than the label, or differ among themselves."""
    created_after: Time | None = None
    """Unix time in seconds."""
    created_before: Time | None = None


class Filter(Criteria):
    """All that is given must hold; nothing given lets everything through."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = Field(default_factory=dict)
    """Entries of the prompt's metadata, as texts (`metadata[key]=value` in a query): all of them."""


def narrowed(query: AnySelect, wanted: Filter, project: str) -> AnySelect:
    """The query with the filter's conditions on PreferenceRow."""
    row = PreferenceRow
    name, _, version = (wanted.constitution or "").partition("@")
    given: list[tuple[Any, Callable[[], Any]]] = [
        (name or None, lambda: row.constitution == name),
        (version or None, lambda: row.constitution_version == version),
        (wanted.constitution_hash, lambda: row.constitution_hash == wanted.constitution_hash),
        (wanted.status, lambda: row.status.in_(wanted.status or ())),
        (wanted.min_margin, lambda: row.margin >= wanted.min_margin),
        (wanted.max_margin, lambda: row.margin <= wanted.max_margin),
        (wanted.judge, lambda: row.judge == wanted.judge),
        (wanted.policy, lambda: row.policy == wanted.policy),
        (wanted.scope, lambda: row.scope == wanted.scope),
        (wanted.flag, lambda: row.flags.contains(f"|{wanted.flag}|", autoescape=True)),
        (
            wanted.source,
            lambda: or_(row.source == wanted.source, row.source.startswith(f"{wanted.source}.", autoescape=True)),
        ),
        (wanted.comparison, lambda: row.comparison == wanted.comparison),
        (wanted.prompt, lambda: row.prompt_id == wanted.prompt),
        (wanted.reviewed, lambda: row.reviews > 0 if wanted.reviewed else row.reviews == 0),
        (wanted.disputed, lambda: _disputed() if wanted.disputed else ~_disputed()),
        (wanted.created_after, lambda: row.created_at > wanted.created_after),
        (wanted.created_before, lambda: row.created_at < wanted.created_before),
    ]
    query = query.where(row.project == project, *(condition() for value, condition in given if value is not None))
    for key, value in wanted.metadata.items():
        entry = PreferenceMetadataRow
        query = query.where(
            exists(select(1).where(entry.preference == row.number, entry.key == key, entry.value == value))
        )
    return query


def _disputed() -> Any:
    """People differ among themselves, or somebody says otherwise than the label; never null."""
    row = PreferenceRow
    sides = (row.votes_a > 0, row.votes_b > 0, row.votes_tie > 0)
    differ = (sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2])
    against = (
        ((row.label == "a") & (sides[1] | sides[2]))
        | ((row.label == "b") & (sides[0] | sides[2]))
        | ((row.label == "tie") & (sides[0] | sides[1]))
    )
    return differ | func.coalesce(against, false())
