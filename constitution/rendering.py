"""Constitutions as pages that people read: HTML, one file without scripts, and Markdown.

Prose is CommonMark without links, images and HTML, its headings being bold text; what a constitution quotes (prompts,
completions, patterns) is shown letter by letter. Either way nothing in a constitution becomes markup of the page.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from constitution.digest import content_hash
from constitution.schema import (
    Case,
    CompletionClass,
    Constitution,
    LabelEvidence,
    MeasureProposition,
    Principle,
    Proposition,
    VoteEvidence,
)

_PROSE: Final = MarkdownIt("commonmark", {"html": False}).disable(
    ["lheading", "hr", "html_block", "html_inline", "image", "link", "reference", "autolink"]
)
_PROSE.add_render_rule("heading_open", lambda *_: "<p><strong>")  # the headings of the page are the page's own
_PROSE.add_render_rule("heading_close", lambda *_: "</strong></p>\n")
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~!])")
_BLOCK = re.compile(r"^([ \t]{0,3})([-+=~`#]|\d{1,9}(?=[.)]))", re.MULTILINE)
_HEADING = re.compile(r"^([ \t]{0,3})(#{1,6}(?=\s|$)|=+\s*$|-+\s*$|(?:[-*_][ \t]*){3,}$|```|~~~)", re.MULTILINE)


@dataclass(frozen=True)
class _Item:
    """A principle with the cases that it decides first."""

    principle: Principle
    cases: tuple[Case, ...]
    share: float
    """Its weight, relative to the largest one."""

    @property
    def summary(self) -> str:
        """What is folded away beneath it."""
        p, number = self.principle, len(self.cases)
        asked = ["How it is asked"] if p.compare or p.critique or p.revise else []
        shown = [f"{number} example{'s' * (number > 1)}"] if number else []
        return " · ".join(asked + shown)


@dataclass(frozen=True)
class _Page:
    """What the templates show."""

    constitution: Constitution
    content_hash: str
    items: tuple[_Item, ...]
    other_cases: tuple[Case, ...]
    classes: dict[str, tuple[CompletionClass, ...]]
    """Best to worst, by scope; only scopes that have any."""
    titles: dict[str, str]
    """Of principles, by id."""


def to_html(constitution: Constitution) -> str:
    """A page of its own: styles inside, no scripts, nothing fetched; light, dark and for paper."""
    return _template("constitution.html.jinja").render(page=_page(constitution))


def to_markdown(constitution: Constitution) -> str:
    """The same content as GitHub-flavoured Markdown."""
    text = _template("constitution.md.jinja").render(page=_page(constitution))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


RENDERERS: Final[Mapping[str, Callable[[Constitution], str]]] = {"text/html": to_html, "text/markdown": to_markdown}
"""By media type, for content negotiation."""


def _page(constitution: Constitution) -> _Page:
    heaviest = max((principle.weight for principle in constitution.principles), default=1.0)
    cases: dict[str, list[Case]] = {}
    for case in constitution.cases:
        cases.setdefault(case.because[0] if case.because else "", []).append(case)
    return _Page(
        constitution=constitution,
        content_hash=content_hash(constitution),
        items=tuple(
            _Item(principle, tuple(cases.pop(principle.id, ())), principle.weight / heaviest)
            for principle in constitution.principles
        ),
        other_cases=tuple(case for rest in cases.values() for case in rest),
        classes={scope: found for scope in constitution.scopes if (found := constitution.classes_for(scope))},
        titles={each.id: each.title or _from_id(each.id) for each in constitution.principles},
    )


def _from_id(name: str) -> str:
    """The words of the id of a principle that has no title."""
    words = re.sub(r"[-_]+", " ", name).strip()
    return words[:1].upper() + words[1:]


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("constitution", "pages"),
        autoescape=name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = cast(dict[str, Any], environment.filters)
    filters.update(
        prose=_prose,
        number=_number,
        asked=_asked,
        origin=_origin,
        breakable=_breakable,
        md=_inline,
        code=_markdown_code,
    )
    filters.update(md_prose=_markdown_prose, md_quote=_markdown_quote)
    return environment.get_template(name)


def _prose(text: str) -> Markup:
    """HTML of prose."""
    return Markup(_PROSE.render(text))  # markdown-it escapes what is not its own markup


def _breakable(name: str) -> Markup:
    """HTML of a long name, which may go on in the next line after an underscore or a hyphen."""
    return Markup(re.sub(r"(?<=[_-])", "<wbr>", str(escape(name))))


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\u2212")


def _asked(proposition: Proposition) -> str:
    """What a proposition looks at, in words or as it is written."""
    match proposition.kind:
        case "judge":
            return proposition.question
        case "regex":
            return proposition.pattern
        case "derived":
            return proposition.when
        case "measure":
            return _measured(proposition)


def _measured(proposition: MeasureProposition) -> str:
    what = proposition.measure.replace("_", " ") + (f" of {proposition.pattern}" if proposition.pattern else "")
    return what if proposition.op is None else f"{what} {proposition.op} {_number(proposition.value or 0.0)}"


def _origin(evidence: VoteEvidence | LabelEvidence) -> str:
    """What a drafted principle was drafted from, in words."""
    if evidence.kind == "labels":
        return f"Drafted from {evidence.source}; {evidence.agreement:.0%} of {evidence.pairs} labels agree with it."
    votes = (
        f"{name}: {count.agree} of {count.agree + count.disagree + count.passed} agree"
        for name, count in evidence.groups.items()
    )
    return f"Drafted from statement {evidence.statement} of {evidence.source}; {'; '.join(votes)}."


def _inline(text: str) -> str:
    """One line of Markdown that shows `text` letter by letter."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _markdown_prose(text: str) -> str:
    """Prose as Markdown, with what would be a heading, a rule, a fence or HTML made plain."""
    return _HEADING.sub(r"\1\\\2", re.sub(r"[<\[]", r"\\\g<0>", text))


def _markdown_quote(text: str, label: str) -> str:
    """A block quote that shows `text` letter by letter, its lines kept."""
    lines = [_BLOCK.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", line.rstrip())) for line in text.split("\n")]
    hard_break = "\\\n> "
    return f"> **{label}:** {hard_break.join(lines)}"


def _markdown_code(text: str) -> str:
    """A code span for a table cell."""
    line = " ".join(text.split()).replace("|", r"\|")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", line)), default=0))
    padding = " " if line[:1] == "`" or line[-1:] == "`" else ""
    return f"{fence}{padding}{line}{padding}{fence}"
