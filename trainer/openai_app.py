"""A small OpenAI-compatible server over `trainer.sampling`: several models, batching across requests, bounded queue.

GET  /health              GET /v1/models
POST /v1/chat/completions POST /v1/completions      fields: `openai_requests`; any other field is a 400 naming it
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.routing import Route

from solon.errors import Busy, SolonError, UsageError
from trainer.batcher import Batcher
from trainer.decoding import Sampling
from trainer.language_model import LanguageModel
from trainer.openai_replies import chat_completion, text_completion
from trainer.openai_requests import ChatCompletionRequest, CompletionRequest, SamplingFields
from trainer.sampling import Generation, Request

BodyT = TypeVar("BodyT", ChatCompletionRequest, CompletionRequest)
T = TypeVar("T")

_LARGEST_BODY = 16 << 20
_LONG_TEXT = 20_000  # characters; longer texts are tokenized off the event loop


class ApiError(Exception):
    """A reply that is an error, in OpenAI's shape."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def response(self, headers: dict[str, str] | None = None) -> JSONResponse:
        """As HTTP."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "server_error"
        body = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": body}, self.status, headers)


@dataclass(frozen=True)
class Service:
    """What the routes work with."""

    batchers: Mapping[str, Batcher]
    api_key: str | None
    started: int

    def batcher(self, name: str) -> Batcher:
        """The model of that name."""
        if name not in self.batchers:
            known = ", ".join(self.batchers)
            raise ApiError(404, f"The model `{name}` does not exist; here: {known}", param="model", code="not_found")
        return self.batchers[name]


def application(batchers: Mapping[str, Batcher], *, api_key: str | None = None) -> Starlette:
    """The ASGI application over running batchers; models may be added to the mapping later."""
    service = Service(batchers, api_key, int(time.time()))
    return Starlette(
        routes=[
            Route("/health", _route(service, _health, public=True)),
            Route("/v1/models", _route(service, _models)),
            Route("/v1/chat/completions", _route(service, _chat), methods=["POST"]),
            Route("/v1/completions", _route(service, _complete), methods=["POST"]),
        ],
    )


Handler = Callable[[Service, HttpRequest], Awaitable[dict[str, Any]]]


def _route(
    service: Service, handler: Handler, *, public: bool = False
) -> Callable[[HttpRequest], Awaitable[JSONResponse]]:
    async def endpoint(request: HttpRequest) -> JSONResponse:
        try:
            if not public:
                _authorize(service, request)
            return JSONResponse(await handler(service, request))
        except ApiError as error:
            return error.response()
        except Busy as error:
            headers = {"Retry-After": f"{error.retry_after_s:.0f}"}
            return ApiError(429, error.message, code="queue_full").response(headers)
        except SolonError as error:
            status = 400 if isinstance(error, UsageError) else 503
            return ApiError(status, str(error), param=error.field).response()

    return endpoint


def _authorize(service: Service, request: HttpRequest) -> None:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if service.api_key is not None and not hmac.compare_digest(given.encode(), service.api_key.encode()):
        raise ApiError(401, "The API key is missing or wrong", code="invalid_api_key")


async def _health(service: Service, _: HttpRequest) -> dict[str, Any]:
    return {"status": "ok", "models": list(service.batchers)}


async def _models(service: Service, _: HttpRequest) -> dict[str, Any]:
    data = [
        {
            "id": name,
            "object": "model",
            "created": service.started,
            "owned_by": "solon",
            "max_model_len": batcher.model.context,
        }
        for name, batcher in service.batchers.items()
    ]
    return {"object": "list", "data": data}


async def _chat(service: Service, http: HttpRequest) -> dict[str, Any]:
    body = await _body(http, ChatCompletionRequest)
    batcher = service.batcher(body.model)
    model = batcher.model
    turns = [{"role": message.role, "content": message.content} for message in body.messages]
    prompt = await _tokenized(lambda: model.encode_chat(turns), sum(len(turn["content"]) for turn in turns))
    left = model.context - len(prompt)
    asked = body.max_completion_tokens or body.max_tokens
    _require_room(model, len(prompt), asked or 1)
    top = (body.top_logprobs or 0) if body.logprobs else None
    requests = _requests(model, prompt, body, asked or left, top)
    generations = await _unless_gone(http, batcher.generate(requests))
    return chat_completion(model, prompt, generations)


async def _complete(service: Service, http: HttpRequest) -> dict[str, Any]:
    body = await _body(http, CompletionRequest)
    batcher = service.batcher(body.model)
    model = batcher.model
    prompts = [await _encoded(model, prompt) for prompt in body.prompts]
    for prompt in prompts:
        _require_room(model, len(prompt), body.max_tokens)
    wanted = len(prompts) * (body.n + body.echo)
    if wanted > batcher.max_outstanding:
        raise ApiError(400, f"{wanted} sequences in one request; at most {batcher.max_outstanding}", param="prompt")
    scores = None
    if body.echo:
        scores = await _unless_gone(http, batcher.score(prompts, body.logprobs or 0))
    generations: list[list[Generation]] = [[] for _ in prompts]
    if body.max_tokens:
        requests = [r for prompt in prompts for r in _requests(model, prompt, body, body.max_tokens, body.logprobs)]
        flat = await _unless_gone(http, batcher.generate(requests))
        generations = [flat[i * body.n : (i + 1) * body.n] for i in range(len(prompts))]
    return text_completion(model, prompts, generations, scores, body.logprobs)


async def _body(http: HttpRequest, kind: type[BodyT]) -> BodyT:
    """The validated body; the first problem is named."""
    received = bytearray()
    async for chunk in http.stream():
        received += chunk
        if len(received) > _LARGEST_BODY:
            raise ApiError(413, f"The body is larger than {_LARGEST_BODY >> 20} MiB")
    try:
        return kind.model_validate_json(bytes(received))
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
        where = ".".join(str(part) for part in problem["loc"]) or None
        if problem["type"] == "extra_forbidden":
            raise ApiError(
                400, f"`{where}` is not supported by this server", param=where, code="unsupported"
            ) from error
        message = problem["msg"].removeprefix("Value error, ")
        raise ApiError(400, f"{where}: {message}" if where else message, param=where) from error


async def _tokenized(encode: Callable[[], list[int]], characters: int) -> list[int]:
    return await asyncio.to_thread(encode) if characters > _LONG_TEXT else encode()


async def _encoded(model: LanguageModel, prompt: str | list[int]) -> list[int]:
    if isinstance(prompt, str):
        tokens = await _tokenized(lambda: model.encode(prompt), len(prompt))
        if not tokens:
            raise ApiError(400, "The prompt is empty", param="prompt")
        return tokens
    if max(prompt) >= model.vocabulary:
        raise ApiError(400, f"Token {max(prompt)} is not in the vocabulary of {model.vocabulary}", param="prompt")
    return prompt


def _require_room(model: LanguageModel, prompt: int, completion: int) -> None:
    """Refuse what does not fit the context: nothing is ever cut."""
    if prompt + completion > model.context:
        raise ApiError(
            400,
            f"This model's maximum context length is {model.context} tokens. However, you requested {completion} "
            f"output tokens and your prompt contains {prompt} input tokens. Please reduce the length of either.",
            param="messages",
            code="context_length_exceeded",
        )


def _requests(
    model: LanguageModel, prompt: Sequence[int], body: SamplingFields, max_tokens: int, top: int | None
) -> list[Request]:
    """The n completions that the body asks for."""
    outside = [token for token in body.bias if token >= model.vocabulary]
    if outside:
        message = f"logit_bias: token {outside[0]} is not in the vocabulary of {model.vocabulary}"
        raise ApiError(400, message, param="logit_bias")
    choices = body.structured_outputs.choice if body.structured_outputs else []
    constraint = tuple(tuple(model.encode_plain(choice)) for choice in choices)
    return [
        Request(
            tuple(prompt),
            Sampling(
                max_tokens=max_tokens,
                temperature=body.temperature,
                top_p=body.top_p,
                seed=body.seed,
                index=index,
                stop=body.stops,
                logit_bias=body.bias,
                choices=constraint,
                top_logprobs=top,
            ),
        )
        for index in range(body.n)
    ]


async def _unless_gone(http: HttpRequest, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client goes away."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(http))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, "The client is gone")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
