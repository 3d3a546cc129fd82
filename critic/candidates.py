"""The completions a policy writes for one prompt, each with its own seed, screened before anyone judges them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from critic.concurrency import together
from solon.chat import ChatModel, PromptTooLong, RequestFailed, RequestTimedOut
from solon.records import Completion, Discard, Prompt
from solon.seeds import counter_seed


@dataclass(frozen=True)
class Sampling:
    """How candidates are sampled."""

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    keep_cut: bool = False
    """Whether a completion that ran into `max_tokens` is kept (and flagged) or discarded."""


async def generate(
    policy: ChatModel, prompt: Prompt, n: int, *, seed: int, sampling: Sampling
) -> tuple[tuple[Completion, ...], tuple[Discard, ...]]:
    """`n` completions of one prompt, less those that could not be had, and a reason for each of these.

    Completion i is asked for on its own, with a seed that depends on (seed, prompt id, i) only, so it is the same
    whatever else runs. Raises ModelUnavailable when the policy cannot be reached.
    """
    results = await together(_one(policy, prompt, counter_seed(seed, prompt.id, i), sampling) for i in range(n))
    return (
        tuple(each for each in results if isinstance(each, Completion)),
        tuple(each for each in results if isinstance(each, Discard)),
    )


async def _one(policy: ChatModel, prompt: Prompt, seed: int, sampling: Sampling) -> Completion | Discard:
    try:
        reply = await policy.complete(
            prompt.messages,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=seed,
        )
    except PromptTooLong as error:
        return Discard(prompt_id=prompt.id, reason="prompt_too_long", detail=error.message)
    except RequestTimedOut as error:
        return Discard(prompt_id=prompt.id, reason="generation_timed_out", detail=error.message)
    except RequestFailed as error:
        return Discard(prompt_id=prompt.id, reason="generation_failed", detail=error.message)
    choice = reply.choices[0]
    if choice.finish_reason == "content_filter":
        return Discard(prompt_id=prompt.id, reason="generation_filtered", detail="the server withheld the text")
    finish: Literal["length", "stop"] = "length" if choice.finish_reason == "length" else "stop"
    return Completion(text=choice.text, finish_reason=finish, model=policy.name, seed=seed)


def screen(
    prompt_id: str, completions: Sequence[Completion], *, keep_cut: bool = False
) -> tuple[tuple[Completion, ...], tuple[Discard, ...]]:
    """The completions worth comparing, and a discard for each empty, cut or repeated one.

    Texts that differ only in the white space around them are the same.
    """
    kept: list[Completion] = []
    dropped: list[Discard] = []
    seen: set[str] = set()
    for index, completion in enumerate(completions):
        text = completion.text.strip()
        if not text:
            reason = "empty_completion"
        elif completion.finish_reason == "length" and not keep_cut:
            reason = "cut_completion"
        elif text in seen:
            reason = "identical_completions"
        else:
            seen.add(text)
            kept.append(completion)
            continue
        dropped.append(Discard(prompt_id=prompt_id, reason=reason, detail=f"completion {index + 1}"))
    return tuple(kept), tuple(dropped)
