"""The shared judgement cache: many threads, many processes, kill -9, replay, and files of judgements."""

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api import cli
from api.judgement_files import export_judgements, import_judgements
from api.labelling import LabelRequest, label_file
from api.store.judgements import JudgementStore, Merged
from critic.readings import Reading
from solon.errors import InvalidInput
from solon.fakes import keyword_judge
from solon.settings import Settings
from tests.integration.service import FakeModels

ROOT = Path(__file__).parents[3]
READING = Reading(0.123456789012345, 0.99, prompt_tokens=300, completion_tokens=1)
WRITER = """
import hashlib, itertools, sys
from pathlib import Path
from api.store.judgements import JudgementStore
from critic.readings import Reading
own = float(sys.argv[2])
with JudgementStore(Path(sys.argv[1])) as cache:
    for i in itertools.count() if sys.argv[3] == "endless" else range(int(sys.argv[3])):
        key = hashlib.sha256(str(i).encode()).hexdigest()
        print(key, cache.put(key, Reading(own, 1.0)).p_first, flush=True)
"""


def key(of: object) -> str:
    return hashlib.sha256(str(of).encode()).hexdigest()


@dataclass
class Writer:
    """A process that puts readings of its own under keys that all writers share, and says what was kept."""

    child: subprocess.Popen[bytes]
    output: Path

    def wait_for(self, lines: int) -> None:
        """Until it has said so much."""
        deadline = time.monotonic() + 60
        while self.output.read_bytes().count(b"\n") < lines:
            assert self.child.poll() is None, f"it ended with {self.child.returncode}"
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def kill(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        assert self.child.wait(60) == -signal.SIGKILL

    def told(self) -> dict[str, float]:
        """What it was told is kept, without a line that its end cut short."""
        whole = self.output.read_text().rpartition("\n")[0].splitlines()
        return {found: float(p) for found, p in (line.split(" ") for line in whole)}


def writer(path: Path, own: float, count: str) -> Writer:
    output = path.with_name(f"said-{own}.txt")
    with output.open("wb") as file:
        command = [sys.executable, "-c", WRITER, str(path), str(own), count]
        return Writer(subprocess.Popen(command, cwd=ROOT, stdout=file), output)


def test_a_reading_is_found_again_exactly(tmp_path: Path):
    path = tmp_path / "deep" / "judgements.db"
    with JudgementStore(path) as cache:
        assert cache.put(key("k"), READING) == READING
    with JudgementStore(path) as again:
        assert again.get(key("k")) == READING
        assert again.get(key("other")) is None
        assert len(again) == 1


def test_threads_of_one_process_share_a_cache(tmp_path: Path):
    def work(own: int) -> list[Reading]:
        return [cache.put(key(i), Reading(own / 8, 1.0)) for i in range(100)]

    with JudgementStore(tmp_path / "c.db") as cache, ThreadPoolExecutor(8) as pool:
        told = list(pool.map(work, range(8)))
        kept = [cache.get(key(i)) for i in range(100)]
    assert all(each == kept for each in told)


def test_processes_agree_and_one_that_is_killed_loses_nothing(tmp_path: Path):
    path = tmp_path / "c.db"
    doomed = [writer(path, own, "endless") for own in (0.1, 0.2)]
    finishing = [writer(path, own, "600") for own in (0.3, 0.4)]
    for each in doomed:
        each.wait_for(100)
        each.kill()
    assert [each.child.wait(60) for each in finishing] == [0, 0]
    with JudgementStore(path) as cache:
        kept = {name: reading.p_first for name, reading in cache.items()}
    told = [each.told() for each in (*doomed, *finishing)]
    assert [len(each) >= 100 for each in told] == [True] * 4
    for each in told:  # everybody was told the same, and it is there
        assert each.items() <= kept.items()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_torn_log_costs_only_what_was_in_the_torn_part(tmp_path: Path):
    path = tmp_path / "c.db"
    child = writer(path, 0.5, "endless")
    child.wait_for(50)
    child.kill()
    log = path.with_name("c.db-wal")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 1000)
    with JudgementStore(path) as cache:
        assert len(cache) >= len(child.told()) - 1
        cache.put(key("after"), READING)
    with JudgementStore(path) as again:
        assert again.get(key("after")) == READING


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    judge = "models.far-judge={kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}"
    return Settings.load(overrides=[judge, f"artifacts={tmp_path / 'artifacts'}"], environment={})


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = ({"prompt": f"Question {i}?", "completions": [f"a good day {i}", f"a bad day {i}"]} for i in range(12))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


async def labelled(rows: Path, out: Path, settings: Settings, cache: Path | None = None) -> tuple[int, bytes]:
    """How many calls the judge got, and the bytes of the dataset with all that lies beside it."""
    model = keyword_judge(["good"], ["bad"])
    models = FakeModels(far_judge=model)
    await label_file(rows, out, LabelRequest("civic", "far-judge", cache=cache), settings, lambda _: None, models)
    return model.calls, b"".join(path.read_bytes() for path in sorted(out.parent.iterdir()))


