"""`solon job ls | show | logs | cancel`: jobs of a running service."""

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
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    from rich.table import Table

    from api.client import Service

    with Service(server or settings(context).server) as service:
        jobs = service.jobs(limit)
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

    with Service(server or settings(context).server) as service:
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

    with Service(server or settings(context).server) as service:
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
    """Ask a job to stop; a finished one stays as it is."""
    from api.client import Service

    with Service(server or settings(context).server) as service:
        print_job(service.cancel(job_id), as_json)


def print_job(job: "Job", as_json: bool) -> None:
    """A job with how it ended."""
    if as_json:
        write_json(job.model_dump(mode="json"))
        return
    write(f"{job.id}  {job.recipe.get('name', '')}  {job.status}")
    if job.error is not None:
        remedy = f" ({job.error['remedy']})" if job.error.get("remedy") else ""
        write(f"  {job.error.get('message', '')}{remedy}")
    if job.result is not None:
        write(f"  results: {job.result.get('out', '')}")
