"""Hashes that say which text made a label.

`content_hash` covers everything that can change a label: scope names, principles (id, text, questions, weight, veto,
scopes), propositions, classes, rules, few-shot examples and `combine`. It leaves out what only people read: id,
version, status, licence, language, title, summary, descriptions, tags, cases, changelog, comments, and the order of
keys. A default written out and a default left out are the same text. The order of lists counts.
"""

import hashlib
from typing import Any

import rfc8785

from constitution.schema import Constitution, Principle

_READ_BY_PEOPLE = {"id", "version", "status", "licence", "language", "title", "summary", "derived_from"}
_NOT_IN_A_LABEL = _READ_BY_PEOPLE | {"cases", "changelog"}
_NOT_IN_A_PRINCIPLE = {"title", "tags", "evidence"}
_LATER_FIELDS = ("only_if", "language")
"""Fields of propositions that came later: left out, they leave the hash of an older text as it was."""
_JUDGED = {"text", "compare", "critique", "revise"}


def content_hash(constitution: Constitution) -> str:
    """`sha256:` and the hex SHA-256 of the RFC 8785 JSON of everything that can change a label."""
    content: dict[str, Any] = constitution.model_dump(mode="json", exclude=_NOT_IN_A_LABEL)
    content["scopes"] = sorted(constitution.scopes)
    content["principles"] = [
        principle.model_dump(mode="json", exclude=_NOT_IN_A_PRINCIPLE) for principle in constitution.principles
    ]
    for proposition in content["propositions"]:
        for name in _LATER_FIELDS:
            if proposition.get(name, "") is None:
                del proposition[name]
    return _sha256(content)


def principle_hash(principle: Principle) -> str:
    """Hash of what the judge is shown of a principle; its id, weight, veto and scopes need no new judgement."""
    return _sha256(principle.model_dump(mode="json", include=_JUDGED))


def question_hashes(constitution: Constitution) -> dict[str, str]:
    """Hash of each judge proposition's question, by the proposition's id."""
    return {each.id: _sha256(each.question) for each in constitution.propositions if each.kind == "judge"}


def _sha256(value: Any) -> str:
    return "sha256:" + hashlib.sha256(rfc8785.dumps(value)).hexdigest()
