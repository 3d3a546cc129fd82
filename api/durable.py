"""Durable execution: the one module that knows DBOS. A run of a job is a workflow, each of its steps a child workflow.

    recipe(job, run)             queue `pipeline`, workflow id JOB-RUN; begins the run, waits for its steps, settles it
    step(job, run, number)       queue `label` or `train`, workflow id JOB-RUN-NUMBER; follows the step's process

What a job is and where it stands is in our own tables; DBOS remembers which workflows there are, who has them, and what
is next. Workflows carry ids and small results, as JSON. All control goes through the job's row: a step that is asked to
stop notices it and stops its process; a worker that dies or drains leaves the process to whoever comes next.

`VERSION` is ours and not a hash of sources, which would strand jobs in flight after each change. Within a version only
`DBOS.patch` may change what a workflow does; see docs/jobs.md.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Engine, inspect
from sqlalchemy.orm import Session

from api.following import Following, StepOfRun
from api.launchers import launcher
from api.lifecycle import ASKED_TO_STOP
from api.recipes import Recipe
from api.store.database import reading
from api.store.runs import RunStore
from solon.documents import validated
from solon.errors import InvalidInput, SolonError
from solon.service_settings import JobOptions
from solon.settings import Settings

if TYPE_CHECKING:
    from dbos import DBOSClient, EnqueueOptions

VERSION: Final = "1"
PIPELINE, LABEL, TRAIN = "pipeline", "label", "train"
QUEUES: Final = (PIPELINE, LABEL, TRAIN)
_ASKING: Final = frozenset({"label", "critique_revision", "evaluate"})
"""Types of steps that ask models; all others train."""
_APPLICATION: Final = "solon"
_RECIPE, _STEP = "recipe", "step"
_EVER: Final = 1_000_000
"""Recoveries and tries that no workflow reaches: a crash is no reason to give a job up."""
_OVER: Final = frozenset({"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})

_log = logging.getLogger(__name__)


def workflow_id(job_id: str, run: int) -> str:
    """The workflow of a run of a job."""
    return f"{job_id}-{run}"


def queue_of(step_type: str) -> str:
    """The queue of a type of step."""
    return LABEL if step_type in _ASKING else TRAIN


def migrate(engine: Engine) -> None:
    """DBOS's own tables are there: in the schema `dbos` of PostgreSQL, beside ours in SQLite."""
    from dbos import DBOS

    _quiet()
    DBOS.migrate(_url(engine))


class Durable:
    """Hands jobs to workers; needs no worker to be there. DBOS is imported with the first job."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._client: DBOSClient | None = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Before a transaction: make what `enqueue` needs outside of one."""
        self._prepared()

    def enqueue(self, session: Session, job_id: str, run: int, priority: int) -> None:
        """Queue a run of the job; it happens if the session's transaction does."""
        options: EnqueueOptions = {
            "workflow_name": _RECIPE,
            "queue_name": PIPELINE,
            "workflow_id": workflow_id(job_id, run),
            "app_version": VERSION,
            "priority": priority,
        }
        self._prepared().enqueue_in_transaction(session, options, job_id, run)

    def withdraw(self, job_id: str, run: int) -> None:
        """Take what no worker has begun of a run out of the queues."""
        client, run_id = self._prepared(), workflow_id(job_id, run)
        waiting = client.list_workflows(
            workflow_id_prefix=run_id, status="ENQUEUED", load_input=False, load_output=False
        )
        ids = [one.workflow_id for one in waiting if f"{one.workflow_id}-".startswith(f"{run_id}-")]
        if ids:
            client.cancel_workflows(ids)

    def over(self, job_id: str, run: int) -> bool:
        """Whether nobody will do anything about the run any more."""
        found = self._prepared().list_workflows(
            workflow_ids=[workflow_id(job_id, run)], load_input=False, load_output=False
        )
        return not found or found[0].status in _OVER

    def _prepared(self) -> "DBOSClient":
        """The client; opened, and DBOS's tables made, when it is first needed."""
        with self._lock:
            if self._client is None:
                from dbos import DBOSClient, DBOSPortableJSONSerializer

                if not _is_there(self._engine):
                    migrate(self._engine)
                _quiet()
                self._client = DBOSClient(
                    system_database_engine=self._engine,
                    serializer=DBOSPortableJSONSerializer(),
                    application_name=_APPLICATION,
                    retry_connection_errors=False,
                )
            return self._client


