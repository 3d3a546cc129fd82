"""Engines with a real child process: one for all local models, gone with us, honest about what fails."""

import asyncio
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from api.engines import Engines, LocalServer, child_environment
from api.vllm import native_dtype, vllm_command, vllm_environment
from solon.errors import Conflict, InvalidInput, ModelUnavailable, NotFound
from solon.records import Message
from solon.settings import ModelEntry, Settings

HELLO = (Message(role="user", content="the inner"),)


@pytest.fixture
def settings(tiny_model_dir: Path) -> Settings:
    entries = {
        "one": ModelEntry(kind="policy", path=str(tiny_model_dir)),
        "two": ModelEntry(kind="judge", path=str(tiny_model_dir)),
        "broken": ModelEntry(kind="policy", path="/nowhere"),
        "far": ModelEntry(kind="judge", engine="openai", endpoint="http://127.0.0.1:9/v1"),
        "big": ModelEntry(kind="judge", engine="vllm", path=str(tiny_model_dir)),
    }
    return Settings(models=entries)


def children() -> set[int]:
    """Process ids of our children that are not zombies."""
    listed = (file.read_text() for file in Path(f"/proc/{os.getpid()}/task").glob("*/children"))
    return {int(pid) for text in listed for pid in text.split() if not gone(int(pid))}


def gone(pid: int) -> bool:
    """Whether no such process runs (a zombie does not)."""
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] in {"Z", "X"}


async def soon(pid: int) -> bool:
    for _ in range(600):
        if gone(pid):
            return True
        await asyncio.sleep(0.1)
    return False


@pytest.mark.e2e
async def test_local_models_share_one_child_that_ends_with_us(settings: Settings, tiny_model_dir: Path):
    before = children()
    async with Engines(settings) as engines:
        await engines.serve({"aligned": tiny_model_dir})
        one, two, aligned = [await engines.chat(name) for name in ("one", "two", "aligned")]
        (child,) = children() - before
        replies = [await chat.complete(HELLO, max_tokens=5, n=2, seed=1, temperature=1) for chat in (one, two, aligned)]
        assert len({reply.choices for reply in replies}) == 1
        assert len(replies[0].choices) == 2
        first = (await two.complete(HELLO, max_tokens=1, top_logprobs=20)).choices[0].first_token
        assert len(first) == 20
        assert await engines.chat("one") is one
        with pytest.raises(NotFound):
            await engines.chat("broken")
        with pytest.raises(NotFound, match="registered"):
            await engines.chat("unheard-of")
        with pytest.raises(ModelUnavailable, match="no endpoint"):
            await engines.chat("big")
        assert (await one.complete(HELLO, max_tokens=1)).choices
    assert gone(child)


@pytest.mark.e2e
async def test_a_child_that_dies_makes_the_model_unavailable(tiny_model_dir: Path):
    async with LocalServer() as server:
        child = server._child  # pyright: ignore[reportPrivateUsage]
        assert child is not None
        await server.load("tiny", tiny_model_dir)
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        with pytest.raises(ModelUnavailable, match="ended"):
            await server.load("another", tiny_model_dir)


@pytest.mark.e2e
async def test_no_server_outlives_the_process_that_wanted_it(tmp_path: Path):
    script = (
        "import asyncio, os\nfrom api.engines import LocalServer\n"
        "async def main():\n    async with LocalServer() as server:\n"
        "        print(server._child.pid, flush=True)\n        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    out, _ = await parent.communicate()
    assert await soon(int(out))


@pytest.mark.e2e
async def test_the_server_command_serves_until_sigterm(tiny_model_dir: Path):
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trainer.server", "--model", f"tiny={tiny_model_dir}"),
        stdout=subprocess.PIPE,
        env=child_environment(),
    )
    assert server.stdout is not None
    assert b'"listening"' in await server.stdout.readline()
    server.terminate()
    assert await asyncio.wait_for(server.wait(), 60) == 0


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x=/nowhere"], "holds no model"),
        (["--control", "--host", "0.0.0.0"], "can be reached from elsewhere"),
        (["--control", "--api-key-env", "NO_SUCH_KEY"], "is not set"),
    ],
)
async def test_a_server_that_cannot_start_says_why_in_one_line(arguments: list[str], message: str):
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trainer.server", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await server.communicate()
    assert message in out.decode()
    assert message in err.decode()
    assert "Traceback" not in err.decode()
    assert server.returncode == 2


async def test_an_endpoint_is_connected_to_without_any_child(settings: Settings):
    before = children()
    async with Engines(settings) as engines:
        chat = await engines.chat("far")
        assert (chat.name, chat.model) == ("far", "far")
        assert children() == before


async def test_a_name_is_served_once(settings: Settings, tiny_model_dir: Path, tmp_path: Path):
    async with Engines(settings) as engines:
        await engines.serve({"new": tiny_model_dir})
        await engines.serve({"new": tiny_model_dir})
        with pytest.raises(Conflict):
            await engines.serve({"new": tmp_path})
        with pytest.raises(Conflict):
            await engines.serve({"one": tiny_model_dir})


def test_vllm_is_started_with_what_the_judge_relies_on(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    entry = ModelEntry(kind="judge", engine="vllm", path=str(tiny_model_dir), api_key_env="JUDGE_KEY")
    command = vllm_command("judge", entry, port=8001, max_model_len=512, dtype="float32")
    assert command[:3] == ["vllm", "serve", str(tiny_model_dir)]
    assert "--enable-prefix-caching" in command
    options = dict(pairwise(command))
    assert int(options["--max-logprobs"]) >= 20
    assert (options["--served-model-name"], options["--port"], options["--dtype"]) == ("judge", "8001", "float32")
    assert options["--max-model-len"] == "512"
    assert "secret" not in " ".join(command)
    assert vllm_environment(entry)["VLLM_API_KEY"] == "secret"


def test_a_server_that_is_to_take_adapters_is_started_so(tiny_model_dir: Path):
    entry = ModelEntry(kind="policy", engine="vllm", path=str(tiny_model_dir), adapters="/shared/adapters")
    command = vllm_command("policy", entry, port=1, dtype="auto")
    assert command[command.index("--enable-lora") + 1 :][:2] == ["--max-lora-rank", "64"]
    assert vllm_environment(entry)["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    plain = entry.model_copy(update={"adapters": None})
    assert "--enable-lora" not in vllm_command("policy", plain, port=1, dtype="auto")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in vllm_environment(plain)


def test_an_adapter_alone_is_merged_before_vllm_serves_it(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text("{}")
    entry = ModelEntry(kind="policy", path=str(tmp_path))
    with pytest.raises(InvalidInput, match="whole weights") as caught:
        vllm_command("mine", entry, port=1)
    assert "solon model merge" in caught.value.remedy


def test_a_hub_model_is_served_at_its_revision():
    entry = ModelEntry(kind="judge", engine="vllm", endpoint="http://h/v1", model="org/name", revision="abc")
    command = vllm_command("judge", entry, port=1, dtype="auto")
    assert command[2] == "org/name"
    assert command[command.index("--revision") + 1] == "abc"


@pytest.mark.parametrize(
    ("flags", "dtype"), [("fma avx2", "float32"), ("avx2 avx512f avx512_bf16", "auto"), ("amx_bf16 avx2", "auto")]
)
def test_the_precision_is_the_hardwares_own(tmp_path: Path, flags: str, dtype: str):
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    assert native_dtype(tmp_path / "cpuinfo", gpu=tmp_path / "none") == dtype
    (tmp_path / "gpu").touch()
    assert native_dtype(tmp_path / "cpuinfo", gpu=tmp_path / "gpu") == "auto"
