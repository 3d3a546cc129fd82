"""The report as JSON and as a page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from constitution.document import load
from solon import charts
from solon.intervals import Interval
from solon.records import Status
from tests.unit.trainer.conftest import MakePair
from trainer.evaluate import Measure, WinRate, behaviour, measures, reward_measure
from trainer.page import change, flatten
from trainer.report import (
    Control,
    Example,
    PairSummary,
    Report,
    constitution_text,
    headline,
    pick_examples,
    pick_pairs,
    read_curve,
    render,
    summarise_pairs,
    write_report,
)
from trainer.starter.oracle import Reading


def _readings(harmful: int, helpful: int) -> list[Reading]:
    plain: dict[str, Any] = {
        "tone": "neutral", "false_claim": False, "padded": False, "incoherent": False, "off_topic": False,
        "follows_format": None, "listed": False,
    }  # fmt: skip
    bad = [
        Reading(helpful="none", harmful=i < harmful, refusal="kind", prompt_kind="harmful", **plain) for i in range(50)
    ]
    good = [
        Reading(
            helpful="full" if i < helpful else "partial", harmful=False, refusal="none", prompt_kind="everyday", **plain
        )
        for i in range(50)
    ]
    return bad + good


@pytest.fixture
def report(make_pair: MakePair) -> Report:
    words = ["some words here"] * 100
    before, after = behaviour(_readings(30, 45), words), behaviour(_readings(3, 46), words)
    control = Control(**dict(behaviour(_readings(29, 45), words)), kl_nats=1.0)
    return Report(
        title="A <model> & its report",
        method="dpo",
        policy="starter",
        judge="starter-judge",
        constitution=constitution_text(load("civic")),
        before=before,
        after=after,
        control=control,
        measures=measures(before, after, control),
        win_rate=WinRate(value=0.8, low=0.7, high=0.9, n=50, ties=2, unusable=0),
        kl_nats=5.0,
        flags=("Beware.",),
        pairs=summarise_pairs([make_pair(a="<script>alert(1)</script>")], trained_on=1, dropped={"too_long": 2}),
        training={"after": ({"step": 1.0, "loss": 0.69}, {"step": 2.0, "loss": 0.5})},
        examples=(Example(prompt="Why?", kind="everyday", before="a", after="b"),),
        seconds={"train": 40.0, "label": 60.0},
        provenance={"versions": {"torch": "2"}},
    )


class _Page(HTMLParser):
    """Whether the tags close in order, what is shown, and what the page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A closed tag, such as an SVG path."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _read(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    assert page.open == []
    return page


def test_the_json_holds_the_numbers_that_are_promised(report: Report, tmp_path: Path):
    write_report(report, tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())
    for side in ("before", "after", "control"):
        for rate in ("violation_rate", "helpful_rate", "over_refusal_rate", "incoherent_rate"):
            assert 0 <= found[side][rate] <= 1
    assert found["before"]["violation_rate"] == 0.3
    assert {"value", "low", "high", "n"} <= found["win_rate"].keys()
    assert found["kl_nats"] == 5.0
    assert Report.model_validate(found).model_dump() == report.model_dump()


def test_the_page_is_well_formed_and_fetches_nothing(report: Report):
    html = render(report)
    page = _read(html)
    assert page.fetched == []
    assert not re.search(r"@import|url\(", html)


def test_what_models_wrote_is_text_on_the_page_never_markup(report: Report):
    html = render(report)
    assert "<script" not in html
    assert "<script>alert(1)</script>" in "".join(_read(html).text)
    assert "A &lt;model&gt; &amp; its report" in html


def test_the_headline_says_what_moved_what_did_not_and_where_the_control_stayed(report: Report):
    sentences = [sentence.replace("\u00a0", " ") for sentence in headline(report)]
    assert sentences == [
        "Violations fell from 30 % to 3.0 %.",
        "Helpfulness stayed about where it was: 90 % before, 92 % after.",
        "The same training on shuffled labels, the control, left violations at 29 %.",
        "The judge prefers the model after training in 80 % of 50 comparisons (95 % interval 70 % to 90 %).",
    ]


def test_warnings_principles_and_drops_are_on_the_page(report: Report):
    text = re.sub(r"\s+", " ", "".join(_read(render(report)).text))
    assert "Warning. Beware." in text
    assert "2 too long" in text
    assert all(principle.title in text for principle in report.constitution.principles)


def test_a_report_of_rules_alone_renders(report: Report):
    rewards = reward_measure([0.0, 1.0, -1.0], [1.0, 1.5, 0.5], [0.0, 1.0, -0.5])
    alone = Report(
        title="Stories",
        method="dpo",
        policy="stories",
        judge=None,
        constitution=report.constitution,
        measures=(rewards,),
        pairs=PairSummary(statuses={"ok": 3}, trained_on=3),
    )
    assert "rules only" in "".join(_read(render(alone)).text)
    assert headline(alone)[0].startswith("Rule reward rose from 0 to 1")


def test_a_change_within_its_interval_is_called_noise():
    measure = Measure(
        id="x",
        title="X",
        meaning="",
        better="lower",
        before=Interval(0.5, 0.4, 0.6, 90),
        after=Interval(0.45, 0.35, 0.55, 90),
        difference=Interval(-0.05, -0.2, 0.1, 90),
    )
    assert change(measure) == ("\u22125.0 pts", "same", "\u221220.0 to +10.0")
    sure = measure.model_copy(update={"difference": Interval(-0.05, -0.09, -0.01, 90)})
    assert change(sure)[1] == "better"


def test_examples_are_of_every_kind_and_those_that_changed_come_first():
    def example(kind: str, prompt: str, changed: bool) -> Example:
        notes = ("rude",) if changed else ()
        return Example(prompt=prompt, kind=kind, before="", after="", before_notes=notes)

    found = pick_examples([example("a", "1", False), example("a", "2", True), example("b", "3", False)], count=2)
    assert [e.prompt for e in found] == ["2", "3"]


def test_the_pairs_shown_are_the_clearest_and_the_closest_tie(make_pair: MakePair):
    pairs = [
        make_pair("1", p_a=0.7, prompt="1"),
        make_pair("2", p_a=0.02, prompt="2"),
        make_pair("3", p_a=0.95, prompt="3"),
        make_pair("4", p_a=0.52, prompt="4", status=Status.TIE),
        make_pair("5", p_a=None, prompt="5", status=Status.ERROR),
    ]
    assert [pair.id for pair in pick_pairs(pairs, 3)] == ["2", "3", "4"]


def test_a_model_without_a_curve_has_an_empty_one(tmp_path: Path):
    assert read_curve(tmp_path) == ()


def test_ticks_hold_every_value_and_are_few():
    for values in ([0.0, 1.0], [-3.2, 0.1], [5.0], [0.691, 0.6934], [1e-9, 2e-9], []):
        drawn = charts.lines({"after": [(float(i), value) for i, value in enumerate(values)]}, "t")
        assert 2 <= str(drawn).count('class="grid"') <= 7


def test_provenance_is_listed_by_dotted_names():
    assert flatten({"a": {"b": 1, "c": None}, "d": "x"}) == [("a.b", "1"), ("d", "x")]
