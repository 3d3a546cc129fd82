"""`solon rank`: completions from best to worst."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def rank(
    context: typer.Context,
    rows: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Rows with completions, or prompts for a policy.")],
    constitution: Annotated[str, typer.Option(metavar="ID", help="Published id, or a file.")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT.jsonl")],
    judge: Annotated[str | None, typer.Option(metavar="NAME", help="Registered judge.")] = None,
    policy: Annotated[str | None, typer.Option(metavar="NAME", help="Writes completions where a row has none.")] = None,
    n: Annotated[int, typer.Option("-n", min=2, max=64, help="Completions per prompt: best of n.")] = 4,
    schedule: Annotated[
        Literal["all", "swiss", "chunks"], typer.Option(help="Which comparisons are made among a row's completions.")
    ] = "all",
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Rank by the probability that a rule is broken, too.")
    ] = False,
    method: Annotated[
        Literal["bradley_terry", "newman", "elo"], typer.Option(help="Of the leaderboard, where rows have `systems`.")
    ] = "bradley_terry",
    resamples: Annotated[int, typer.Option(min=0, max=100_000, help="Of the prompts, for its intervals.")] = 1000,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="Of the policy.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, max=32768, help="Of one completion.")] = 256,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Judgement cache instead of the shared one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Rank the completions of each row, best of n included; a leaderboard where rows name the systems they are from."""
    from api.progress import shown
    from api.ranking import RankRequest, rank_file, show_ranked
    from api.terminal import run, settings, write_json

    request = RankRequest(
        constitution=constitution,
        judge=judge,
        policy=policy,
        n=n,
        schedule=schedule,
        rerank=rerank,
        method=method,
        resamples=resamples,
        seed=seed,
        max_tokens=max_tokens,
        temperature=temperature,
        cache=cache,
    )
    configured = settings(context)
    with shown(as_json=as_json) as emit:
        summary = run(rank_file(rows, out, request, configured, emit))
    if as_json:
        write_json(summary)
    else:
        show_ranked(summary)
