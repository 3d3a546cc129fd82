"""Constitutions written as Markdown: every section a principle, in the manner of the OpenAI Model Spec.

    ## Do not lie {#do_not_lie authority=user tags=honesty}

A heading's attributes give the id and tags. Where some headings state an authority, only those are instructions and
become principles; where none does, every section with text of its own. `!!! meta` commentary is not part of an
instruction. An example with `<user>` and a `<comparison>` of GOOD and BAD becomes cases.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from markdown_it import MarkdownIt

from constitution.importers.parts import Parts, counted, distinct, slug

_LONGEST = 8000
"""Characters that the text of a principle may have."""
_ATTRIBUTES = re.compile(r"\s*\{([^{}]*)\}\s*$")
_COMMENTARY = re.compile(r"^!!![^\n]*\n(?:(?:[ \t]+[^\n]*)?\n)*", re.MULTILINE)
_EXAMPLE = re.compile(
    r"(?:^\*\*Example\*\*:?([^\n]*)\n\s*)?^(~~~+|```+)xml\n(.*?)^\2[ \t]*\n", re.MULTILINE | re.DOTALL
)
_TURNS = re.compile(r"\s*<user>(.*?)</user>\s*<comparison>(.*?)</comparison>\s*", re.DOTALL)
_RESPONSE = re.compile(r"<assistant>\s*<!--\s*(GOOD|BAD)\b.*?-->(.*?)</assistant>", re.DOTALL)
_FOOTNOTE = re.compile(r"^\[\^[^\]]+\]:.*(?:\n[ \t]+.*)*\n?|\[\^[^\]]+\]", re.MULTILINE)
_CONTENTS = re.compile(r"^\s*(?:[-*] )?\[[^\]]*\]\(#[^)]*\)\s*$", re.MULTILINE)
_TO_A_SECTION = re.compile(r"\[\?\]\(#([^)]*)\)")
_LINK = re.compile(r"(?<!!)\[([^\]^?][^\]]*)\]\([^()\s]*\)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


_NOTES: Final = {
    "section": ("section states no authority and is left out", "sections state no authority and are left out"),
    "commentary": ("block of commentary is left out", "blocks of commentary are left out"),
    "example": ("example is no comparison and is left out", "examples are no comparisons and are left out"),
    "footnote": ("footnote is left out", "footnotes are left out"),
    "long": (
        f"section is split: it has more than {_LONGEST} characters",
        f"sections are split: they have more than {_LONGEST} characters",
    ),
}


@dataclass(frozen=True)
class _Section:
    level: int
    title: str
    id: str
    attributes: dict[str, str]
    body: str
    group: str | None
    """Id of the section of the highest level that it stands in."""


@dataclass(frozen=True)
class _Found:
    principles: tuple[dict[str, Any], ...]
    cases: tuple[dict[str, Any], ...]
    left_out: "Counter[str]"
    """How often, by the key of a note."""


def read_markdown(text: str) -> Parts:
    """Principles, one for each section that instructs, and cases."""
    text, commentary = _COMMENTARY.subn("", text.replace("\r\n", "\n") + "\n")
    sections = list(_sections(text))
    titles = {section.id: section.title for section in sections}
    stated = any("authority" in section.attributes for section in sections)
    instructing = [section for section in sections if not stated or "authority" in section.attributes]
    found = [_read(section, titles) for section in instructing]
    cases = [case for each in found for case in each.cases]
    for case, name in zip(cases, distinct(str(case["id"]) for case in cases), strict=True):
        case["id"] = name
    left_out = sum(
        (each.left_out for each in found), Counter(section=len(sections) - len(instructing), commentary=commentary)
    )
    notes = (note for kind, wording in _NOTES.items() for note in counted(left_out[kind], *wording))
    return Parts(
        {"principles": tuple(part for each in found for part in each.principles), "cases": tuple(cases)}, tuple(notes)
    )


def _read(section: _Section, titles: dict[str, str]) -> _Found:
    """What one section comes to."""
    cases, strange = _cases(section)
    body, footnotes = _FOOTNOTE.subn("", _EXAMPLE.sub("", section.body))
    chunks = list(_chunks(_prose(body, titles)))
    left_out = Counter(example=strange, footnote=footnotes, long=int(len(chunks) > 1))
    return _Found(tuple(_principles(section, chunks)), tuple(cases) if chunks else (), left_out)


def _sections(text: str) -> Iterator[_Section]:
    """The sections in their order, each without those below it; ids are distinct."""
    lines = text.split("\n")
    tokens = MarkdownIt("commonmark").parse(text)
    headings = [
        (token.map[0], token.map[1], int(token.tag[1:]), tokens[place + 1].content)
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and token.level == 0 and token.map
    ]
    parsed = [_heading(content) for *_, content in headings]
    ids = distinct(name for _, name, _ in parsed)
    top = 1 if sum(level == 1 for _, _, level, _ in headings) > 1 else 2
    ends = [start for start, *_ in headings[1:]] + [len(lines)]
    group: str | None = None
    for (_, begin, level, _), end, (title, _, attributes), name in zip(headings, ends, parsed, ids, strict=True):
        if level <= top:
            group = None
        yield _Section(level, title, name, attributes, "\n".join(lines[begin:end]) + "\n", group)
        if level == top:
            group = name


def _heading(content: str) -> tuple[str, str, dict[str, str]]:
    """Title, id and attributes of a heading as it is written."""
    match = _ATTRIBUTES.search(content)
    words = match[1].split() if match else []
    title = " ".join(_LINK.sub(r"\1", _ATTRIBUTES.sub("", content)).replace("*", "").split())
    marked = next((word[1:] for word in words if word.startswith("#")), title)
    attributes = dict(word.split("=", 1) for word in words if "=" in word)
    return title, slug(marked, "section"), attributes


def _principles(section: _Section, chunks: list[str]) -> Iterator[dict[str, Any]]:
    """One principle for each chunk of a section's text."""
    authority = section.attributes.get("authority")
    tags = [
        section.group,
        f"authority-{authority}" if authority else None,
        *section.attributes.get("tags", "").split(","),
    ]
    for number, chunk in enumerate(chunks, start=1):
        first = number == 1
        yield {
            "id": section.id if first else f"{section.id[:50]}-part-{number}",
            "title": section.title if first else f"{section.title} (part {number})",
            "tags": tuple(dict.fromkeys(slug(tag) for tag in tags if tag)),
            "text": chunk,
        }


