"""The local server over ASGI: OpenAI's shapes, refusals that name the field, a bounded queue, shared batches."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from solon.errors import Busy, Failed
from trainer.batcher import Batcher
from trainer.decoding import Sampling
from trainer.language_model import LanguageModel
from trainer.openai_app import application
from trainer.prefix_cache import PrefixCache
from trainer.sampling import Request, Sampler

Json = dict[str, Any]


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> LanguageModel:
    return LanguageModel.load(tiny_model_dir, "tiny", precision="float32")


@pytest.fixture
def batcher(model: LanguageModel) -> Iterator[Batcher]:
    running = Batcher([Sampler(model)], threading.Lock(), max_outstanding=8, on_death=lambda: None)
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def client(batcher: Batcher) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(application({"tiny": batcher}))
    async with httpx2.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


def asking(text: str = "the ", **fields: Any) -> Json:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **fields}


async def chat(client: httpx2.AsyncClient, **fields: Any) -> Json:
    response = await client.post("/v1/chat/completions", json=asking(**fields))
    assert response.status_code == 200, response.text
    return response.json()


async def refusal(client: httpx2.AsyncClient, path: str, body: Json, status: int = 400) -> Json:
    response = await client.post(f"/v1/{path}", json=body)
    assert response.status_code == status, response.text
    return response.json()["error"]


async def test_the_models_are_listed_with_their_context(client: httpx2.AsyncClient):
    (entry,) = (await client.get("/v1/models")).json()["data"]
    assert (entry["id"], entry["object"], entry["max_model_len"]) == ("tiny", "model", 256)
    assert (await client.get("/health")).json() == {"status": "ok", "models": ["tiny"]}


async def test_a_chat_reply_has_n_choices_that_its_seed_brings_back(client: httpx2.AsyncClient):
    first, second = [await chat(client, n=3, seed=5, max_tokens=7) for _ in range(2)]
    assert [choice["index"] for choice in first["choices"]] == [0, 1, 2]
    assert first["choices"] == second["choices"]
    assert first["usage"]["total_tokens"] == first["usage"]["prompt_tokens"] + first["usage"]["completion_tokens"]
    assert first["object"] == "chat.completion"


async def test_logprobs_come_with_the_alternatives_that_were_asked_for(client: httpx2.AsyncClient):
    reply = await chat(client, max_tokens=1, temperature=0, logprobs=True, top_logprobs=5)
    (entry,) = reply["choices"][0]["logprobs"]["content"]
    assert len(entry["top_logprobs"]) == 5
    assert entry["top_logprobs"][0]["token"] == entry["token"]
    assert entry["logprob"] == entry["top_logprobs"][0]["logprob"] < 0
    assert (await chat(client, max_tokens=1))["choices"][0]["logprobs"] is None


async def test_structured_outputs_and_bias_decide_the_text(client: httpx2.AsyncClient, model: LanguageModel):
    choice = {"structured_outputs": {"choice": ["yes", "no"]}}
    texts = [c["message"]["content"] for c in (await chat(client, n=8, seed=1, **choice))["choices"]]
    assert set(texts) <= {"yes", "no"}
    bias = {str(model.encode("z")[0]): 100}
    assert (await chat(client, max_tokens=3, logit_bias=bias))["choices"][0]["message"]["content"] == "zzz"


async def test_stop_ends_the_text(client: httpx2.AsyncClient, model: LanguageModel):
    bias = {str(model.encode("z")[0]): 100}
    reply = await chat(client, max_tokens=9, logit_bias=bias, stop="zz")
    assert reply["choices"][0]["message"]["content"] == ""
    assert reply["choices"][0]["finish_reason"] == "stop"


async def test_the_template_is_the_tokenizers_and_the_prompt_is_counted(
    client: httpx2.AsyncClient, model: LanguageModel
):
    reply = await chat(client, max_tokens=1)
    assert reply["usage"]["prompt_tokens"] == len(model.encode("<|user|>the <|end|><|assistant|>"))


async def test_echo_scores_a_given_text(client: httpx2.AsyncClient, model: LanguageModel):
    body = {"model": "tiny", "prompt": "the inner", "max_tokens": 0, "echo": True, "logprobs": 2}
    choice = (await client.post("/v1/completions", json=body)).json()["choices"][0]
    (score,) = Sampler(model).score([model.encode("the inner")])
    assert choice["text"] == "the inner"
    assert choice["logprobs"]["token_logprobs"] == pytest.approx([entry.logprob for entry in score], abs=1e-4)
    assert choice["logprobs"]["top_logprobs"][0] is None
    offsets = choice["logprobs"]["text_offset"]
    assert [choice["text"][at:][: len(t)] for at, t in zip(offsets, choice["logprobs"]["tokens"], strict=True)] == (
        choice["logprobs"]["tokens"]
    )


async def test_completions_take_several_prompts_and_tokens(client: httpx2.AsyncClient, model: LanguageModel):
    settings = {"model": "tiny", "max_tokens": 4, "seed": 3, "n": 2, "echo": True, "logprobs": 0}
    texts = await client.post("/v1/completions", json={**settings, "prompt": ["in", "the"]})
    tokens = await client.post(
        "/v1/completions", json={**settings, "prompt": [model.encode("in"), model.encode("the")]}
    )
    choices = texts.json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [choice["text"][:2] for choice in choices] == ["in", "in", "th", "th"]
    assert choices == tokens.json()["choices"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"tools": []}, "tools"),
        ({"stream": True}, "stream"),
        ({"n": 0}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"structured_outputs": {"regex": "a+"}}, "structured_outputs.regex"),
        ({"logit_bias": {"a": 1}}, "logit_bias.a.[key]"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": []}, "messages"),
    ],
)
async def test_what_is_not_honoured_is_refused_by_name(client: httpx2.AsyncClient, fields: Json, named: str):
    error = await refusal(client, "chat/completions", asking() | fields)
    assert error["param"] == named
    assert error["type"] == "invalid_request_error"
    assert named.split(".")[0] in error["message"] or named in error["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"\xff"])
async def test_a_malformed_body_is_a_400(client: httpx2.AsyncClient, body: bytes):
    response = await client.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


async def test_settings_that_exclude_each_other_are_refused(client: httpx2.AsyncClient):
    assert "logprobs" in (await refusal(client, "chat/completions", asking(top_logprobs=2)))["message"]
    both = asking(max_tokens=1, max_completion_tokens=1)
    assert "exclude" in (await refusal(client, "chat/completions", both))["message"]
    assert (
        "echo" in (await refusal(client, "completions", {"model": "tiny", "prompt": "a", "max_tokens": 0}))["message"]
    )


@pytest.mark.parametrize("fields", [{"text": "x" * 300, "max_tokens": 1}, {"max_tokens": 256}])
async def test_what_does_not_fit_the_context_is_refused_and_never_cut(client: httpx2.AsyncClient, fields: Json):
    error = await refusal(client, "chat/completions", asking(**fields))
    assert error["code"] == "context_length_exceeded"
    assert "maximum context length is 256 tokens" in error["message"]


async def test_without_max_tokens_the_context_is_the_limit(client: httpx2.AsyncClient):
    reply = await chat(client, text="x" * 240, seed=2, logit_bias={"1": -100})
    assert reply["usage"]["total_tokens"] == 256
    assert reply["choices"][0]["finish_reason"] == "length"


async def test_an_unknown_model_is_a_404_that_lists_the_known(client: httpx2.AsyncClient):
    error = await refusal(client, "chat/completions", asking() | {"model": "other"}, 404)
    assert "tiny" in error["message"]


async def test_a_full_queue_is_a_429_that_says_when_to_come_back(client: httpx2.AsyncClient):
    response = await client.post("/v1/chat/completions", json=asking(n=9, max_tokens=1))
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["error"]["code"] == "queue_full"
    await chat(client, n=8, max_tokens=1)


async def test_a_key_is_asked_for_everywhere_but_at_health(batcher: Batcher):
    transport = httpx2.ASGITransport(application({"tiny": batcher}, api_key="secret"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://server") as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/v1/models")).status_code == 401
        wrong = {"Authorization": "Bearer secreT"}
        assert (await client.get("/v1/models", headers=wrong)).status_code == 401
        assert (await client.get("/v1/models", headers={"Authorization": "Bearer secret"})).status_code == 200


async def test_requests_that_arrive_together_are_sampled_together(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
):
    sampler = Sampler(replace(model, end_tokens=frozenset()))
    widths: list[int] = []
    original = LanguageModel.hidden
    monkeypatch.setattr(
        LanguageModel,
        "hidden",
        lambda self, **inputs: widths.append(inputs["input_ids"].shape[0]) or original(self, **inputs),
    )
    running = Batcher([sampler], threading.Lock(), max_outstanding=64, on_death=lambda: None)
    waiting = [
        asyncio.create_task(running.generate([Request((5, 6, 7 + i), Sampling(max_tokens=6, seed=i))]))
        for i in range(20)
    ]
    await asyncio.sleep(0)
    running.start()
    await asyncio.gather(*waiting)
    running.stop()
    assert max(widths) == 20


class Meeting(Sampler):
    """Takes its first step when another sampler does."""

    def __init__(self, model: LanguageModel, prefixes: PrefixCache, others: threading.Barrier) -> None:
        super().__init__(model, prefixes=prefixes)
        self._others = others
        self._met = False

    def step(self) -> None:
        if not self._met:
            self._others.wait(timeout=30)
            self._met = True
        super().step()


@pytest.mark.parametrize("max_tokens", [1, 6])
async def test_samplers_of_one_model_share_the_work_and_answer_as_one_would(model: LanguageModel, max_tokens: int):
    endless = replace(model, end_tokens=frozenset())
    requests = [Request((*range(5, 40), 7 + i), Sampling(max_tokens=max_tokens, seed=i)) for i in range(24)]
    prefixes, both = PrefixCache(), threading.Barrier(2)
    samplers = [Meeting(endless, prefixes, both) for _ in range(2)]
    running = Batcher(samplers, threading.Semaphore(2), max_outstanding=64, on_death=lambda: None)
    waiting = [asyncio.create_task(running.generate([request])) for request in requests]
    await asyncio.sleep(0)
    running.start()
    texts = [(await answer)[0].text for answer in waiting]
    running.stop()
    assert texts == [generation.text for generation in Sampler(endless).sample(requests)]


async def test_a_caller_that_goes_away_leaves_its_place(model: LanguageModel):
    running = Batcher([Sampler(model)], threading.Lock(), max_outstanding=1, on_death=lambda: None)
    request = Request((5, 6), Sampling(max_tokens=3, seed=1))
    waiting = asyncio.create_task(running.generate([request]))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await running.generate([request])
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    running.start()
    assert len((await running.generate([request]))[0].tokens) <= 3
    running.stop()


async def test_what_is_open_fails_when_the_server_stops(model: LanguageModel):
    running = Batcher([Sampler(model)], threading.Lock(), max_outstanding=4, on_death=lambda: None)
    waiting = asyncio.create_task(running.generate([Request((5,), Sampling(max_tokens=200, logit_bias={1: -100}))]))
    await asyncio.sleep(0)
    running.start()
    await asyncio.to_thread(running.stop)
    with pytest.raises(Failed, match="stopping"):
        await waiting
    with pytest.raises(Failed, match="stopping"):
        await running.generate([Request((5,))])


async def test_a_crash_while_sampling_fails_the_callers_and_is_reported(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
):
    def crash(_: Sampler) -> None:
        raise RuntimeError("out of memory")

    seen: list[str] = []
    monkeypatch.setattr(Sampler, "step", crash)
    monkeypatch.setattr(threading, "excepthook", lambda crashed: seen.append(str(crashed.exc_value)))
    died = threading.Event()
    running = Batcher([Sampler(model)], threading.Lock(), max_outstanding=4, on_death=died.set)
    running.start()
    with pytest.raises(Failed):
        await running.generate([Request((5,))])
    running.stop()
    assert died.is_set()
    assert seen == ["out of memory"]
