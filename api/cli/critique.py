"""`solon critique`: critiques and revisions of a file of rows."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from api.terminal import run, settings, write_json


def critique(
    context: typer.Context,
    rows: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Prompts, or rows with completions.")],
    constitution: Annotated[str, typer.Option(metavar="ID", help="Published id, or a file.")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT.jsonl", help="Chains; what else there is goes beside it.")],
    policy: Annotated[str | None, typer.Option(metavar="NAME", help="Writes originals where a row has none.")] = None,
    critic: Annotated[
        str | None, typer.Option(metavar="NAME", help="Writes critiques and revisions; default: the policy.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keeps a revision only if it beats the original in both orders.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=64, help="Rounds of critique and revision.")] = 4,
    principles: Annotated[
        Literal["random", "all", "by_scope"], typer.Option(help="Which principle each round is about.")
    ] = "random",
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0)] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, max=32768, help="Of one critique or revision.")] = 256,
    min_coverage: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the comparisons that must be ok or tie.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what it would ask for, and ask nothing.")
    ] = False,
    max_calls: Annotated[int | None, typer.Option(min=1, help="Stop, to go on later, after so many calls.")] = None,
    max_usd: Annotated[float | None, typer.Option(min=0.0, help="The same in money, at the registry's prices.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Critique and revise: chains, the kept revisions, and their win rates against the originals."""
    from api.critiquing import Cast, CritiqueRequest, critique_file, show_critiqued
    from api.progress import shown
    from critic.candidates import Sampling
    from critic.critique import Plan
    from solon.spending import Cap

    plan = Plan(rounds, principles, Sampling(max_tokens, temperature), seed)
    cap = Cap(calls=max_calls, usd=max_usd)
    request = CritiqueRequest(constitution, Cast(policy, critic, judge), plan, min_coverage, cap)
    configured = settings(context)
    if estimate:
        from api.estimating import estimate_critiques, show_estimate

        show_estimate(run(estimate_critiques(rows, request, configured)), as_json=as_json)
        return
    with shown(as_json=as_json) as emit:
        summary = run(critique_file(rows, out, request, configured, emit))
    if as_json:
        write_json(summary)
    else:
        show_critiqued(summary)