def _prose(body: str, titles: dict[str, str]) -> str:
    """A section's own text: no links, no comments, no table of contents."""
    body = _CONTENTS.sub("", _COMMENT.sub("", body))
    body = _TO_A_SECTION.sub(lambda match: f'"{titles.get(slug(match[1]), match[1])}"', body)
    return re.sub(r"\n\s*\n+", "\n\n", _LINK.sub(r"\1", body)).strip()


def _chunks(text: str) -> Iterator[str]:
    """The text in as few pieces as fit, cut between paragraphs; nothing for no text."""
    piece = ""
    for paragraph in filter(None, text.split("\n\n")):
        if piece and len(piece) + len(paragraph) + 2 > _LONGEST:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
    if piece:
        yield piece


def _cases(section: _Section) -> tuple[list[dict[str, Any]], int]:
    """The comparisons among the examples of a section, and how many examples are something else."""
    cases: list[dict[str, Any]] = []
    strange = 0
    for title, _, example in _EXAMPLE.findall(section.body):
        turns = _TURNS.fullmatch(example)
        responses = _RESPONSE.findall(turns[2]) if turns else []
        good = [text.strip() for verdict, text in responses if verdict == "GOOD"]
        bad = [text.strip() for verdict, text in responses if verdict == "BAD"]
        strange += not (turns and good and bad)
        cases += [
            {
                "id": slug(title, section.id),
                "prompt": turns[1].strip() if turns else "",
                "better": good[0],
                "worse": worse,
                "because": (section.id,),
            }
            for worse in bad
            if good
        ]
    return cases, strange
