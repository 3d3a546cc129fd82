"""What the commands share: bars, JSON lines, the loopback rule."""

import io
import json

import pytest
from rich.console import Console
from rich.progress import Progress

from api.cli.job import print_job
from api.events import Event
from api.progress import Bars, shown
from api.store.jobs import Job

EVENTS = (
    Event(type="step_started", step="01-label"),
    Event(type="progress", step="01-label", done=2, total=4, metrics={"ok": 2.0}),
    Event(type="step_finished", step="01-label", message="done in 1.0 s"),
    Event(type="run_finished", detail={"kl_nats": 1.0}),
)


def test_json_lines_hold_every_event(capsys: pytest.CaptureFixture[str]):
    with shown(as_json=True) as emit:
        for event in EVENTS:
            emit(event)
    assert [Event.model_validate_json(line) for line in capsys.readouterr().out.splitlines()] == list(EVENTS)


def test_without_a_terminal_the_steps_are_lines_on_standard_error(capsys: pytest.CaptureFixture[str]):
    with shown(as_json=False) as emit:
        for event in EVENTS:
            emit(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [json.loads(line)["type"] for line in captured.err.splitlines()] == ["step_started", "step_finished"]


def test_a_bar_follows_the_counts_and_ends_full():
    progress = Progress(console=Console(file=io.StringIO()))
    bars = Bars(progress)
    for event in EVENTS[:2]:
        bars(event)
    assert (progress.tasks[0].completed, progress.tasks[0].total) == (2, 4)
    assert progress.tasks[0].fields["note"] == "ok 2"
    bars(EVENTS[2])
    bars(EVENTS[3])
    assert progress.tasks[0].finished
    assert len(progress.tasks) == 1


def test_a_job_is_shown_with_its_constitution_and_what_it_has_cost(capsys: pytest.CaptureFixture[str]):
    used = {"calls": 20, "prompt_tokens": 200, "completion_tokens": 20}
    job = Job.model_validate(
        {
            "id": "job_1",
            "status": "succeeded",
            "recipe": {"name": "kind"},
            "constitution": {"id": "civic", "version": "1.0.0", "content_hash": "sha256:0"},
            "created_at": 1.0,
            "cost": {"far": used | {"cost_usd": 2.0}, "near": used},
        }
    )
    print_job(job, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "job_1  kind  succeeded",
        "  constitution: civic@1.0.0",
        "  far: 20 calls, 220 tokens, 2.0000 USD",
        "  near: 20 calls, 220 tokens",
    ]
