"""Lists of critique and revision requests: the JSON of Bai et al. 2022 (arXiv:2212.08073) and NeMo-Aligner, and that of
llm-swarm.

Both say how to criticise and how to revise, and state no principle that two completions could be compared under. That
principle becomes: the response should need no such revision.
"""

import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, RootModel

from constitution.importers.parts import Foreign, Parts, counted, distinct, slug
from solon.documents import validated

_MARKERS = re.compile(r"^\s*(?:CritiqueRequest|RevisionRequest)\s*:|(?:Critique|Revision)\s*:\s*$")
_STATED = "No principle is stated in the source: each text is made from its revision request."


class _Requests(Foreign):
    prompt: list[str] | str
    edit_request: str


class _Keyed(RootModel[dict[str, _Requests]]):
    pass


class _Pair(Foreign):
    critic: str
    revision: str


class _Turn(Foreign):
    role: Literal["system", "user", "assistant"]
    content: str


class _Swarm(Foreign):
    constitutions: list[_Pair]
    system_chat: list[list[_Turn]] = Field(default_factory=list[list[_Turn]])


def read_keyed(data: Any, source: str) -> Parts:
    """`{"harmful0": {"prompt": ["CritiqueRequest: ..."], "edit_request": "RevisionRequest: ..."}}`."""
    keyed = validated(_Keyed, data, source).root
    requests = [
        (key, critique, each.edit_request)
        for key, each in keyed.items()
        for critique in ([each.prompt] if isinstance(each.prompt, str) else each.prompt)
    ]
    return Parts(
        {"principles": _principles(requests)},
        ("The words that frame each request in the prompt are left out.", _STATED),
    )


def read_swarm(data: Any, source: str) -> Parts:
    """`{"constitutions": [{"critic": ..., "revision": ...}], "system_chat": [[six turns], ...]}`."""
    swarm = validated(_Swarm, data, source)
    principles = _principles(("principle", each.critic, each.revision) for each in swarm.constitutions)
    examples, left_out = _examples(swarm.system_chat, principles)
    odd = counted(
        left_out,
        "chat is no critique and revision and is left out",
        "chats are no critique and revision and are left out",
    )
    return Parts({"principles": principles, "few_shot": examples}, (_STATED, *odd))


def _principles(requests: Iterable[tuple[str, str, str]]) -> tuple[dict[str, Any], ...]:
    """One principle for each key, critique request and revision request."""
    listed = [(slug(key), _unmarked(critique), _unmarked(revision)) for key, critique, revision in requests]
    ids = distinct(key for key, _, _ in listed)
    return tuple(
        {
            "id": name,
            "text": f"The response should need no revision of this kind: {revision}",
            "critique": critique,
            "revise": revision,
        }
        for name, (_, critique, revision) in zip(ids, listed, strict=True)
    )


def _unmarked(request: str) -> str:
    return _MARKERS.sub("", _MARKERS.sub("", request)).strip()


def _examples(
    chats: list[list[_Turn]], principles: tuple[dict[str, Any], ...]
) -> tuple[tuple[dict[str, Any], ...], int]:
    """The chats as examples of critique and revision, and how many have another shape."""
    by_critique = {principle["critique"]: principle["id"] for principle in principles}
    shape = ["user", "assistant"] * 3
    fitting = [chat for chat in chats if [turn.role for turn in chat] == shape]
    examples = tuple(
        {
            "id": f"chat-{number}",
            "kind": "critique",
            "principle": by_critique.get(chat[2].content.strip()),
            "prompt": chat[0].content,
            "response": chat[1].content,
            "critique": chat[3].content,
            "revision": chat[5].content,
        }
        for number, chat in enumerate(fitting, start=1)
    )
    return examples, len(chats) - len(fitting)
