"""`solon reward train`: reward models from people's preferences."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api.terminal import print_table, run, settings, write, write_json

app = typer.Typer(no_args_is_help=True)

Rows = Annotated[Path, typer.Argument(metavar="TRAIN.jsonl", help="Pairs, or rows with `chosen` and `rejected`.")]
HeldOut = Annotated[Path, typer.Option("--held-out", metavar="FILE", help="The same, to measure accuracy on.")]
Base = Annotated[str, typer.Option(metavar="NAME", help="Registered model that it begins as.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory to make.")]
Option = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="As in the recipe step.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("train")
def train(
    context: typer.Context,
    rows: Rows,
    held_out: HeldOut,
    out: Out,
    base: Base = "starter",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    options: Option = None,
    as_json: AsJson = False,
) -> None:
    """Train a reward model on what people preferred and say how often it agrees with people it never saw."""
    from api.events import Event
    from api.progress import shown
    from api.reward_training import train_reward
    from api.run_context import Ticks
    from solon.documents import override, validated
    from trainer.config import RewardMethod

    method = validated(RewardMethod, override({}, options or ()), "--set")
    with shown(as_json=False) as emit:
        ticks = Ticks("reward", emit)
        emit(Event(type="step_started", step="reward"))
        steps = ticks.steps("loss", "accuracy")
        found = run(train_reward(rows, held_out, base, out, settings(context), method, steps, seed=seed))
    if as_json:
        write_json(found)
        return
    print_table(_table(found["held_out"]))
    write(f"trained on {found['pairs']} pairs, left out {found['dropped'] or 'none'}; {found['seconds']:.0f} s")
    if found.get("held_out_dropped"):
        write(f"held out, but not measured on: {found['held_out_dropped']}")
    write(f"{out}; serve it: vllm serve {out} --runner pooling --convert classify")


def _table(held_out: dict[str, Any] | None) -> Any:
    from rich.table import Table

    table = Table("held out", "pairs", "accuracy", "95 % interval")
    measured = held_out or {"domains": {}}
    rows = {"all": measured.get("accuracy")} | measured["domains"]
    for name, each in rows.items():
        if each is not None:
            table.add_row(name, str(each["n"]), f"{each['value']:.3f}", f"{each['low']:.3f} to {each['high']:.3f}")
    return table
