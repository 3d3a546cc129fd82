"""The command line: `solon`. Every command imports what it needs when it runs, so that `solon --help` is quick.

Exit codes: 0 done, 1 the work failed, 2 wrong usage or input. Errors are one line: `error: ... (remedy)`.
"""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli import audit as audit_cli
from api.cli import bench as bench_cli
from api.cli import cache as cache_cli
from api.cli import compare as compare_cli
from api.cli import constitution as constitution_cli
from api.cli import critique as critique_cli
from api.cli import database as database_cli
from api.cli import job as job_cli
from api.cli import key as key_cli
from api.cli import label as label_cli
from api.cli import model as model_cli
from api.cli import pairs as pairs_cli
from api.cli import rank as rank_cli
from api.cli import reward as reward_cli
from api.cli import rules as rules_cli
from api.cli import worker as worker_cli
from api.terminal import Root, fail, output_folder, run, settings, write, write_json
from solon.errors import Failed, InvalidInput, SolonError

app = typer.Typer(
    name="solon", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)
config_app = typer.Typer(no_args_is_help=True)
app.add_typer(model_cli.app, name="model", help="Registered models: list, serve, import.")
app.add_typer(key_cli.app, name="key", help="API keys of the service.")
app.add_typer(key_cli.project_app, name="project", help="Projects: who sees what, and how much they may use.")
app.add_typer(job_cli.app, name="job", help="Jobs of a running service.")
app.add_typer(constitution_cli.app, name="constitution", help="Published and local constitutions.")
app.add_typer(pairs_cli.app, name="pairs", help="Datasets of preference pairs: import, export, care.")
app.add_typer(audit_cli.app, name="audit", help="Audits of a judge or a reward model.")
app.add_typer(cache_cli.app, name="cache", help="The judgement cache: stats, export, import.")
app.add_typer(database_cli.app, name="database", help="The service's database: show, upgrade.")
app.add_typer(reward_cli.app, name="reward", help="Reward models from people's preferences.")
app.add_typer(rules_cli.app, name="rules", help="Rule-based rewards: score, fit, accuracy.")
app.add_typer(bench_cli.app, name="bench", help="Methods compared on this machine.")
app.add_typer(config_app, name="config", help="Settings.")
app.command()(label_cli.label)
app.command()(critique_cli.critique)
app.command()(rank_cli.rank)
app.command()(compare_cli.compare)
app.command()(worker_cli.worker)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for models and report; runs resume in it.")]


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="Settings file; default: ./solon.yaml, if there is one.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one setting; may be repeated.")
    ] = None,
) -> None:
    """AI feedback under a published constitution: preference pairs, and the models trained on them."""
    context.obj = Root(config, tuple(overrides or ()))


@app.command()
def demo(
    context: typer.Context,
    method: Annotated[str, typer.Option(metavar="dpo", help="How the policy is trained.")] = "dpo",
    out: Out = Path("demo-out"),
    as_json: AsJson = False,
) -> None:
    """The main job on the built-in models: label, train, compare before with after."""
    from api.demo import demo_recipe

    if method != "dpo":
        remedy = "available: dpo; for PPO see recipes/civic-ppo.yaml"
        raise InvalidInput("the demo has no such method", field="--method", remedy=remedy)
    _align_here(context, demo_recipe(), out, as_json)


@app.command()
def align(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one value of the recipe.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Default: runs/NAME. Runs resume in it.")
    ] = None,
    server: Annotated[str | None, typer.Option(metavar="URL", help="Run it on a service instead.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would ask for, and ask nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Do a self-alignment job, here or on a service."""
    from api.dry_run import dry_run as plan
    from api.dry_run import show_trainings
    from api.estimating import show_estimate
    from api.recipe_files import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    if dry_run:
        found = run(plan(loaded, settings(context)))
        show_estimate(found, as_json=as_json)
        if not as_json:
            show_trainings(found)
    elif server is None:
        _align_here(context, loaded, out or Path("runs") / loaded.name, as_json)
    elif out is not None:
        raise InvalidInput("a job on a service writes there", field="--out", remedy="leave out --out or --server")
    else:
        _align_there(loaded, server, as_json)


def _align_here(context: typer.Context, recipe: Any, out: Path, as_json: bool) -> None:
    from api.demo import show_summary
    from api.progress import shown
    from api.workflows import align as work

    configured = settings(context)
    with shown(as_json=as_json) as emit:
        summary = run(work(recipe, configured, output_folder(out), emit))
    if not as_json:
        show_summary(summary, out)


def _align_there(recipe: Any, server: str, as_json: bool) -> None:
    from api.client import Service
    from api.progress import shown
    from api.sending import AT_A_TERMINAL

    with Service(server, patience=AT_A_TERMINAL) as service:
        job = service.submit(recipe)
        with shown(as_json=as_json) as emit:
            for event in service.follow(job.id):
                emit(event.event)
        job = service.job(job.id)
    job_cli.print_job(job, as_json)
    if job.status != "succeeded":
        error = job.error or {}
        raise Failed(error.get("message") or f"the job was {job.status}", remedy=error.get("remedy") or "")


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Another than this machine's own needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[
        int,
        typer.Option("--workers-embedded", min=0, max=64, help="Workers beside the server; 0 leaves jobs to others."),
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Serve the REST API and run its jobs."""
    gc.disable()  # imports leave next to no garbage to look for
    from api.serving import serve as work

    gc.enable()

    def announce(address: str) -> None:
        write_json({"event": "listening", "url": address}) if as_json else write(
            f"Solon listens on {address} (documentation: {address}/docs)"
        )

    work(settings(context), host, port, announce, workers=workers)


@config_app.callback()
def config_root() -> None:
    """Settings."""


@config_app.command("show")
def config_show(
    context: typer.Context,
    resolved: Annotated[bool, typer.Option("--resolved", help="Everything, defaults included.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the settings that are in force: what was set, or with --resolved all of them."""
    from api.redaction import Secrets
    from solon.documents import write_yaml

    found = settings(context)
    values = Secrets.of(found).cleaned(found.model_dump(mode="json", exclude_defaults=not resolved))
    if as_json:
        write_json(values)
    else:
        write(write_yaml(values).rstrip())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; the one place where errors become a line and a code."""
    try:
        code = app(args=arguments, prog_name="solon", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except SolonError as error:
        fail(str(error), error.exit_code)
    except typer.TyperException as error:
        fail(_usage(error), error.exit_code)
    except typer.Abort:
        fail("interrupted", 130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _usage(error: typer.TyperException) -> str:
    """The message of a wrong option or argument as one line, with where to look."""
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "solon"
    return f"{' '.join(error.format_message().split()).rstrip('.')} (see `{command} --help`)"


if __name__ == "__main__":
    main()