def _is_there(engine: Engine) -> bool:
    schema = None if engine.dialect.name == "sqlite" else "dbos"
    with reading(engine) as session:
        return inspect(session.connection()).has_table("dbos_migrations", schema=schema)


def _quiet() -> None:
    """DBOS tells of its own affairs on standard error; warnings are enough."""
    logging.getLogger("dbos").setLevel(logging.WARNING)


class Executor:
    """The part of a worker that does workflows: one for each process, on queues of its choice."""

    def __init__(self, engine: Engine, settings: Settings, worker_id: str, queues: Sequence[str] = QUEUES) -> None:
        self._engine, self._settings = engine, settings
        self._worker_id, self._queues = worker_id, tuple(queues)
        self._runs = RunStore(engine)

    def start(self) -> None:
        """Begin to do workflows; those that this worker had when it died are done first."""
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

        if not _is_there(self._engine):
            migrate(self._engine)
        config = DBOSConfig(
            name=_APPLICATION,
            system_database_url=_url(self._engine),
            system_database_engine=self._engine,
            executor_id=self._worker_id,
            application_version=VERSION,
            serializer=DBOSPortableJSONSerializer(),
            max_executor_threads=32,
            run_migrations=False,
            log_level="WARNING",
            enable_otlp=False,
        )
        DBOS(config=config)
        self._register()
        DBOS.listen_queues([*self._queues])
        DBOS.launch()
        for name, at_once in _limits(self._settings.jobs).items():
            DBOS.register_queue(
                name,
                worker_concurrency=at_once,
                polling_interval_sec=self._settings.jobs.poll_s,
                on_conflict="always_update",
            )

    def take_over(self, dead: Sequence[str]) -> None:
        """Queue what these workers had; calling it twice, or from two workers, does it once."""
        from dbos import DBOS

        # What DBOS's own (proprietary) control plane calls; `dbos` is pinned below 4, and tests kill workers.
        DBOS._recover_pending_workflows(list(dead))  # pyright: ignore[reportPrivateUsage]

    def stop(self) -> None:
        """Do nothing more. Processes of steps go on, and belong to whoever follows them next."""
        from dbos import DBOS

        DBOS.destroy(destroy_registry=True)

    def _register(self) -> None:
        """Tell DBOS what the workflows do."""
        from dbos import DBOS, SetEnqueueOptions, SetWorkflowID
        from dbos import error as failures

        poll_s = self._settings.jobs.poll_s

        @DBOS.step(name="begin", **_STUBBORN)
        async def begin(job_id: str, run: int) -> list[list[Any]]:
            return await asyncio.to_thread(self._plan, job_id, run)

        @DBOS.step(name="follow")
        async def follow(job_id: str, run: int, number: int, named: str) -> dict[str, Any]:
            wanted = StepOfRun(job_id, run, number, named)
            followed = Following(self._runs, launcher(self._settings.jobs), self._settings, wanted)
            return await patiently(followed.tick, poll_s)

        @DBOS.step(name="settle", **_STUBBORN)
        async def settle(job_id: str, run: int, outcome: dict[str, Any]) -> str:
            job = await asyncio.to_thread(self._runs.settle, job_id, run, outcome["kind"], outcome["detail"])
            return job.status

        @DBOS.workflow(name=_STEP, max_recovery_attempts=_EVER)
        async def step(job_id: str, run: int, number: int, named: str) -> dict[str, Any]:
            return await follow(job_id, run, number, named)

        @DBOS.workflow(name=_RECIPE, max_recovery_attempts=_EVER)
        async def recipe(job_id: str, run: int) -> str:
            outcome: dict[str, Any] = {"kind": "stopped", "detail": {}}
            for number, named, queue, priority in await begin(job_id, run):
                own_id = f"{workflow_id(job_id, run)}-{number:02d}"
                with SetWorkflowID(own_id), SetEnqueueOptions(priority=priority, app_version=VERSION):
                    handle = await DBOS.enqueue_workflow_async(queue, step, job_id, run, number, named)
                try:
                    outcome = await handle.get_result(polling_interval_sec=poll_s)
                except failures.DBOSAwaitedWorkflowCancelledError:  # it was withdrawn from its queue
                    outcome = {"kind": "stopped", "detail": {}}
                if outcome["kind"] != "done":
                    break
            return await settle(job_id, run, outcome)

    def _plan(self, job_id: str, run: int) -> list[list[Any]]:
        """Number, name, queue and priority of each step that is to be done."""
        done = self._runs.begin(job_id, run)
        if done is None:
            return []
        job = self._runs.job(job_id)
        try:
            planned = validated(Recipe, job.recipe, "recipe").planned()
        except InvalidInput as error:
            detail = {"message": f"this version of Solon does not know the recipe: {error.message}"}
            self._runs.settle(job_id, run, "failed", detail | {"field": error.field, "remedy": error.remedy})
            return []
        return [
            [number, each.name, queue_of(each.step.type), job.priority]
            for number, each in enumerate(planned, start=1)
            if number not in done or number == len(planned)  # the last one's outcome is the run's
        ]

    def reconcile(self, durable: Durable) -> None:
        """Of jobs that are to stop nothing waits in a queue; one whose workflow came to nothing has stopped.

        That is a failure only where nobody asked for it. A process that is left ends with its lease.
        """
        for job in self._runs.at_work():
            if job.status in ASKED_TO_STOP:
                durable.withdraw(job.id, job.run)
            if durable.over(job.id, job.run):
                self._runs.settle(job.id, job.run, "stopped", dict(_NOTHING))


