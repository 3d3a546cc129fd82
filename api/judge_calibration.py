"""`solon model calibrate`: the labels a judge answers with, and the temperature that makes its probabilities honest."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from api.judging import check_judge, open_judge
from api.libraries import load_constitution
from api.registry import Models, opened
from constitution.document import Constitution, Principle
from critic.audit import human_verdict
from critic.judge import Judge
from critic.label_forms import measure_labels
from critic.pipeline import label
from critic.temperature import Judged, fit_temperature
from solon.chat import ChatModel
from solon.errors import InvalidInput, NotFound
from solon.records import Comparison, PreferencePair, Status
from solon.rows import Row, read_rows
from solon.settings import Settings

_PROBED = 32
"""Rows that labels are tried on; a mean over 64 answers settles which suit."""
_MEASURED = (Status.OK, Status.TIE)


async def calibrate(
    name: str,
    rows: Path,
    constitution_name: str,
    settings: Settings,
    *,
    principle: str | None = None,
    models: Models | None = None,
) -> dict[str, Any]:
    """The labels by their mass, the fitted temperature, and the `judge` options to register.

    The temperature is fitted on the verdicts under one principle, or under each: it is meant for principles that ask
    what people were asked. Raises InvalidInput where too few rows have people's verdicts.
    """
    constitution = _limited(load_constitution(constitution_name, settings), principle)
    check_judge(name, constitution, settings)
    if settings.model(name, "judge").engine == "jury":
        raise InvalidInput("a jury is calibrated judge by judge", field="judge", remedy="name one of its judges")
    given = [row for row in read_rows(rows) if len(row.completions) >= 2]
    if not given:
        raise InvalidInput("no row has two completions", field=str(rows), remedy="give `response_a` and `response_b`")
    async with opened(settings, models) as running:
        judge = await open_judge(name, constitution, settings, running)
        assert judge is not None, "the constitution has principles"  # noqa: S101 - _limited
        judge.calibration_temperature = 1.0
        forms = await _labels(judge, given, constitution.principles[0]) if judge.method.name == "logprobs" else []
        judged = await _judged(given, constitution, judge)
    fitted = fit_temperature(judged)
    options: dict[str, Any] = {"calibration_temperature": round(fitted.temperature, 3)}
    if forms and forms[0]["labels"] != ["A", "B"]:
        options["labels"] = forms[0]["labels"]
    return {"judge": name, "labels": forms, "calibration": asdict(fitted), "options": options}


def _limited(constitution: Constitution, principle: str | None) -> Constitution:
    """The constitution with its principles only, or with one of them."""
    kept = [each for each in constitution.principles if principle in (None, each.id)]
    if not kept:
        raise NotFound(
            f"there is no principle {principle!r}" if principle else "the constitution has no principles",
            field="--principle",
            remedy=f"known: {', '.join(each.id for each in constitution.principles) or 'none'}",
        )
    return constitution.model_copy(update={"principles": tuple(kept), "rules": (), "classes": ()})


async def _labels(judge: Judge, rows: Sequence[Row], principle: Principle) -> list[dict[str, Any]]:
    comparisons = [Comparison(prompt=row.prompt, a=row.completions[0], b=row.completions[1]) for row in rows[:_PROBED]]
    model: ChatModel = judge.model
    found = await measure_labels(model, comparisons, principle, fences=bool(judge.sampling.get("fences")))
    return [{**asdict(each), "labels": list(each.labels)} for each in found]


async def _judged(rows: Sequence[Row], constitution: Constitution, judge: Judge) -> list[Judged]:
    """Every measured verdict on a comparison that people decided."""
    found: list[Judged] = []
    limited = [row.model_copy(update={"completions": row.completions[:2]}) for row in rows if row.human_votes]
    async for item in label(limited, constitution=constitution, judge=judge, min_coverage=0.0):
        if isinstance(item, PreferencePair) and (human := human_verdict(item)) in ("a", "b"):
            verdicts = [each for each in item.verdicts if each.status in _MEASURED and each.p_a is not None]
            found += [(each.p_a, human == "a") for each in verdicts if each.p_a is not None]
    return found


def show_calibration(found: dict[str, Any]) -> None:
    """The findings on the terminal, and what to register."""
    from rich.table import Table

    from api.terminal import print_table, write
    from solon.documents import write_yaml

    if found["labels"]:
        table = Table("labels", "label mass", "first slot", "forms")
        for each in found["labels"]:
            forms = ", ".join(f"{form!r} {p:.3f}" for form, p in list(each["forms"].items())[:4])
            table.add_row(" / ".join(each["labels"]), f"{each['label_mass']:.3f}", f"{each['first_slot']:.3f}", forms)
        print_table(table)
    fit = found["calibration"]
    write(f"temperature {fit['temperature']:.3f} on {fit['n']} verdicts: loss {fit['loss_before']:.4f} nats before,")
    write(f"{fit['loss_after']:.4f} after; shift {fit['shift']:+.3f} (0: the position does not matter)")
    write("register it with:")
    write(write_yaml({"models": {found["judge"]: {"judge": found["options"]}}}).rstrip())
