"""A job whose judge goes away: it pauses, says so, and ends with every row labelled."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from api.events import Event
from api.labelling import LabelRequest, label_file
from solon.datasets import read_pairs
from solon.errors import ModelUnavailable
from solon.settings import Settings
from tests.unit.api.http_server import serving

ROWS = 12


class JudgeServer:
    """Prefers completions with "good"; answers 503 for a while after its tenth answer."""

    def __init__(self, down_s: float) -> None:
        self.answered = 0
        self.refused = 0
        self._down_s = down_s
        self._back_at: float | None = None

    async def chat(self, request: Request) -> JSONResponse:
        """A one-token reply with its log-probabilities."""
        now = asyncio.get_running_loop().time()
        if self.answered >= 10:
            self._back_at = self._back_at or now + self._down_s
            if now < self._back_at:
                self.refused += 1
                return JSONResponse({"error": {"message": "restarting"}}, status_code=503)
        self.answered += 1
        body: dict[str, Any] = await request.json()
        first_is_good = "good" in body["messages"][-1]["content"].split("[/A ")[0]
        better, worse = ("A", "B") if first_is_good else ("B", "A")
        top = [{"token": better, "logprob": -0.1}, {"token": worse, "logprob": -2.4}]
        choice = {"message": {"content": better}, "logprobs": {"content": [{"top_logprobs": top}]}}
        return JSONResponse({"choices": [choice]})

    @property
    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])


def rows(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    lines = ({"prompt": f"Q{i}", "response_a": f"good {i}", "response_b": f"bad {i}"} for i in range(ROWS))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def settings(endpoint: str, patience_s: float) -> Settings:
    entry = f"models.far={{kind: judge, engine: openai, endpoint: '{endpoint}', max_concurrency: 8}}"
    return Settings.load(overrides=[entry, f"limits.patience_s={patience_s}"], environment={})


async def test_a_job_pauses_and_resumes_and_labels_every_row(tmp_path: Path):
    server, events = JudgeServer(down_s=1.2), list[Event]()
    out = tmp_path / "out.jsonl"
    async with serving(server.app) as endpoint:
        request = LabelRequest("civic", "far")
        summary = await label_file(rows(tmp_path), out, request, settings(endpoint, 60.0), events.append)
    assert summary["statuses"] == {"ok": ROWS}
    assert all(vote.p_first is not None for pair in read_pairs(out) for v in pair.verdicts for vote in v.votes)
    assert [event.type for event in events if event.type in ("paused", "resumed")] == ["paused", "resumed"]
    # Those in flight found out for themselves; then one request at a time asked whether the judge was back.
    assert server.refused <= 8 + 4


async def test_patience_ends(tmp_path: Path):
    server = JudgeServer(down_s=600.0)
    async with serving(server.app) as endpoint:
        with pytest.raises(ModelUnavailable):
            await label_file(
                rows(tmp_path),
                tmp_path / "o.jsonl",
                LabelRequest("civic", "far"),
                settings(endpoint, 0.8),
                lambda _: None,
            )
    assert not (tmp_path / "o.jsonl").exists()
    assert server.refused <= 8 + 4
