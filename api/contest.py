"""Two policies on the same prompts: what each writes, and which the critic prefers."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from critic.candidates import Sampling, generate
from critic.concurrency import in_order
from critic.judge import Usage
from critic.labelling import Labeller
from solon.chat import ChatModel
from solon.errors import ModelUnavailable
from solon.records import Comparison, Completion, PreferencePair, Prompt

Tick = Callable[[], None]
"""Called once for each prompt that is done."""

IN_FLIGHT = 128


@dataclass(frozen=True)
class Contest:
    """The critic's labels of one policy (side a) against another (side b), and the rule rewards of both."""

    pairs: tuple[PreferencePair, ...]
    rewards: tuple[float, ...]
    """Of side a, one per prompt; empty where the constitution has no rules."""
    rewards_before: tuple[float, ...]
    """Of side b."""


async def completions(
    policy: ChatModel, prompts: Sequence[Prompt], *, seed: int, sampling: Sampling, tick: Tick
) -> tuple[Completion, ...]:
    """One completion per prompt, cut ones included; raises ModelUnavailable where one could not be had."""

    async def one(prompt: Prompt) -> Completion:
        written, lost = await generate(policy, prompt, 1, seed=seed, sampling=sampling)
        if lost:
            raise ModelUnavailable(
                f"{policy.name} wrote nothing for a prompt: {lost[0].detail}", remedy="see the model server's log"
            )
        tick()
        return written[0]

    async with aclosing(in_order(prompts, one, width=IN_FLIGHT)) as written:
        return tuple([completion async for completion in written])


async def contest(
    labeller: Labeller,
    prompts: Sequence[Prompt],
    after: Sequence[Completion],
    before: Sequence[Completion],
    tick: Tick,
) -> Contest:
    """Each completion of `after` against that of `before` to the same prompt, judged in both orders."""

    async def one(row: tuple[Prompt, Completion, Completion]) -> PreferencePair:
        prompt, new, old = row
        rules = await labeller.rule_scores(prompt, (new, old), Usage())
        pair = await labeller.compare(Comparison(prompt=prompt, a=new, b=old), (rules[0], rules[1]))
        tick()
        return pair

    rows = zip(prompts, after, before, strict=True)
    async with aclosing(in_order(rows, one, width=IN_FLIGHT)) as labelled:
        pairs = tuple([pair async for pair in labelled])
    scored = [(pair.rules_a.reward, pair.rules_b.reward) for pair in pairs if pair.rules_a and pair.rules_b]
    return Contest(pairs, tuple(new for new, _ in scored), tuple(old for _, old in scored))
