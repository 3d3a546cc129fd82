"""Artifacts: a name is published whole and once, in a folder as in a bucket."""

import errno
import resource
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.store import bucket as bucket_module
from api.store.artifacts import FolderArtifacts, get, open_artifacts
from api.store.content import Artifacts, sha256_of
from solon.errors import Conflict, Failed, InvalidInput, NotFound, SolonError, StorageUnavailable
from solon.settings import Settings
from tests.integration.buckets import PLACES, artifacts_in

PUBLISHERS = 6


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Artifacts, Settings]]:
    with artifacts_in(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def artifacts(place: tuple[Artifacts, Settings]) -> Artifacts:
    return place[0]


def written(folder: Path, content: bytes, name: str = "source") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def content_of(artifacts: Artifacts, name: str) -> bytes:
    with artifacts.open(name) as stream:
        return stream.read()


def test_what_is_put_is_read_with_its_size_and_digest(artifacts: Artifacts, tmp_path: Path):
    source = written(tmp_path, b"one\n" * 1000)
    stored = artifacts.put("files/a", source)
    assert (stored.name, stored.bytes, stored.sha256) == ("files/a", 4000, sha256_of(source))
    assert artifacts.find("files/a") == stored
    assert content_of(artifacts, "files/a") == source.read_bytes()
    assert get(artifacts, "files/a", tmp_path / "deep" / "copy") == stored
    assert (tmp_path / "deep" / "copy").read_bytes() == source.read_bytes()


def test_a_name_is_published_once(artifacts: Artifacts, tmp_path: Path):
    first = artifacts.put("a", written(tmp_path, b"one"))
    assert artifacts.put("a", written(tmp_path, b"one")) == first
    with pytest.raises(Conflict):
        artifacts.put("a", written(tmp_path, b"two"))
    assert content_of(artifacts, "a") == b"one"


def test_the_source_may_change_afterwards(artifacts: Artifacts, tmp_path: Path):
    source = written(tmp_path, b"one")
    artifacts.put("a", source)
    source.write_bytes(b"two")
    assert content_of(artifacts, "a") == b"one"


def test_of_publishers_of_one_name_one_succeeds_and_its_content_is_whole(
    place: tuple[Artifacts, Settings], tmp_path: Path
):
    sources = [written(tmp_path, bytes([number]) * 200_000, f"source-{number}") for number in range(PUBLISHERS)]
    ready, outcomes = threading.Barrier(PUBLISHERS), dict[int, bool]()

    def publish(number: int) -> None:
        artifacts = open_artifacts(place[1])  # as another host has it
        ready.wait()
        try:
            artifacts.put("a", sources[number])
        except Conflict:
            outcomes[number] = False
        else:
            outcomes[number] = True

    publishers = [threading.Thread(target=publish, args=(number,)) for number in range(PUBLISHERS)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    (winner,) = [number for number, succeeded in outcomes.items() if succeeded]
    assert len(outcomes) == PUBLISHERS
    assert content_of(place[0], "a") == sources[winner].read_bytes()


def test_names_are_listed_by_their_folder(artifacts: Artifacts, tmp_path: Path):
    source = written(tmp_path, b"x")
    for name in ("jobs/2/b", "jobs/1/out/a", "files/z", "jobs/1/c"):
        artifacts.put(name, source)
    assert list(artifacts.names("jobs")) == ["jobs/1/c", "jobs/1/out/a", "jobs/2/b"]
    assert list(artifacts.names("jobs/1")) == ["jobs/1/c", "jobs/1/out/a"]
    assert list(artifacts.names("nothing")) == []


def test_what_is_deleted_is_gone_and_its_name_is_free(artifacts: Artifacts, tmp_path: Path):
    artifacts.put("a", written(tmp_path, b"one"))
    for _ in range(2):
        artifacts.delete("a")
    assert artifacts.find("a") is None
    with pytest.raises(NotFound):
        artifacts.open("a")
    with pytest.raises(NotFound):
        get(artifacts, "a", tmp_path / "copy")
    artifacts.put("a", written(tmp_path, b"two"))
    assert content_of(artifacts, "a") == b"two"


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a", "a/../../b", "a\\b", "a\0b"])
def test_names_stay_within_the_artifacts(artifacts: Artifacts, tmp_path: Path, name: str):
    with pytest.raises(InvalidInput):
        artifacts.put(name, written(tmp_path, b"x"))


def test_large_content_goes_to_a_bucket_in_parts_and_is_published_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bucket_module, "PART", 5 << 20)
    source = written(tmp_path, bytes(range(256)) * (11 << 12))
    with artifacts_in("bucket", tmp_path) as (artifacts, _):
        stored = artifacts.put("model.safetensors", source)
        assert get(artifacts, "model.safetensors", tmp_path / "copy") == stored
        assert artifacts.put("model.safetensors", source) == stored
        with pytest.raises(Conflict):
            artifacts.put("model.safetensors", written(tmp_path, bytes(11 << 20)))


def test_damaged_content_is_not_taken_for_what_was_published(tmp_path: Path):
    with artifacts_in("bucket", tmp_path) as (artifacts, settings):
        artifacts.put("a", written(tmp_path, b"one"))
        files = artifacts._files  # pyright: ignore[reportAttributeAccessIssue]
        key = f"{str(settings.bucket).removeprefix('s3://')}/a"
        files.pipe_file(key, b"two", Metadata=files.metadata(key))
        with pytest.raises(Failed, match="damaged"):
            get(artifacts, "a", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_bucket_that_cannot_be_reached_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with artifacts_in("bucket", tmp_path) as (_, settings):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        with pytest.raises(StorageUnavailable, match="bucket"):
            open_artifacts(settings).put("a", written(tmp_path, b"one"))


def test_a_bucket_that_is_not_there_is_said(tmp_path: Path):
    with artifacts_in("bucket", tmp_path):
        artifacts = open_artifacts(Settings.model_validate({"artifacts": "s3://solon-absent"}))
        with pytest.raises(StorageUnavailable, match="bucket"):
            artifacts.put("a", written(tmp_path, b"one"))


def test_a_full_disk_publishes_nothing_and_leaves_nothing(tmp_path: Path):
    artifacts = FolderArtifacts(tmp_path / "artifacts")
    source = written(tmp_path, b"x" * 100_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StorageUnavailable, match="disk of the artifacts is full"):
            artifacts.put("a", source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list((tmp_path / "artifacts").iterdir()) == []
    artifacts.put("a", source)


def test_what_a_killed_process_left_unfinished_is_never_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    artifacts = FolderArtifacts(tmp_path / "artifacts")

    def killed(_: Path, partial: Path) -> None:
        partial.write_bytes(b"half")
        raise OSError(errno.EIO, "the power went")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", killed)
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        with pytest.raises(SolonError):
            artifacts.put("jobs/a", written(tmp_path, b"whole"))
    assert len(list((tmp_path / "artifacts" / "jobs").iterdir())) == 1
    assert list(artifacts.names("jobs")) == []
    assert artifacts.put("jobs/a", written(tmp_path, b"whole")).bytes == 5


@pytest.mark.parametrize("url", ["s3://", "s3://B", "s3://bucket/a b", "s3://bucket//x"])
def test_an_address_that_is_no_bucket_is_refused(url: str):
    with pytest.raises(ValueError, match="bucket"):
        Settings.model_validate({"artifacts": url})


def test_settings_with_a_bucket_are_read_as_they_were_written():
    settings = Settings.model_validate({"artifacts": "s3://bucket/prefix"})
    assert (settings.bucket, settings.artifacts) == ("s3://bucket/prefix", Path("artifacts"))
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
