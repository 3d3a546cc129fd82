"""Hosts with one bucket: what one of them has finished, the others have, whole and checked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.published import Published
from api.store.artifacts import open_artifacts
from solon.errors import StorageUnavailable
from solon.settings import Settings
from tests.integration.buckets import bucket
from tests.unit.api.scripted_runs import Runs
from tests.unit.api.scripted_runs import settings as settings

JOB = "jobs/job_01h00000000000000000000000/out"


@pytest.fixture
def hosts(tmp_path: Path, settings: Settings) -> Iterator[tuple[Runs, Runs]]:
    """The same job on two hosts, which share a bucket and no folder."""
    with bucket() as url:
        yield host(tmp_path / "one", settings, url), host(tmp_path / "other", settings, url)


def host(root: Path, settings: Settings, url: str | None) -> Runs:
    out = root / JOB
    out.mkdir(parents=True)
    return Runs(settings.model_copy(update={"artifacts": root, "bucket": url}), out)


def contents(runs: Runs) -> dict[str, bytes]:
    """All files of finished steps."""
    files = (path for step in runs.out.glob("[0-9]*-*") for path in step.rglob("*") if path.is_file())
    return {str(path.relative_to(runs.out)): path.read_bytes() for path in files}


async def test_another_host_goes_on_with_finished_steps_and_does_none_again(hosts: tuple[Runs, Runs]):
    one, other = hosts
    await one()
    await other()
    assert other.steps("step_skipped") == ["01-label", "02-dpo", "03-evaluate"]
    assert (other.models.judge.calls, other.trainer.configs) == (0, [])
    assert contents(one) == contents(other)


async def test_a_step_that_is_done_again_replaces_what_was_published(hosts: tuple[Runs, Runs]):
    one, other = hosts
    await one()
    await one("seed=1")
    await other("seed=1")
    assert other.steps("step_started") == []
    assert contents(one) == contents(other)


async def test_a_step_that_could_not_be_published_is_published_by_the_next_run(
    hosts: tuple[Runs, Runs], monkeypatch: pytest.MonkeyPatch
):
    one, other = hosts

    def away(self: Published, folder: Path, last: str = "") -> None:
        raise StorageUnavailable("the bucket of the artifacts cannot be used", remedy="see it")

    with monkeypatch.context() as patch:
        patch.setattr(Published, "publish", away)
        with pytest.raises(StorageUnavailable):
            await one()
    await one()
    assert one.steps("step_skipped") == ["01-label"]
    await other()
    assert other.steps("step_started") == []


async def test_records_and_data_come_without_weights_until_somebody_wants_them(hosts: tuple[Runs, Runs]):
    one, other = hosts
    weights = one.out / "02-dpo" / "model" / "model.safetensors"
    await one()
    weights.write_bytes(b"weights")
    artifacts = open_artifacts(one.settings)
    artifacts.put(f"{JOB}/02-dpo/model/model.safetensors", weights)
    Published(other.settings).bring("jobs")
    found = contents(other)
    assert {"01-label/pairs.jsonl", "02-dpo/step.json", "02-dpo/model/config.json"} <= found.keys()
    assert "02-dpo/model/model.safetensors" not in found
    Published(other.settings).bring_folder(other.out / "02-dpo")
    assert contents(other) == contents(one)


async def test_an_unfinished_folder_is_never_brought(hosts: tuple[Runs, Runs]):
    one, other = hosts
    await one()
    artifacts = open_artifacts(one.settings)
    artifacts.delete(f"{JOB}/02-dpo/step.json")
    Published(other.settings).bring("jobs")
    assert {name.partition("/")[0] for name in contents(other)} == {"01-label", "03-evaluate"}


async def test_without_a_bucket_and_outside_of_the_artifacts_nothing_is_published(tmp_path: Path, settings: Settings):
    alone = host(tmp_path / "alone", settings, None)
    await alone()
    with bucket() as url:
        elsewhere = Runs(alone.settings.model_copy(update={"artifacts": tmp_path / "x", "bucket": url}), alone.out)
        await elsewhere()
        assert list(open_artifacts(elsewhere.settings).names("jobs")) == []
