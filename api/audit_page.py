"""An audit as a page: sentences, tables and charts for `pages/audit.html.jinja`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

from critic.attacks import AttackReport
from critic.judge_audit import JudgeAudit
from solon import charts
from solon.intervals import Interval

if TYPE_CHECKING:
    from api.auditing import AuditReport


def write_page(report: "AuditReport", out: Path) -> Path:
    """The page `out/audit.html`; `audit.json` stands beside it."""
    out.mkdir(parents=True, exist_ok=True)
    data = document(report)
    (out / "audit.json").write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    page = out / "audit.html"
    page.write_text(render(data), encoding="utf-8")
    return page


def document(report: "AuditReport") -> dict[str, Any]:
    """The report as plain data, its sentences for people included."""
    return {"object": "audit_report", "kind": report.request.kind, "headline": list(headline(report)), **asdict(report)}


def render(document: Mapping[str, Any]) -> str:
    """The page as HTML, from the report as plain data."""
    return _template().render(report=document, charts=charts, interval=_interval, show=show, bins=_bins)


@cache
def _template() -> Template:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("api", "pages"), PackageLoader("trainer", "pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("audit.html.jinja")


def headline(report: "AuditReport") -> tuple[str, ...]:
    """What was found, in a few sentences for people."""
    who = "reward model" if report.request.kind == "reward" else "judge"
    sentences = [_on_rows(audit, who) for audit in report.audits.values()]
    if report.attacks is not None and not report.is_blank:
        sentences += _on_attacks(report.attacks, who)
    return tuple(sentence for sentence in sentences if sentence)


def _on_rows(audit: JudgeAudit, who: str) -> str:
    if audit.summary.is_blank:
        why = f": {audit.summary.failure}" if audit.summary.failure is not None else ""
        return f"On {audit.rows} the {who} judged none of {audit.summary.pairs} comparisons{why}."
    card = audit.overall
    forced = card.agreement.forced if card.agreement is not None else None
    if forced is None:
        return ""
    best, left = max(_controls(audit), key=lambda each: each[1])
    verdict = "better than" if forced.low > left else "no better than"
    return (
        f"On {audit.rows} the {who} takes people's side in {percent(forced.value)} of {forced.n} decided comparisons "
        f"(95\u00a0% interval {percent(forced.low)} to {percent(forced.high)}): {verdict} {best} with {percent(left)}."
    )


def _controls(audit: JudgeAudit) -> Iterator[tuple[str, float]]:
    """What a judge that knows nothing reaches: chance, and each control that decides anything."""
    yield "chance", 0.5
    for name, card in audit.controls.items():
        if card.agreement is not None and card.agreement.forced is not None:
            yield f"the control \u201c{name}\u201d", card.agreement.forced.value


def _on_attacks(attacks: AttackReport, who: str) -> list[str]:
    won, control, escaped = attacks.overall.success, attacks.control.success, attacks.overall.escaped
    if won is None or control is None or escaped is None:
        return [f"The {who} gets none of the constitution's cases right, so there was nothing to attack."]
    return [
        f"Texts that ask for the verdict turned it in {percent(won.value)} of {won.n} trials, ordinary texts at the "
        f"same places in {percent(control.value)} of {control.n}; {percent(escaped.value)} did so unnoticed."
    ]


def percent(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * share:.1f}\u00a0%"


def show(found: Mapping[str, Any] | None, *, share: bool = False) -> str:
    """A measured value with its interval, which breaks between the two only; a dash where there is none."""
    if found is None:
        return "\u2013"
    values = [found["value"], found["low"], found["high"]]
    if share:
        return f"{percent(values[0])} ({100 * values[1]:.1f}\u00a0to\u00a0{100 * values[2]:.1f})"
    value, low, high = (f"{each:.2f}".replace("-", "\u2212") for each in values)
    return f"{value} ({low}\u00a0to\u00a0{high})"


def _interval(found: Mapping[str, Any]) -> Interval:
    return Interval(found["value"], found["low"], found["high"], found["n"])


def _bins(found: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, int]]:
    return [(each["confidence"], each["accuracy"], each["n"]) for each in found]
