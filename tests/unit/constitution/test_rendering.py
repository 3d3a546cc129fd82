"""Pages: everything a constitution says is on them, and nothing it says becomes markup."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from constitution.digest import content_hash
from constitution.document import Constitution, load, published
from constitution.rendering import to_html, to_markdown
from constitution.schema import Principle, VoteCount, VoteEvidence
from tests.unit.constitution.foreign import REAL, real

PUBLISHED = {name: load(name) for name in published()}
by_name = pytest.mark.parametrize("constitution", PUBLISHED.values(), ids=PUBLISHED)


class Page(HTMLParser):
    """Tags, ids, links and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag not in {"meta", "br", "wbr", "link", "img", "hr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def plain(text: str) -> str:
    """Letters and digits only: what is left whichever way a text is wrapped, quoted or escaped."""
    return re.sub(r"[^\w]+", "", text)


def quoted(constitution: Constitution) -> list[str]:
    """Every text that a page has to show."""
    cases = [part for case in constitution.cases for part in (case.prompt, case.better, case.worse)]
    asked = [part for each in constitution.principles for part in (each.text, each.compare, each.critique, each.revise)]
    rules = [part for rule in constitution.rules for part in (rule.id, rule.when)]
    return [text for text in (*cases, *asked, *rules, *(change.note for change in constitution.changelog)) if text]


@by_name
def test_a_published_constitution_is_shown_whole_on_both_pages(constitution: Constitution) -> None:
    html, markdown = Page(to_html(constitution)), to_markdown(constitution)
    shown, written = plain(html.text), plain(markdown)

    assert html.open == []
    assert [text for text in quoted(constitution) if plain(text) not in shown] == []
    assert [text for text in quoted(constitution) if plain(text) not in written] == []
    assert content_hash(constitution) in html.text
    assert content_hash(constitution) in markdown


@by_name
def test_links_of_a_page_lead_to_its_own_parts(constitution: Constitution) -> None:
    page = Page(to_html(constitution))

    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(1)> [x](javascript:alert(1)) ![x](http://example.org/x.png)\n"
    "# heading\n===\n\n<b>bold</b>\n\n---\n\n~~~\n```\n&lt;script&gt; {{ 7 * 7 }} {% raw %} | cell | `code` \\ \"'"
)


def hostile(text: str) -> Constitution:
    """A constitution that says `text` wherever it may say anything."""
    return Constitution.model_validate(
        {
            "format": "constitution/v1",
            "id": "x",
            "title": text,
            "version": "1.0.0",
            "licence": text,
            "summary": text,
            "scopes": {"general": {"description": text}, "other": {"description": text}},
            "principles": (
                {
                    "id": "p",
                    "title": text,
                    "text": text,
                    "compare": text,
                    "critique": text,
                    "revise": text,
                    "tags": ("t",),
                },
            ),
            "propositions": (
                {"id": "q", "kind": "judge", "question": text},
                {"id": "r", "kind": "regex", "pattern": text},
                {"id": "d", "kind": "derived", "when": text},
            ),
            "classes": ({"id": "c", "when": text},),
            "rules": ({"id": "u", "when": text, "reward": -1.0},),
            "cases": (
                {"id": "a", "prompt": text, "better": text, "worse": text, "because": ("p",)},
                {"id": "b", "prompt": text, "better": text, "worse": text},
            ),
            "few_shot": (
                {"id": "f", "kind": "comparison", "principle": "p", "prompt": text, "better": text, "worse": text},
                {"id": "g", "kind": "critique", "prompt": text, "response": text, "critique": text, "revision": text},
            ),
            "changelog": ({"version": "1.0.0", "note": text},),
        }
    )


def test_nothing_a_constitution_says_becomes_markup_of_its_page() -> None:
    page, harmless = Page(to_html(hostile(HOSTILE))), Page(to_html(hostile("text")))

    assert set(page.tags) - set(harmless.tags) <= {"p", "strong", "pre", "code", "details", "summary"}
    assert page.attributes <= harmless.attributes
    assert not [link for link in page.links if not link.startswith("#")]
    assert "<script>alert(1)</script>" in page.text


@settings(max_examples=30)
@given(st.text("<>&#=-*_`~[]()!|\\:/\"' \n.1aA+", min_size=1, max_size=60).filter(str.strip))
def test_no_text_becomes_markup_of_the_markdown_page(text: str) -> None:
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(to_markdown(hostile(text)))
    inline = [child for token in tokens for child in token.children or ()]
    shape = [token.tag for token in tokens if token.type == "heading_open"]
    expected = [token.tag for token in parser.parse(to_markdown(hostile("text"))) if token.type == "heading_open"]

    assert not [token for token in (*tokens, *inline) if token.type in {"html_block", "html_inline", "image"}]
    assert [tag for tag in shape if tag != "h4"] == expected


def test_prose_keeps_its_lists_and_emphasis() -> None:
    page = to_html(hostile("Be *kind*:\n\n- to **all**\n- and `always`"))

    assert "<p>Be <em>kind</em>:</p>\n<ul>\n<li>to <strong>all</strong></li>" in page


def test_a_page_fetches_nothing() -> None:
    page = to_html(PUBLISHED["conduct-rules"])

    assert not re.search(r"url\(|@import|<script|<link|https?://", page)


@pytest.mark.parametrize("path", REAL)
def test_a_published_document_is_rendered(path: str) -> None:
    constitution = real(path).constitution
    page = Page(to_html(constitution))

    assert page.open == []
    assert {principle.id for principle in constitution.principles} <= set(page.ids)
    assert to_markdown(constitution).count("\n### ") >= len(constitution.principles)


def test_a_drafted_principle_names_the_votes_behind_it() -> None:
    groups = {"north": VoteCount(agree=8, disagree=1, passed=1), "south": VoteCount(agree=5)}
    evidence = VoteEvidence(kind="votes", source="poll_1.csv", statement="7", consensus=0.7, groups=groups)
    principle = Principle(id="kind", text="Be kind.", evidence=evidence)
    drafted = PUBLISHED["civic"].model_copy(update={"principles": (principle,), "cases": ()})
    words = "Drafted from statement 7 of poll{}.csv; north: 8 of 10 agree; south: 5 of 5 agree."

    assert words.format("_1") in to_html(drafted)
    assert words.format(r"\_1") in to_markdown(drafted)
