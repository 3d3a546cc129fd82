"""Foreign constitutions as drafts of ours: which format it is, who reads it, and the same checks as for any file.

imported = read_foreign(path.read_bytes(), path.name, Heading(id="spec", title="Our spec"))
dump(imported.constitution)         imported.notes
"""

import json
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, cast

from pydantic import ValidationError

from constitution.document import Constitution, parse
from constitution.importers.critique_revision import read_keyed, read_swarm
from constitution.importers.markdown import read_markdown
from constitution.importers.parts import Format, Parts, slug
from constitution.importers.rule_based_rewards import read_rules
from constitution.problems import dotted
from constitution.source import MAX_BYTES
from constitution.wording import explain
from constitution.writing import dump
from solon.documents import parse_value
from solon.errors import InvalidInput


@dataclass(frozen=True)
class Heading:
    """What the new constitution is called; None: after the file."""

    id: str | None = None
    title: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Imported:
    """A draft that passed every check of a constitution file."""

    constitution: Constitution
    format: Format
    notes: tuple[str, ...]
    """What was changed, added or left out, in whole sentences."""


def read_foreign(raw: bytes, name: str, heading: Heading, form: Format | None = None) -> Imported:
    """The draft of a constitution that `raw` comes to.

    Args:
        name: of the file; its ending decides between Markdown and YAML.
        form: None: found out.

    Raises:
        InvalidInput: it is none of the formats, or lacks or has what it must not.
    """
    text = _text(raw, name)
    data = None if form == "markdown" else _data(text, name)
    form = form or _recognised(data, name)
    parts = _read(form, data, text, name)
    fields: dict[str, Any] = {
        "format": "constitution/v1",
        "id": heading.id or slug(PurePath(name).stem, "imported").replace("_", "-"),
        "title": heading.title or f"Imported from {name}",
        "version": "0.1.0",
        "status": "draft",
        "licence": heading.licence,
        **parts.fields,
        "changelog": ({"version": "0.1.0", "note": " ".join((f"Imported from {name} ({form}).", *parts.notes))},),
    }
    return Imported(parse(dump(_whole(fields, name)).encode(), name), form, parts.notes)


def _whole(fields: dict[str, Any], name: str) -> Constitution:
    try:
        return Constitution.model_validate(fields)
    except ValidationError as error:
        path, message, remedy = explain(error.errors(include_url=False)[0])
        raise InvalidInput(f"{message} [{name}]", field=dotted(path) or None, remedy=remedy) from error


def _text(raw: bytes, name: str) -> str:
    if len(raw) > MAX_BYTES:
        raise InvalidInput(f"{name} has {len(raw)} bytes, more than {MAX_BYTES}", remedy="split it")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not valid UTF-8", remedy="save it as UTF-8") from error


def _data(text: str, name: str) -> Any:
    """The data of JSON or YAML; None for anything else."""
    ending = PurePath(name).suffix.lower()
    if ending in {".yaml", ".yml"}:
        return parse_value(text, name)
    if ending == ".json" or text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise InvalidInput(f"{name} is not JSON: {error}", remedy="check quotes, commas and brackets") from error
    return None


def _recognised(data: Any, name: str) -> Format:
    if data is None and PurePath(name).suffix.lower() in {".md", ".markdown"}:
        return "markdown"
    if isinstance(data, dict):
        keys = cast(dict[str, Any], data).keys()
        if "format" in keys:
            raise InvalidInput(f"{name} is a constitution of ours already", remedy="use it as it is")
        if "completion_classes" in keys:
            return "rule-based-rewards"
        if "constitutions" in keys:
            return "llm-swarm"
        if all(isinstance(value, dict) and "edit_request" in value for value in data.values()):
            return "critique-revision"
    raise InvalidInput(
        f"{name} is in no format that can be imported",
        remedy="give --format: critique-revision, llm-swarm, rule-based-rewards or markdown",
    )


def _read(form: Format, data: Any, text: str, name: str) -> Parts:
    match form:
        case "critique-revision":
            return read_keyed(data, name)
        case "llm-swarm":
            return read_swarm(data, name)
        case "rule-based-rewards":
            return read_rules(data, name)
        case "markdown":
            return read_markdown(text)
