"""OpenAI-shaped replies to the requests of `openai_requests`."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from trainer.decoding import TokenLogprobs
from trainer.language_model import LanguageModel
from trainer.sampling import Generation

Json = dict[str, Any]


def chat_completion(model: LanguageModel, prompt: Sequence[int], generations: Sequence[Generation]) -> Json:
    """The reply to a chat request: one choice per generation."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": generation.text},
            "finish_reason": generation.finish_reason,
            "logprobs": {"content": [_chat_token(model, entry) for entry in generation.logprobs]}
            if generation.logprobs
            else None,
        }
        for index, generation in enumerate(generations)
    ]
    return _envelope("chat.completion", "chatcmpl", model, choices, len(prompt), generations)


def text_completion(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    generations: Sequence[Sequence[Generation]],
    scores: Sequence[Sequence[TokenLogprobs]] | None,
    logprobs: int | None,
) -> Json:
    """The reply to a plain completion request: the choices of each prompt in turn.

    Args:
        generations: per prompt; empty where nothing was to be written.
        scores: per prompt, where the prompt is echoed.
        logprobs: alternatives per token; None leaves log-probabilities out.
    """
    choices: list[Json] = []
    for number, prompt in enumerate(prompts):
        echoed = tuple(scores[number]) if scores is not None else ()
        before = model.decode(prompt) if scores is not None else ""
        for generation in generations[number] or [Generation("", (), "length")]:
            entries = (*echoed, *generation.logprobs)
            choices.append(
                {
                    "index": len(choices),
                    "text": before + generation.text,
                    "finish_reason": generation.finish_reason,
                    "logprobs": None if logprobs is None else _text_logprobs(model, entries, logprobs),
                }
            )
    written = [generation for several in generations for generation in several]
    return _envelope("text_completion", "cmpl", model, choices, sum(map(len, prompts)), written)


def _envelope(
    kind: str, prefix: str, model: LanguageModel, choices: list[Json], read: int, generations: Sequence[Generation]
) -> Json:
    written = sum(len(generation.tokens) for generation in generations)
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model.name,
        "choices": choices,
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def _chat_token(model: LanguageModel, entry: TokenLogprobs) -> Json:
    return {
        **_spelt(model, entry.token, entry.logprob),
        "top_logprobs": [_spelt(model, token, logprob) for token, logprob in entry.top],
    }


def _spelt(model: LanguageModel, token: int, logprob: float | None) -> Json:
    text = model.spell(token)
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _text_logprobs(model: LanguageModel, entries: Sequence[TokenLogprobs], logprobs: int) -> Json:
    tokens = [model.spell(entry.token) for entry in entries]
    offsets = [sum(map(len, tokens[:i])) for i in range(len(tokens))]
    return {
        "tokens": tokens,
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [
            None if entry.logprob is None else {model.spell(token): value for token, value in entry.top[:logprobs]}
            for entry in entries
        ],
        "text_offset": offsets,
    }
