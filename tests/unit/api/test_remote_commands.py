"""Commands that work on a service: in this process on a database, or on one that is far away."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api import calls
from api.cli import app
from api.client import Service
from api.inprocess import Embedded
from api.labelling import LabelRequest
from api.remote_labelling import label_remotely
from solon.datasets import read_discards, read_pairs
from solon.documents import write_yaml
from solon.errors import InvalidInput
from solon.fakes import keyword_judge
from solon.formats import write_text
from solon.settings import Settings
from tests.integration.service import FakeModels

ROWS = """\
{"id": "one", "prompt": "Hello?", "response_a": "good day", "response_b": "go away", "votes": ["b"]}
{"id": "two", "prompt": "Same?", "completions": ["same", "same"]}
{"id": "three", "prompt": "Bye?", "completions": ["good bye", "away"], "metadata": {"team": "red"}}
"""


def solon(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database=f"sqlite:///{tmp_path / 'solon.db'}", artifacts=tmp_path / "artifacts").model_copy(
        update={"models": Settings.load(environment={}).models}
    )


def test_a_file_is_labelled_by_a_service_and_the_labels_are_in_both_places(tmp_path: Path, settings: Settings):
    rows, out = tmp_path / "rows.jsonl", tmp_path / "labels.jsonl"
    rows.write_text(ROWS)
    models = FakeModels(starter_judge=keyword_judge(["good"], ["away"]))
    events: list[Any] = []
    with (
        Embedded(settings, models) as transport,
        Service("http://127.0.0.1", transport=transport) as service,
    ):
        request = LabelRequest("civic", "starter-judge")
        summary = label_remotely(rows, out, request, service, events.append)
        kept = list(service.each(calls.preferences(limit=1)))
        red = list(service.each(calls.preferences(metadata={"team": "red"})))
        with pytest.raises(InvalidInput, match="service's own"):
            label_remotely(rows, out, LabelRequest("civic", min_coverage=0.5), service, events.append)
    assert (summary["rows"], summary["statuses"], summary["human_labels"]) == (3, {"ok": 2}, 1)
    assert {pair.id for pair in read_pairs(out)} == {each.id for each in kept}
    assert [each.prompt.id for each in red] == ["three"]
    assert [discard.prompt_id for discard in read_discards(out)] == ["two"] * len(list(read_discards(out)))
    assert (events[0].type, events[-1].type, events[-1].done) == ("step_started", "step_finished", 3)


def test_stored_pairs_are_listed_shown_reviewed_and_exported_without_a_server(tmp_path: Path, settings: Settings):
    config = tmp_path / "solon.yaml"
    write_text(config, write_yaml(settings.model_dump(mode="json", exclude_defaults=True)))
    models = FakeModels(starter_judge=keyword_judge(["good"], ["away"]))
    with Embedded(settings, models) as transport, Service("http://127.0.0.1", transport=transport) as service:
        row = {"prompt": "Hello?", "response_a": "good day", "response_b": "go away"}
        (pair,) = service.send(calls.label([row], constitution="civic", judge="starter-judge")).data
        made = service.send(calls.create_dataset("Mine"))
    assert pair.object == "preference"
    listed = solon("--config", str(config), "pairs", "ls", "--status", "ok")
    assert pair.id in listed
    assert "good day" in solon("--config", str(config), "pairs", "show", pair.id)
    said = solon("--config", str(config), "pairs", "review", pair.id, "tie", "--reviewer", "Ada")
    assert "0 for a, 0 for b, 1 for a tie" in said
    out = tmp_path / "train.jsonl"
    solon("--config", str(config), "pairs", "export", made.id, "--format", "trl_preference", "--out", str(out))
    assert "good day" in out.read_text()
