"""The prompts of a run, with their ids."""

from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from solon.errors import InvalidInput
from solon.formats import text_lines
from solon.records import Prompt
from trainer.data import Encoder


def read_prompts(path: Path, encoder: Encoder, max_tokens: int, drops: Counter[str]) -> list[tuple[Prompt, list[int]]]:
    """The prompts with their ids; one without room for a response is counted as `too_long`.

    InvalidInput names the line that holds none, or says that none has room.
    """
    read = [_prompt(line, f"{path}:{number}") for number, line in text_lines(path)]
    encoded = [(prompt, encoder.prompt([message.model_dump() for message in prompt.messages])) for prompt in read]
    kept = [(prompt, ids) for prompt, ids in encoded if len(ids) + max_tokens <= encoder.max_length]
    if len(kept) < len(read):
        drops["too_long"] += len(read) - len(kept)
    if not kept:
        raise InvalidInput(
            f"none of the {len(read)} prompts leaves room for a response",
            field="prompts",
            remedy="raise max_length or lower max_tokens",
        )
    return kept


def _prompt(line: bytes, where: str) -> Prompt:
    try:
        return Prompt.model_validate_json(line)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise InvalidInput(f"no prompt: {reason}", field=where, remedy="write one Prompt a line") from error
