"""`solon job ls | show | logs | cancel | pause | resume`: jobs of a running service."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from api.terminal import print_table, settings, write, write_json

if TYPE_CHECKING:
    from api.store.jobs import Job

app = typer.Typer(no_args_is_help=True)

Server = Annotated[str | None, typer.Option(help="Address of the service; default: the setting `server`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job, such as job_01k...")]


@app.command("ls")
def list_jobs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 20,
    status: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    constitution: Annotated[str | None, typer.Option(metavar="ID", help="Only of this one; also ID@VERSION.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only with this; may be repeated.")
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    from rich.table import Table

    from api.client import Service
    from api.sending import AT_A_TERMINAL

    wanted = {"status": status, "constitution": constitution, "metadata": metadata}
    with Service(server or settings(context).server, patience=AT_A_TERMINAL) as service:
        jobs = service.jobs(limit, **{name: value for name, value in wanted.items() if value})
    if as_json:
        write_json([job.model_dump(mode="json") for job in jobs])
        return
    table = Table("job", "recipe", "status", "created")
    for job in jobs:
        created = datetime.fromtimestamp(job.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        table.add_row(job.id, str(job.recipe.get("name", "")), job.status, created)
    print_table(table)


@app.command()
def show(context: typer.Context, job_id: JobId, server: Server = None, as_json: AsJson = False) -> None:
    """Print one job."""
    from api.client import Service
    from api.sending import AT_A_TERMINAL

    with Service(server or settings(context).server, patience=AT_A_TERMINAL) as service:
        print_job(service.job(job_id), as_json)


@app.command()
def logs(
    context: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job is finished.")] = False,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Print a job's events; with -f draw them as bars on a terminal."""
    from api.client import Service
    from api.progress import shown
    from api.sending import AT_A_TERMINAL

    with Service(server or settings(context).server, patience=AT_A_TERMINAL) as service:
        if not follow:
            for event in service.events(job_id):
                write(event.model_dump_json())
            return
        with shown(as_json=as_json) as emit:
            for event in service.follow(job_id):
                emit(event.event)
        print_job(service.job(job_id), as_json)


@app.command()
def cancel(context: typer.Context, job_id: JobId, server: Server = None, as_json: AsJson = False) -> None:
    """Ask a job to stop for good; a finished one stays as it is."""
    _wish(context, job_id, "cancel", server, as_json)


@app.command()
def pause(context: typer.Context, job_id: JobId, server: Server = None, as_json: AsJson = False) -> None:
    """Ask a job to pause; what is finished is kept."""
    _wish(context, job_id, "pause", server, as_json)


@app.command()
def resume(context: typer.Context, job_id: JobId, server: Server = None, as_json: AsJson = False) -> None:
    """Go on with a paused or failed job where it was."""
    _wish(context, job_id, "resume", server, as_json)


def _wish(context: typer.Context, job_id: str, wish: str, server: str | None, as_json: bool) -> None:
    from api.client import Service
    from api.lifecycle import Wish
    from api.sending import AT_A_TERMINAL

    with Service(server or settings(context).server, patience=AT_A_TERMINAL) as service:
        print_job(service.wish(job_id, Wish(wish)), as_json)


def print_job(job: "Job", as_json: bool) -> None:
    """A job with its constitution, what it has cost and how it ended."""
    if as_json:
        write_json(job.model_dump(mode="json"))
        return
    write(f"{job.id}  {job.recipe.get('name', '')}  {job.status}")
    if job.constitution is not None:
        write(f"  constitution: {job.constitution.id}@{job.constitution.version}")
    for model, used in sorted(job.cost.items()):
        tokens = used.get("prompt_tokens", 0) + used.get("completion_tokens", 0)
        usd = f", {used['cost_usd']:.4f} USD" if used.get("cost_usd") is not None else ""
        write(f"  {model}: {used.get('calls', 0)} calls, {tokens} tokens{usd}")
    if job.error is not None:
        remedy = f" ({job.error['remedy']})" if job.error.get("remedy") else ""
        write(f"  {job.error.get('message', '')}{remedy}")
    if job.result is not None:
        write(f"  results: {job.result.get('out', '')}")
