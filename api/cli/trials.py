"""`solon constitution test | preview`: what a text does before it is published."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.terminal import print_table, run, settings, write, write_json

if TYPE_CHECKING:
    from critic.case_testing import CaseReport
    from critic.changes import Changes, Effect
    from critic.preview import Preview
    from solon.intervals import Interval

Reference = Annotated[str, typer.Argument(metavar="ID_OR_FILE", help="A published id (civic, civic@1.0.0) or a file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_FINDINGS = {
    "unchanged": "within the noise: no label of the sample changes",
    "within_noise": "within the noise: judging the old text again may change as many",
    "beyond_noise": "beyond the noise of judging again",
    "noise_not_measured": "the old text asks nothing that changed, so there is no noise to measure",
}


def try_cases(
    context: typer.Context,
    ref: Reference,
    judge: Annotated[str | None, typer.Option(metavar="NAME", help="Registered judge.")] = None,
    floor: Annotated[
        float, typer.Option(min=0, max=1, help="Exit with 1 unless at least this share of the cases passes.")
    ] = 0.0,
    cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Judgement cache instead of the shared one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put the constitution's own cases to a judge, in both orders: `better` must win over `worse`."""
    from api.libraries import load_constitution
    from api.progress import shown
    from api.trials import require_floor, run_cases

    configured = settings(context)
    constitution = load_constitution(ref, configured, drafts=True)
    with shown(as_json=as_json) as emit:
        report = run(run_cases(constitution, judge, configured, emit, cache=cache))
    if as_json:
        write_json(report.to_dict())
    else:
        _show_cases(report)
    require_floor(report, floor)


def preview(
    context: typer.Context,
    ref: Reference,
    pairs: Annotated[Path, typer.Option(metavar="DATASET", help="Pairs labelled under the earlier text.")],
    earlier: Annotated[
        str | None, typer.Option("--from", metavar="ID_OR_FILE", help="The earlier text; default: by the labels' hash.")
    ] = None,
    judge: Annotated[str | None, typer.Option(metavar="NAME", help="Default: the one that gave the votes.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Pairs to try.")] = 200,
    control: Annotated[int, typer.Option(min=0, help="Pairs of these to judge again under the earlier text.")] = 100,
    cases: Annotated[bool, typer.Option(help="Try the cases under both texts.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the whole report there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which labels would change, beside the judge's own noise, before the text is published."""
    from api.libraries import load_constitution, open_library
    from api.progress import shown
    from api.trials import PreviewRequest, labelled_under, run_preview
    from critic.preview import Plan
    from solon.datasets import read_pairs

    configured = settings(context)
    new = load_constitution(ref, configured, drafts=True)
    if earlier is not None:
        old = load_constitution(earlier, configured, drafts=True)
    else:
        old = labelled_under(read_pairs(pairs), open_library(configured))
    plan = Plan(sample, control, seed, cases)
    request = PreviewRequest(old, new, lambda: read_pairs(pairs), judge, plan)
    with shown(as_json=as_json) as emit:
        report = run(run_preview(request, configured, emit))
    if as_json:
        write_json(report.to_dict())
    else:
        _show_preview(report)
    if out is not None:
        _write(out, report.to_dict())


def _write(out: Path, report: dict[str, Any]) -> None:
    from solon.errors import InvalidInput

    try:
        out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"cannot write {out}: {error.strerror}", field="--out", remedy="give a path in a folder that exists"
        ) from error


def _show_cases(report: "CaseReport") -> None:
    from rich.table import Table

    table = Table("principle", "accuracy", "right", "tie", "wrong", "unjudged", "same side in both orders")
    for name, found in [*report.principles.items(), ("all together", report.label)]:
        marks = (str(found.marks[mark]) for mark in ("right", "tie", "wrong", "unjudged"))
        table.add_row(name, _share(found.accuracy), *marks, _share(found.consistent))
    print_table(table)
    passed = len(report.cases) - len(report.failed)
    failing = f"; failing: {', '.join(report.failed)}" if report.failed else ""
    write(f"{passed} of {len(report.cases)} cases pass{failing} ({report.usage.judge_calls} judge calls)")


def _show_preview(report: "Preview") -> None:
    from rich.table import Table

    table = Table("", "n", "kept", "flipped", "became tie", "became decided", "not judged", "noise", "finding")
    table.add_row("labels", *_effect(report.impact.labels))
    for scope, effect in report.impact.scopes.items():
        table.add_row(f"  scope {scope}", *_effect(effect))
    for name, found in report.impact.principles.items():
        table.add_row(f"principle {name}", *_effect(found.verdicts))
    print_table(table)
    for line in (*_flips(report), *_cases(report), *_costs(report)):
        write(line)
    write(f"{_edit(report)}: {_FINDINGS[report.impact.labels.finding]}")


def _effect(effect: "Effect") -> list[str]:
    changes = effect.changes
    shares = [_counted(changes, name) for name in ("kept", "flipped", "became_tie", "became_decided")]
    noise = _share(effect.noise.changed) if effect.noise is not None else "-"
    return [str(changes.n), *shares, str(changes.unusable), noise, effect.finding.replace("_", " ")]


def _counted(changes: "Changes", name: Any) -> str:
    share = changes.shares[name]
    return f"{changes.count(name)} [{share.low:.1%}, {share.high:.1%}]" if share is not None else "-"


def _share(found: "Interval | None") -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" if found is not None else "-"


def _flips(report: "Preview") -> list[str]:
    flips = report.impact.flips
    lines = ["", "Largest flips, P(a is better) before and after:"] if flips else []
    for flip in flips:
        lines.append(f"  {flip.p_a_before:.2f} -> {flip.p_a_after:.2f}  {_short(flip.prompt, 70)}")
        lines += [f"      a: {_short(flip.a, 100)}", f"      b: {_short(flip.b, 100)}"]
    return lines


def _cases(report: "Preview") -> list[str]:
    if report.cases is None:
        return []
    newly = {"newly failing": report.cases.newly_failing, "newly passing": report.cases.newly_passing}
    said = [f"{what}: {', '.join(ids)}" for what, ids in newly.items() if ids]
    return ["", f"Cases: {'; '.join(said) or 'no difference'}"]


def _costs(report: "Preview") -> list[str]:
    estimate = report.estimate
    spent = ", ".join(f"{name} {usage.judge_calls}" for name, usage in report.spent.items())
    tokens = sum(usage.prompt_tokens + usage.completion_tokens for usage in report.spent.values())
    rest = ""
    if estimate.prompt_tokens is not None and estimate.seconds is not None:
        rest = f", about {estimate.prompt_tokens:,.0f} tokens and {estimate.seconds:,.0f} s"
    changed = estimate.changed_labels
    labels = f"; about {changed[0]:.0f} labels would change [{changed[1]:.0f}, {changed[2]:.0f}]" if changed else ""
    return [
        "",
        f"Spent: {report.judge_calls} judge calls ({spent}), {tokens:,} tokens",
        f"Relabelling all {estimate.pairs} pairs: {estimate.judge_calls} judge calls instead of"
        f" {estimate.judge_calls_from_scratch}{rest}{labels}",
    ]


def _edit(report: "Preview") -> str:
    edit = report.edit
    parts = [f"{word} {', '.join(ids)}" for word, ids in _edited(edit).items() if ids]
    return "; ".join([*parts, *(["combined in another way"] if edit.recombined else [])]) or "no change"


def _edited(edit: Any) -> dict[str, tuple[str, ...]]:
    return {
        "reworded": (*edit.reworded, *edit.questions),
        "added": edit.added,
        "removed": edit.removed,
    }


def _short(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
