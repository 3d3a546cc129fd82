"""Prompt templates as text files, rendered once, strictly, and named by their hash.

Templates live in `critic/prompts/`. They are rendered in a single pass with undefined names refused; a value is
inserted as data and never evaluated. The starter judge is trained on the same files, hence the shared renderer.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from solon.records import Message

_FOLDER = files("critic").joinpath("prompts")
JUDGE_TEMPLATES = (
    "judge_pair",
    "proposition",
    "judge_json",
    "proposition_json",
    "judge_argue",
    "judge_conclude",
    "score",
)
"""All that a judge may be asked with."""

_ENVIRONMENT = Environment(undefined=StrictUndefined, keep_trailing_newline=False, autoescape=False)


@cache
def source(name: str) -> str:
    """The text of template `name`, such as "judge_pair"."""
    return _FOLDER.joinpath(f"{name}.jinja").read_text(encoding="utf-8")


@cache
def template_hash(name: str) -> str:
    """First 16 hex digits of the SHA-256 of the system text and template `name`.

    Without the place of the fence: whether a judge is asked with fences is in its sampling.
    """
    text = source("system") + "\0" + source(name).replace("{{ fence }}", "")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _compiled(name: str):  # noqa: ANN202 - jinja2.Template, private
    return _ENVIRONMENT.from_string(source(name))


def render(name: str, *, fence: str = "", **values: str) -> tuple[Message, Message]:
    """The system and user messages of template `name`; a missing value raises `jinja2.UndefinedError`.

    Args:
        fence: stands in every frame after its name, as in [A 3f9c2a]; none: the frames are [A] ... [/A].
    """
    framed = _compiled(name).render(values, fence=f" {fence}" if fence else "")
    return _system(), Message(role="user", content=framed.strip())


@cache
def _system() -> Message:
    return Message(role="system", content=source("system").strip())


def conversation(messages: Sequence[Message]) -> str:
    """The dialogue as plain lines, `User: ...` and so on, in order."""
    return "\n".join(f"{message.role.capitalize()}: {message.content}" for message in messages)
