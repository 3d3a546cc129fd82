"""Real vLLM and our local server are interchangeable: the same prompts get the same verdicts and the same texts.

`install_vllm.sh` makes the environment. Where vLLM cannot run the tests are skipped with the reason; .ci/run fails when
the installation does.
"""

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from api.engines import LocalServer
from api.vllm import vllm_command, vllm_environment
from constitution.document import load
from critic.judge import Judge
from critic.pipeline import label
from solon.chat import ChatModel, OpenAIChat
from solon.errors import ModelUnavailable
from solon.records import Completion, Message, PreferencePair, Prompt, Vote
from solon.rows import Row
from solon.settings import ModelEntry, Settings
from trainer.starter.world import prompts

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
VLLM = ROOT / os.environ.get("TEST_VLLM_ENV", ".vllm-env") / "bin" / "vllm"
START_S = 600
KEY = "a key of the test"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The built-in models, served with a key."""
    if not VLLM.exists():
        pytest.skip(f"no vLLM at {VLLM}: run tests/integration/install_vllm.sh, which says why if it cannot be had")
    monkeypatch.setenv("TEST_VLLM_KEY", KEY)
    return Settings.load(environment={})


@asynccontextmanager
async def served(name: str, entry: ModelEntry, log: Path, *more: str) -> AsyncGenerator[ModelEntry]:
    """The entry as a vLLM endpoint, for the length of the block; `more` are arguments of vLLM's."""
    keyed = entry.model_copy(update={"api_key_env": "TEST_VLLM_KEY"})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*vllm_command(name, keyed, port=port, executable=str(VLLM), dtype="float32"), *more]
    with log.open("wb") as out:
        server = await asyncio.create_subprocess_exec(
            *command, stdout=out, stderr=subprocess.STDOUT, env=vllm_environment(keyed), start_new_session=True
        )
    try:
        await _ready(port, server, log)
        endpoint = f"http://127.0.0.1:{port}/v1"
        yield keyed.model_copy(update={"engine": "vllm", "endpoint": endpoint, "timeout_s": 300.0})
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


async def _ready(port: int, server: asyncio.subprocess.Process, log: Path) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        for _ in range(START_S):
            if server.returncode is not None:
                break
            try:
                if (await http.get(f"http://127.0.0.1:{port}/health")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(1)
    pytest.fail(f"vLLM did not start:\n{log.read_text()[-4000:]}")


def _prompt(id: str, text: str) -> Prompt:
    return Prompt(id=id, messages=(Message(role="user", content=text),))


async def labelled(rows: Sequence[Row], chat: ChatModel) -> list[PreferencePair]:
    """The pairs of rows with two completions each, under the civic constitution."""
    constitution = load("civic")
    judge = Judge(chat)
    items = [item async for item in label(rows, constitution=constitution, judge=judge, min_coverage=0)]
    assert all(isinstance(item, PreferencePair) for item in items)
    return [item for item in items if isinstance(item, PreferencePair)]


def votes(pairs: Sequence[PreferencePair]) -> dict[tuple[str, str, str], Vote]:
    """Every judge call, by pair, principle and order."""
    return {(p.prompt.id, v.principle, vote.order): vote for p in pairs for v in p.verdicts for vote in v.votes}


async def test_labels_through_vllm_agree_with_the_local_server(settings: Settings, tmp_path: Path):
    asked = [_prompt(question.id, question.text) for question in prompts("eval")[::9][:24]]
    policy, judge = settings.model("starter"), settings.model("starter-judge")
    async with served("starter", policy, tmp_path / "policy.log") as entry:
        async with OpenAIChat("starter", str(entry.endpoint), "starter", KEY, timeout_s=300) as chat:
            rows = [await _row(prompt, chat) for prompt in asked]
            greedy = [await _greedy(prompt, chat) for prompt in asked]
        async with OpenAIChat("starter", str(entry.endpoint), "starter", "wrong") as chat:
            with pytest.raises(ModelUnavailable, match="401"):
                await _greedy(asked[0], chat)
    rows = [row for row in rows if row.completions[0].text != row.completions[1].text]
    async with (
        served("starter-judge", judge, tmp_path / "judge.log") as entry,
        OpenAIChat("starter-judge", str(entry.endpoint), "starter-judge", KEY, timeout_s=300) as chat,
    ):
        through_vllm = await labelled(rows, chat)
    async with LocalServer("float32") as server:
        await server.load("starter", policy.directory())
        await server.load("starter-judge", judge.directory())
        async with (
            OpenAIChat("starter", server.endpoint, "starter") as local_policy,
            OpenAIChat("starter-judge", server.endpoint, "starter-judge") as local_judge,
        ):
            local = await labelled(rows, local_judge)
            same_text = [await _greedy(prompt, local_policy) for prompt in asked]
    agreement = _agreement(votes(through_vllm), votes(local))
    print(f"\n{len(votes(local))} judge calls: {agreement:.1%} within 0.03")  # noqa: T201 - the number this is for
    assert agreement >= 0.99
    assert [pair.status for pair in through_vllm] == [pair.status for pair in local]
    assert sum(a == b for a, b in zip(greedy, same_text, strict=True)) >= 0.9 * len(greedy)


async def _row(prompt: Prompt, chat: ChatModel) -> Row:
    """The prompt with two completions."""
    reply = await chat.complete(prompt.messages, max_tokens=64, n=2, temperature=1.0, seed=1)
    return Row(prompt=prompt, completions=tuple(Completion(text=choice.text) for choice in reply.choices))


async def _greedy(prompt: Prompt, chat: ChatModel) -> str:
    return (await chat.complete(prompt.messages, max_tokens=48)).choices[0].text


def _agreement(theirs: dict[tuple[str, str, str], Vote], ours: dict[tuple[str, str, str], Vote]) -> float:
    """Share of judge calls with the same status and P(first) within 0.03."""
    assert theirs.keys() == ours.keys()
    assert len(ours) > 100
    same = [
        theirs[key].status == ours[key].status and abs((theirs[key].p_first or 0) - (ours[key].p_first or 0)) <= 0.03
        for key in ours
    ]
    return sum(same) / len(same)