_STUBBORN: Final[dict[str, Any]] = {
    "retries_allowed": True,
    "interval_seconds": 1.0,
    "backoff_rate": 1.5,
    "max_attempts": 20,
}
_NOTHING: Final = {"message": "the job's workflow ended without a result", "remedy": "resume the job"}
_TRIES: Final = 20
_LONGEST_S: Final = 30.0


async def patiently(tick: Callable[[], Any], poll_s: float) -> dict[str, Any]:
    """What a step came to. A tick that fails is tried again, ever less often, for some eight minutes.

    What fails here is never the step: the database, the disk, or a cluster that does not answer.
    """
    failures = 0
    while True:
        try:
            outcome = await asyncio.to_thread(tick)
        except Exception as error:  # noqa: BLE001 - infrastructure of whatever kind; it is told below
            failures += 1
            _log.warning("a step cannot be followed, try %s: %s", failures, error)
            if failures >= _TRIES:
                said = str(error) if isinstance(error, SolonError) else type(error).__name__
                return {"kind": "failed", "detail": {"message": f"the step could not be followed: {said}"}}
            await asyncio.sleep(min(2.0 ** (failures - 1), _LONGEST_S))
            continue
        if outcome is not None:
            return {"kind": outcome.kind, "detail": outcome.detail}
        failures = 0
        await asyncio.sleep(poll_s)


def _limits(options: JobOptions) -> dict[str, int]:
    return {
        PIPELINE: options.pipelines_per_worker,
        LABEL: options.label_per_worker,
        TRAIN: options.train_per_worker,
    }


def _url(engine: Engine) -> str:
    """The database's address as DBOS writes it."""
    url = engine.url if engine.dialect.name == "sqlite" else engine.url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)
