"""AnnotatedPairs JSON 2.0 (Inverse Constitutional AI): one document, each pair with the votes of many annotators.

    {"metadata": {...}, "comparisons": [{"id", "prompt", "response_a": {"text", "model"}, "response_b": ...,
     "annotations": {"ANNOTATOR": {"pref": "a"}}, "metadata": {...}}], "annotators": {"ANNOTATOR": {"type", ...}}}

Written, the label is the default annotator `solon`, each principle is an annotator of its own, and so are people where
they voted. A tie is `"pref": null`. The format has one text for the prompt: the conversation and p_a are in a
comparison's metadata and are read from there.

Source: Findeis et al. 2024, arXiv:2406.06560, https://github.com/rdnfn/icai.
"""

import json
from collections.abc import Iterator
from typing import IO, Any, Final, Literal

import ijson
from pydantic import Field, ValidationError

from critic.audit import human_verdict
from critic.exchange.given import Given
from critic.exchange.shapes import Shape, Turn
from solon.records import Message, PreferencePair, Probability

LABEL: Final = "solon"
_PEOPLE: Final = "human"


class _Response(Shape):
    text: str
    model: str | None = None


class _Annotation(Shape):
    pref: Literal["a", "b", "tie"] | None = None


class _About(Shape):
    messages: list[Turn] | None = None
    p_a: Probability | None = None
    prompt_id: str | None = None
    scope: str | None = None


class Comparison(Shape):
    """A pair with its annotations."""

    id: str | None = None
    prompt: str | None = None
    response_a: _Response
    response_b: _Response
    annotations: dict[str, _Annotation] = Field(default_factory=dict)
    metadata: _About = Field(default_factory=_About)

    def read(self, annotator: str) -> Given:
        """The pair as this annotator sees it; ValueError where there is no such vote, or no prompt."""
        vote = self.annotations.get(annotator)
        if vote is None:
            raise ValueError(f"no annotation by {annotator!r}")
        if self.metadata.messages is not None:
            messages = tuple(turn.message() for turn in self.metadata.messages)
        elif self.prompt is not None:
            messages = (Message(role="user", content=self.prompt),)
        else:
            raise ValueError("no `prompt`")
        about = self.metadata
        return Given(
            messages,
            self.response_a.text,
            self.response_b.text,
            _p_a(vote.pref, about.p_a if annotator == LABEL else None),
            self.id,
            about.prompt_id,
            about.scope,
            (self.response_a.model, self.response_b.model),
        )


def _p_a(pref: str | None, soft: float | None) -> float:
    """The soft label where it is on the side that was preferred, else a hard one."""
    if pref not in ("a", "b"):
        return 0.5
    agrees = soft is not None and soft != 0.5 and (soft > 0.5) == (pref == "a")
    return soft if soft is not None and agrees else float(pref == "a")


def write_document(file: IO[str], pairs: Iterator[PreferencePair], name: str) -> int:
    """How many pairs were written, one a line, annotators last: nothing is kept but the names of these."""
    about = {"version": "2.0", "description": "Preference pairs of Solon", "dataset_name": name}
    file.write(f'{{"metadata": {json.dumps(about | {"default_annotator": LABEL})},\n"comparisons": [')
    annotators: dict[str, dict[str, str]] = {LABEL: {"name": "Solon", "type": "ai", "description": "All principles"}}
    count = 0
    for pair in pairs:
        file.write((",\n" if count else "\n") + json.dumps(_comparison(pair, annotators), ensure_ascii=False))
        count += 1
    file.write(f'\n],\n"annotators": {json.dumps(annotators, ensure_ascii=False)}}}\n')
    return count


def read_document(file: IO[bytes], annotator: str | None = None) -> Iterator[tuple[str, Given | str]]:
    """Places and pairs, or what is wrong with them, one at a time; by the default annotator unless one is named.

    Raises ValueError where the document is no AnnotatedPairs 2.0 JSON.
    """
    try:
        about = next(ijson.items(file, "metadata"), None)
        if not isinstance(about, dict) or not str(about.get("version", "")).startswith("2"):
            raise ValueError('no AnnotatedPairs document of version 2 ("metadata" without it)')
        who = annotator or about.get("default_annotator")
        if not isinstance(who, str):
            raise ValueError("the document names no default annotator: name one")
        file.seek(0)
        for number, values in enumerate(ijson.items(file, "comparisons.item", use_float=True)):
            yield f"comparisons.{number}", _read(values, who)
    except ijson.JSONError as error:
        raise ValueError("not JSON") from error


def _read(values: Any, annotator: str) -> Given | str:
    try:
        return Comparison.model_validate(values).read(annotator)
    except ValidationError as error:
        return explained(error)
    except ValueError as error:
        return str(error)


def explained(error: ValidationError) -> str:
    """The first thing that is wrong, without the text that is."""
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"`{key}`: {first['msg']}" if key else first["msg"]


def _comparison(pair: PreferencePair, annotators: dict[str, dict[str, str]]) -> dict[str, Any]:
    votes: dict[str, str | None] = {LABEL: pair.chosen}
    for verdict in pair.verdicts:
        if verdict.p_a is not None:
            who = f"principle:{verdict.principle}"
            annotators.setdefault(who, {"type": "principle", "description": verdict.principle})
            votes[who] = None if verdict.status == "tie" else "a" if verdict.p_a > 0.5 else "b"
    human = human_verdict(pair)
    if human is not None:
        annotators.setdefault(_PEOPLE, {"type": "human", "name": "People", "description": "Most votes"})
        votes[_PEOPLE] = None if human == "tie" else human
    messages = [message.model_dump() for message in pair.prompt.messages]
    about = {"messages": messages, "p_a": pair.p_a, "prompt_id": pair.prompt.id, "scope": pair.prompt.scope}
    return {
        "id": pair.id,
        "prompt": pair.prompt.text if len(messages) == 1 else _dialogue(pair),
        "response_a": {"text": pair.a.text, "model": pair.a.model},
        "response_b": {"text": pair.b.text, "model": pair.b.model},
        "annotations": {who: {"pref": pref} for who, pref in votes.items()},
        "metadata": about,
    }


def _dialogue(pair: PreferencePair) -> str:
    return "\n\n".join(f"{message.role}: {message.content}" for message in pair.prompt.messages)
