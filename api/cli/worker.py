"""`solon worker`: does the jobs of a service, on this host."""

from typing import Annotated

import typer

from api.terminal import settings, write, write_json


def worker(
    context: typer.Context,
    queues: Annotated[
        list[str] | None,
        typer.Option("--queue", metavar="NAME", help="pipeline, label or train; may be repeated. Default: all."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Do queued jobs until interrupted; more workers, on this host or others, share the work."""
    from api.durable import QUEUES
    from api.workers import stopped_by_signals, work

    chosen = tuple(queues or QUEUES)

    def ready(worker_id: str) -> None:
        said = {"event": "ready", "worker": worker_id, "queues": list(chosen)}
        write_json(said) if as_json else write(f"Worker {worker_id} takes jobs from: {', '.join(chosen)}")

    work(settings(context), chosen, ready=ready, stop=stopped_by_signals())
