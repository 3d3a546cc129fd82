"""`solon rules score | fit | accuracy`: rule-based rewards of completions, fitted weights, and gold answers."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(no_args_is_help=True)

Reference = Annotated[str, typer.Argument(metavar="ID_OR_FILE", help="A published constitution, or a file.")]
Rows = Annotated[Path, typer.Argument(metavar="ROWS.jsonl", help="Rows with completions.")]
JudgeName = Annotated[str | None, typer.Option("--judge", metavar="NAME", help="Answers the rules' questions.")]
CacheFile = Annotated[
    Path | None, typer.Option("--cache", metavar="FILE", help="Judgement cache instead of the shared one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


@app.callback()
def root() -> None:
    """Rule-based rewards."""


@app.command()
def score(
    context: typer.Context,
    ref: Reference,
    rows: Rows,
    out: Annotated[Path, typer.Option("--out", metavar="OUT.jsonl")],
    judge: JudgeName = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="WEIGHTS.json", help="Fitted weights: their reward decides what is best.")
    ] = None,
    cache: CacheFile = None,
    as_json: AsJson = False,
) -> None:
    """Reward, class and exact class probabilities of each completion, and the best one of each row."""
    from api.progress import shown
    from api.rule_work import RulesRequest, score_file
    from api.terminal import run, settings, write, write_json

    with shown(as_json=as_json) as emit:
        request = RulesRequest(ref, judge, cache)
        summary = run(score_file(rows, out, request, weights, settings(context), emit))
    if as_json:
        write_json(summary)
    else:
        write(f"{summary['completions']} completions of {summary['rows']} rows scored: {out}")


@app.command()
def fit(
    context: typer.Context,
    ref: Reference,
    rows: Rows,
    out: Annotated[Path, typer.Option("--out", metavar="WEIGHTS.json")],
    judge: JudgeName = None,
    over: Annotated[
        Literal["propositions", "rules"], typer.Option(help="Weigh propositions and classes, or rules.")
    ] = "propositions",
    margin: Annotated[float, typer.Option(min=0.001, help="By how much a better completion shall lead.")] = 1.0,
    held_out: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of the prompts that only measure.")] = 0.2,
    weight_decay: Annotated[float, typer.Option(min=0.0)] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    cache: CacheFile = None,
    as_json: AsJson = False,
) -> None:
    """Fit weights that order completions as they were ranked, and say how well they order held-out ones."""
    from api.progress import shown
    from api.rule_work import RulesRequest, fit_file
    from api.terminal import run, settings, write_json
    from critic.rules.fitting import FitSettings

    fitting = FitSettings(margin=margin, held_out=held_out, weight_decay=weight_decay, seed=seed)
    with shown(as_json=as_json) as emit:
        request = RulesRequest(ref, judge, cache)
        summary = run(fit_file(rows, out, request, over, fitting, settings(context), emit))
    if as_json:
        write_json(summary)
    else:
        _show_fit(summary)


@app.command()
def accuracy(
    context: typer.Context,
    ref: Reference,
    rows: Annotated[Path, typer.Argument(metavar="ROWS.jsonl", help="Rows with completions and gold `propositions`.")],
    judge: JudgeName = None,
    cache: CacheFile = None,
    as_json: AsJson = False,
) -> None:
    """How well propositions are answered, against gold answers."""
    from api.progress import shown
    from api.rule_work import RulesRequest, accuracy_file
    from api.terminal import run, settings, write_json

    with shown(as_json=as_json) as emit:
        summary = run(accuracy_file(rows, RulesRequest(ref, judge, cache), settings(context), emit))
    if as_json:
        write_json(summary)
    else:
        _show_accuracy(summary)


def _show_fit(summary: dict[str, Any]) -> None:
    from rich.table import Table

    from api.terminal import print_table, write

    table = Table("scope", "prompts", "pairs", "fitted", "held out", "reward model alone")
    for scope, found in summary["scopes"].items():
        shares = (_share(found[key]) for key in ("fitted", "held_out", "reward_alone"))
        table.add_row(scope, str(found["prompts"]), str(found["pairs"]), *shares)
    print_table(table)
    weights = Table("scope", "feature", "weight")
    for scope, those in summary["weights"].items():
        for name, weight in sorted(those.items(), key=lambda item: -abs(item[1])):
            weights.add_row(scope, name, f"{weight:+.3f}")
    print_table(weights)
    write(f"{summary['completions']} completions, {summary['unanswered']} left out as unanswered: {summary['out']}")


def _show_accuracy(summary: dict[str, Any]) -> None:
    from rich.table import Table

    from api.terminal import print_table, write

    table = Table("proposition", "accuracy", "majority", "balanced", "Brier", "gold yes", "unanswered", "n/a")
    for name, found in summary["propositions"].items():
        table.add_row(
            name,
            _share(found["accuracy"]),
            f"{found['majority']:.3f}",
            _number(found["balanced"]),
            _number(found["brier"]),
            f"{found['base_rate']:.3f}",
            str(found["unanswered"]),
            str(found["not_applicable"]),
        )
    print_table(table)
    write(
        f"{summary['completions']} completions with gold answers; majority is what always saying the same would reach"
    )


def _share(found: dict[str, Any] | None) -> str:
    return "-" if found is None else f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}] of {found['n']}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