async def test_a_replayed_job_asks_nothing_and_writes_the_same_bytes(rows: Path, tmp_path: Path, settings: Settings):
    calls, written = await labelled(rows, tmp_path / "one" / "pairs.jsonl", settings)
    again, rewritten = await labelled(rows, tmp_path / "two" / "pairs.jsonl", settings)
    assert (calls > 100, again) == (True, 0)
    assert written == rewritten


async def test_an_exported_cache_replays_the_job_elsewhere(rows: Path, tmp_path: Path, settings: Settings):
    _, written = await labelled(rows, tmp_path / "one" / "pairs.jsonl", settings)
    here, there = settings.judgements(), tmp_path / "elsewhere" / "c.db"
    assert here is not None
    with JudgementStore(here) as cache, JudgementStore(there) as other:
        count = export_judgements(cache, tmp_path / "kept.jsonl")
        assert import_judgements(other, tmp_path / "kept.jsonl") == Merged(added=count)
        assert import_judgements(other, tmp_path / "kept.jsonl") == Merged(known=count)
        export_judgements(other, tmp_path / "again.jsonl")
    assert (tmp_path / "kept.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    calls, rewritten = await labelled(rows, tmp_path / "two" / "pairs.jsonl", settings, there)
    assert (calls, rewritten) == (0, written)


async def test_servers_with_one_model_name_are_told_apart_unless_a_revision_says_they_are_one(
    rows: Path, tmp_path: Path, settings: Settings
):
    entry, artifacts = "{{kind: judge, engine: openai, endpoint: 'http://127.0.0.1:{}/v1'{}}}", settings.artifacts

    async def calls(port: int, more: str) -> int:
        registered = f"models.far-judge={entry.format(port, more)}"
        found = Settings.load(overrides=[registered, f"artifacts={artifacts}"], environment={})
        return (await labelled(rows, tmp_path / "out" / "pairs.jsonl", found))[0]

    assert [await calls(7, "") > 0, await calls(8, "") > 0] == [True, True]
    assert [await calls(7, ", revision: r1") > 0, await calls(8, ", revision: r1")] == [True, 0]


async def test_the_cache_can_be_turned_off(rows: Path, tmp_path: Path, settings: Settings):
    off = settings.model_copy(update={"cache": "off"})
    first, _ = await labelled(rows, tmp_path / "one" / "pairs.jsonl", off)
    second, _ = await labelled(rows, tmp_path / "two" / "pairs.jsonl", off)
    assert first == second > 0
    assert not settings.artifacts.exists()


def test_another_answer_to_a_known_question_is_counted_and_not_taken(tmp_path: Path):
    with JudgementStore(tmp_path / "c.db") as cache:
        cache.put(key("k"), READING)
        assert cache.merge([(key("k"), Reading(0.9, 1.0)), (key("new"), READING)]) == Merged(added=1, differing=1)
        assert cache.get(key("k")) == READING


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"p_first": 0.5, "label_mass": 1}', f'{{"key": "{key(1)}", "p_first": 2, "label_mass": 1}}']
)
def test_a_line_that_is_no_judgement_is_named_and_nothing_is_added(tmp_path: Path, line: str):
    good = f'{{"key": "{key(0)}", "p_first": 0.5, "label_mass": 1}}\n'
    (tmp_path / "in.jsonl").write_text(good + line + "\n")
    with JudgementStore(tmp_path / "c.db") as cache:
        with pytest.raises(InvalidInput) as refused:
            import_judgements(cache, tmp_path / "in.jsonl")
        assert len(cache) == 0
    assert refused.value.field == f"{tmp_path / 'in.jsonl'}:2"


@pytest.mark.parametrize("content", [b'{"key": "..."}\n' * 100, b""])
def test_a_file_that_is_no_cache_is_left_alone(tmp_path: Path, content: bytes):
    path = tmp_path / "other.db"
    if content:
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="not a judgement cache"):
        JudgementStore(path)
    assert path.read_bytes() == before


def test_a_cache_that_cannot_be_opened_says_so(tmp_path: Path):
    with pytest.raises(InvalidInput, match="judgement cache"):
        JudgementStore(tmp_path)


def solon(*arguments: str, folder: Path) -> Result:
    return CliRunner().invoke(cli.app, ["--set", f"artifacts={folder}", "cache", *arguments])


def test_the_commands_say_what_there_is(tmp_path: Path):
    with JudgementStore(tmp_path / "judgements.db") as cache:
        for i in range(3):
            cache.put(key(i), READING)
    found = json.loads(solon("stats", "--json", folder=tmp_path).stdout)
    assert (found["judgements"], found["prompt_tokens"], found["completion_tokens"]) == (3, 900, 3)
    assert "3 judgements" in solon("export", str(tmp_path / "out.jsonl"), folder=tmp_path).stdout
    told = solon("import", str(tmp_path / "out.jsonl"), folder=tmp_path / "new").stdout
    assert told.startswith("3 added, 0 known")
    assert "3 judgements" in solon("stats", folder=tmp_path / "new").stdout
    missing = solon("stats", folder=tmp_path / "nowhere")
    assert missing.exit_code != 0
    assert "no judgement cache" in str(missing.exception)
