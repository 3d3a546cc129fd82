"""The prompts a recipe names: built-in ones, or those of a JSONL file."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, cast, get_args

from api.recipe_files import BUILTIN_PROMPTS
from solon.errors import InvalidInput, NotFound
from solon.records import Message, Prompt
from solon.rows import Row, read_rows

AGORA = f"{BUILTIN_PROMPTS}agora/"

Split = Literal["train", "eval"]


def prompts(reference: str, limit: int | None, seed: int, share: int = 0) -> tuple[Prompt, ...]:
    """At most `limit` prompts; of built-in ones a seeded draw, of a file its first.

    Args:
        share: 0 for the first `limit` prompts, 1 for the next as many, and so on; they have no prompt in common as
            long as there are enough.

    Raises NotFound for an unknown name or file, InvalidInput for a wrong row.
    """
    if reference.startswith(BUILTIN_PROMPTS):
        return _agora(reference, limit, seed, share)
    return tuple(row.prompt for row in given_rows(reference, limit, share))


def given_rows(reference: str, limit: int | None, share: int = 0) -> Iterator[Row]:
    """The rows of a file with all that they have; see `prompts`. Raises InvalidInput where no file is named."""
    if reference.startswith(BUILTIN_PROMPTS):
        raise InvalidInput("built-in prompts have no completions", field="prompts", remedy="name a file")
    first, last = (0, None) if limit is None else (limit * share, limit * (share + 1))
    yield from islice(read_rows(Path(reference)), first, last)


def is_agora(reference: str) -> bool:
    """Whether the oracle knows these prompts."""
    return reference.startswith(AGORA)


def split_of(reference: str, field: str = "prompts") -> Split:
    """Which built-in prompts these are; raises NotFound where there are none of this name."""
    name = reference.removeprefix(AGORA)
    if not is_agora(reference) or name not in get_args(Split):
        known = ", ".join(f"{AGORA}{split}" for split in get_args(Split))
        raise NotFound(f"there are no prompts {reference!r}", field=field, remedy=f"known: {known}")
    return cast(Split, name)


def _agora(reference: str, limit: int | None, seed: int, share: int) -> tuple[Prompt, ...]:
    from trainer.starter.world import prompts as all_prompts
    from trainer.starter.world import sample_prompts

    split = split_of(reference)
    drawn = all_prompts(split) if limit is None else sample_prompts(split, limit * (share + 1), seed)[limit * share :]
    unique = {prompt.id: prompt for prompt in drawn}
    return tuple(
        Prompt(
            id=prompt.id,
            messages=(Message(role="user", content=prompt.text),),
            metadata={"kind": prompt.kind, "benign": prompt.kind != "harmful"},
        )
        for prompt in unique.values()
    )


def rows(found: Sequence[Prompt]) -> list[Row]:
    """The prompts as rows without completions."""
    return [Row(prompt=prompt) for prompt in found]


def digest_of_rows(found: Sequence[Row]) -> str:
    """SHA-256 over the rows in order."""
    hashed = hashlib.sha256()
    for row in found:
        hashed.update(row.model_dump_json().encode() + b"\n")
    return f"sha256:{hashed.hexdigest()}"


def digest(found: Sequence[Prompt]) -> str:
    """SHA-256 over the prompts in order."""
    hashed = hashlib.sha256()
    for prompt in found:
        hashed.update(prompt.model_dump_json().encode() + b"\n")
    return f"sha256:{hashed.hexdigest()}"
