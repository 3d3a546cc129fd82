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
    return Parts(
        {"principles": principles},
        (_STATED, *counted(len(swarm.system_chat), "example chat is left out", "example chats are left out")),
    )


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
