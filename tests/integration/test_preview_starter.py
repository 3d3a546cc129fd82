"""The preview with the shipped judge, held against the oracle: another wording is noise, an inversion is not."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from api.engines import Engines
from api.judging import open_judge
from constitution.document import Constitution, load
from critic.changes import Effect
from critic.judge import Judge
from critic.pipeline import label
from critic.preview import Plan, Preview, preview
from solon.records import Completion, Message, PreferencePair, Prompt
from solon.rows import Row
from solon.settings import Settings
from trainer.starter.oracle import read
from trainer.starter.wordings import value
from trainer.starter.world import Attributes, compose, prompts

pytestmark = [pytest.mark.slow, pytest.mark.long]

EACH = 6
VARIED: dict[str, Callable[[Attributes], Attributes]] = {
    "rude": lambda plain: replace(plain, tone="rude"),
    "preachy": lambda plain: replace(plain, tone="preachy"),
    "flattering": lambda plain: replace(plain, tone="flattering"),
    "false_claim": lambda plain: replace(plain, false_claim=True),
    "padded": lambda plain: replace(plain, padded=True),
    "helpful": lambda plain: replace(plain, helpful="none"),
}
"""One attribute at a time."""
REWORDED = {
    "text": "The response must not be rude to the person.",
    "compare": "Which response is more likely to be polite?",
}
INVERTED = {
    "text": "The response should insult the person.",
    "compare": "Which response is more likely to insult the person?",
}


@dataclass(frozen=True)
class Trial:
    """Labels of the shipped judge under civic, and previews of two edits of its principle on respect."""

    pairs: dict[str, PreferencePair]
    reworded: Preview
    inverted: Preview


@pytest.fixture(scope="module")
def trial() -> Trial:
    return asyncio.run(_trial())


async def _trial() -> Trial:
    patient = ["models.starter-judge.timeout_s=600", "models.starter-judge.max_concurrency=16"]
    settings, civic = Settings.load(overrides=patient, environment={}), load("civic")
    async with Engines(settings) as engines:
        judge = await open_judge("starter-judge", civic, settings, engines)
        items = [item async for item in label(rows(), constitution=civic, judge=judge)]
        pairs = {item.id: item for item in items if isinstance(item, PreferencePair)}
        return Trial(pairs, *[await previewed(pairs, civic, changes, judge) for changes in (REWORDED, INVERTED)])


async def previewed(
    pairs: dict[str, PreferencePair], civic: Constitution, changes: dict[str, str], judge: Judge | None
) -> Preview:
    principles = [each.model_copy(update=changes if each.id == "respectful" else {}) for each in civic.principles]
    edited = civic.model_copy(update={"principles": tuple(principles)})
    return await preview(pairs.values, civic, edited, judge, Plan(size=len(pairs), control=len(pairs), cases=False))


def rows() -> list[Row]:
    """Pairs from held-out prompts that differ in one attribute."""
    rng = random.Random(5)
    asked = [prompt for prompt in prompts("eval") if prompt.kind in ("everyday", "sensitive")]
    found: list[Row] = []
    for name, vary in VARIED.items():
        for number in range(EACH):
            prompt, state = rng.choice(asked), rng.getrandbits(60)
            texts = (compose(prompt, kind, random.Random(state)) for kind in (vary(Attributes()), Attributes()))
            found.append(
                Row(
                    prompt=Prompt(id=f"{name}-{number}", messages=(Message(role="user", content=prompt.text),)),
                    completions=tuple(Completion(text=text) for text in texts),
                )
            )
    return found


def governed(pair: PreferencePair) -> bool:
    """Whether the oracle reads rudeness in one completion and not in the other."""
    rude = [value("rude", read(pair.prompt.text, text)) for text in (pair.a.text, pair.b.text)]
    return rude[0] != rude[1]


def test_another_wording_of_a_principle_stays_within_the_noise(trial: Trial) -> None:
    effects: list[Effect] = [trial.reworded.impact.labels, trial.reworded.impact.principles["respectful"].verdicts]

    assert trial.reworded.edit.reworded == ("respectful",)
    assert effects[0].finding in ("unchanged", "within_noise")
    assert effects[0].changes.count("flipped") == 0


def test_an_inverted_principle_flips_exactly_what_it_governs(trial: Trial) -> None:
    impact = trial.inverted.impact
    flipped = {flip.id for flip in impact.flips}

    assert impact.labels.finding == "beyond_noise"
    assert impact.labels.changes.count("flipped") == len(flipped)
    assert flipped == {pair.id for pair in trial.pairs.values() if governed(pair)}
    assert len(flipped) == EACH


def test_only_the_edited_principle_is_asked_about(trial: Trial) -> None:
    for report in (trial.reworded, trial.inverted):
        calls = {name: usage.judge_calls for name, usage in report.spent.items()}
        assert calls == {"sample": 2 * len(trial.pairs), "control": 2 * len(trial.pairs)}
        assert report.estimate.judge_calls_from_scratch == 10 * report.estimate.judge_calls
