"""The policy as it is, looked at: samples on the fixed prompts -> an `Observation`."""

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solon.records import Completion, Prompt
from solon.seeds import counter_seed
from trainer.config import MonitorConfig
from trainer.decoding import Sampling
from trainer.divergence import sequence_logps
from trainer.language_model import LanguageModel
from trainer.monitor import statistics
from trainer.monitor.observations import Estimate, Gold, Observation, estimate
from trainer.random_state import random_state, set_random_state
from trainer.rewards.mix import Item, Source, mixed
from trainer.rewards.sources import Service, Trained
from trainer.sampling import Generation, Request, Sampler
from trainer.starter.oracle import Reading, read

_TASK_TOKENS = 64


@dataclass(frozen=True)
class Subject:
    """What is watched: a policy in training, and what it began as."""

    model: LanguageModel
    """Follows the weights in training."""
    reference: Callable[[], AbstractContextManager[PreTrainedModel]]
    weights: Callable[[], Mapping[str, Tensor]]
    """What the training changes, by name; the tensors themselves."""
    temperature: float
    """Of the training's own samples."""
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Material:
    """The fixed set, with its ids."""

    prompts: Sequence[tuple[Prompt, list[int]]]
    text: Sequence[tuple[list[int], list[int]]] = ()
    """Prompt and completion ids of general text."""
    tasks: Sequence[tuple[Prompt, list[int]]] = ()


class Inspection:
    """Looks at a subject."""

    def __init__(self, config: MonitorConfig, subject: Subject, material: Material, sources: Sequence[Source]) -> None:
        """Args:
        sources: of the reward that is trained on, with scores that can be compared between batches.
        """
        self._config, self._subject, self._material, self._sources = config, subject, material, sources
        self._sampler = Sampler(subject.model, max_rows=128)
        self.written: list[Completion] = []
        """What the reference wrote, one to each prompt; empty before `begin`."""
        self._reference_perplexity: float | None = None

    def begin(self, written: Sequence[Completion] = ()) -> None:
        """Take what the reference wrote, or have the policy, which is still what it began as, write it."""
        with _aside(self._subject.model.network):
            if not written:
                done = self._sample("reference", [ids for _, ids in self._material.prompts], 1)
                written = [Completion(text=each.text, finish_reason=each.finish_reason) for each in done]
            self.written = list(written)
            if self._material.text:
                with self._subject.reference() as reference:
                    self._reference_perplexity = _perplexity(reference, self._material.text)

    def observe(self, step: int) -> Observation:
        """What the policy is like after `step` steps."""
        began = time.monotonic()
        with _aside(self._subject.model.network):
            found = self._observed(step)
        return found.model_copy(update={"seconds": round(time.monotonic() - began, 2)})

    def _observed(self, step: int) -> Observation:
        prompts, each = self._material.prompts, self._config.samples
        done = self._sample("monitor", [ids for _, ids in prompts], each)
        asked = [prompt for prompt, _ in prompts for _ in range(each)]
        items = [
            (prompt, Completion(text=one.text, finish_reason=one.finish_reason))
            for prompt, one in zip(asked, done, strict=True)
        ]
        rows = [(prompts[i // each][1], [*one.tokens]) for i, one in enumerate(done)]
        kl, sample_perplexity = self._divergence(rows)
        rewards = mixed(self._sources, items)
        scores: dict[str, list[float | None]] = {"proxy": list(rewards.total)}
        readings = [read(prompt.text, one.text) for prompt, one in items] if self._config.oracle else []
        if readings:
            scores["oracle"] = [reading.mark for reading in readings]
        failed = 0.0
        if self._config.judge is not None:
            scores["judge"], failed = self._judged(items)
        by_prompt = {name: tuple(_means(values, each)) for name, values in scores.items()}
        golds: tuple[Gold, ...] = ("judge", "oracle")
        gold: dict[Gold, Estimate] = {}
        for name in golds:
            if (mean := estimate(by_prompt.get(name, ()))) is not None:
                gold[name] = mean
        return Observation(
            step=step,
            kl_nats=fmean(kl),
            kl_standard_error=stdev(kl) / math.sqrt(len(kl)) if len(kl) > 1 else None,
            distance=math.sqrt(max(0.0, fmean(kl))),
            proxy=estimate(by_prompt["proxy"]),
            terms=rewards.means(),
            gold=gold,
            scores=by_prompt,
            failed=failed,
            length_correlation=_length_correlation(items, rewards.total, each),
            sample_perplexity=sample_perplexity,
            unfinished=fmean(one.finish_reason == "length" for one in done),
            **self._texture([one.text for one in done]),
            **self._compliance(items, readings),
            **self._disagreement(items),
            **self._tax(),
        )

    def _sample(self, purpose: str, prompts: Sequence[list[int]], each: int) -> list[Generation]:
        """Completions, `each` of every prompt; the same whenever the weights are the same."""
        config, subject = self._config, self._subject
        seed = counter_seed(subject.seed, "monitor", purpose)
        tokens = config.max_tokens or subject.max_tokens
        requests = [
            Request(tuple(ids), Sampling(tokens, subject.temperature, seed=seed, index=i * each + n))
            for i, ids in enumerate(prompts)
            for n in range(each)
        ]
        return self._sampler.sample(requests)

    def _divergence(self, rows: Sequence[tuple[list[int], list[int]]]) -> tuple[list[float], float]:
        """ln policy - ln reference of each sample, and their perplexity under the reference at its own temperature."""
        temperature = self._subject.temperature
        own = sequence_logps(self._subject.model.network, rows, temperature=temperature)
        with self._subject.reference() as reference:
            other = sequence_logps(reference, rows, temperature=temperature)
            perplexity = _perplexity(reference, rows)
        return [new - old for new, old in zip(own, other, strict=True)], perplexity

    def _judged(self, items: Sequence[Item]) -> tuple[list[float | None], float]:
        """P(better than what the reference wrote), and the share that the judge failed."""
        against = [text for text in self.written for _ in range(self._config.samples)]
        scores = Service(_present(self._config.judge)).preferences(items, against)
        failed = fmean(score is not None and not math.isfinite(score) for score in scores)
        return [score if score is not None and math.isfinite(score) else None for score in scores], failed

    def _texture(self, texts: Sequence[str]) -> dict[str, Any]:
        written = [completion.text for completion in self.written]
        share, formulas = statistics.boilerplate(texts, written)
        mean = fmean(len(text.split()) for text in texts)
        return {
            "mean_words": mean,
            "length_ratio": mean / (fmean(len(text.split()) for text in written) or 1.0),
            "boilerplate": share,
            "formulas": tuple(formulas[:5]),
            "distinct_2": statistics.distinct(texts),
            "self_bleu": statistics.self_bleu(texts),
            "opening_entropy": statistics.opening_entropy(texts),
            "repetitive": statistics.repetitive_share(texts),
        }

    def _compliance(self, items: Sequence[Item], readings: Sequence[Reading]) -> dict[str, Any]:
        """Both rates, or neither; a prompt whose metadata does not say `benign` counts in none."""
        benign = [prompt.metadata.get("benign") for prompt, _ in items]
        if readings:
            refuses = [float(reading.refusal != "none") for reading in readings]
            complies = [float(reading.helpful != "none" and reading.refusal == "none") for reading in readings]
            harms = [float(reading.harmful) for reading in readings]
        elif self._config.refusals is not None and any(known is not None for known in benign):
            refuses = [score or 0.0 for score in Service(self._config.refusals).scores(items)]
            complies = harms = [1.0 - value for value in refuses]
        else:
            return {}
        return {
            "benign_refusal": _mean_where(refuses, benign, True),
            "benign_compliance": _mean_where(complies, benign, True),
            "harmful_compliance": _mean_where(harms, benign, False),
        }

    def _disagreement(self, items: Sequence[Item]) -> dict[str, Any]:
        """Of the first ensemble among the sources."""
        for source in self._sources:
            if isinstance(source, Trained) and len(source.model.members) > 1:
                known = [value for value in source.model.disagreement(items) if value is not None]
                trained = source.model.training_disagreement
                found = {"disagreement": fmean(known)} if known else {}
                return found | ({"training_disagreement": trained} if trained is not None else {})
        return {}

    def _tax(self) -> dict[str, Any]:
        """What general ability is left."""
        found: dict[str, Any] = {}
        if self._material.text:
            found["perplexity"] = _perplexity(self._subject.model.network, self._material.text)
            found["reference_perplexity"] = self._reference_perplexity
        if self._material.tasks:
            greedy = Sampling(self._config.max_tokens or _TASK_TOKENS, 0.0)
            done = self._sampler.sample([Request(tuple(ids), greedy) for _, ids in self._material.tasks])
            right = [_right(prompt, one.text) for (prompt, _), one in zip(self._material.tasks, done, strict=True)]
            found["accuracy"] = fmean(right)
        return found


@contextmanager
def _aside(network: nn.Module) -> Generator[None]:
    """Work in evaluation mode and without gradient, after which modes and random state are what they were."""
    modes, state = [(part, part.training) for part in network.modules()], random_state()
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training
        set_random_state(state)


def _present(judge: Any) -> Any:
    assert judge is not None  # noqa: S101 - asked for only where it is
    return judge


def _means(values: Sequence[float | None], each: int) -> list[float | None]:
    """The mean of each prompt's scores; None where it has none."""
    groups = [[v for v in values[i : i + each] if v is not None] for i in range(0, len(values), each)]
    return [fmean(group) if group else None for group in groups]


def _mean_where(values: Sequence[float], benign: Sequence[Any], wanted: bool) -> float | None:
    chosen = [value for value, known in zip(values, benign, strict=True) if known is wanted]
    return fmean(chosen) if chosen else None


def _length_correlation(items: Sequence[Item], total: Sequence[float | None], each: int) -> float | None:
    rows = [(float(len(one.text.split())), score) for (_, one), score in zip(items, total, strict=True)]
    groups = [[(x, y) for x, y in rows[i : i + each] if y is not None] for i in range(0, len(rows), each)]
    return statistics.within_group_spearman(([x for x, _ in group], [y for _, y in group]) for group in groups)


@torch.no_grad()
def _perplexity(model: PreTrainedModel, rows: Sequence[tuple[list[int], list[int]]]) -> float:
    """exp of the mean negative log-probability per token of the completions."""
    return math.exp(-sum(sequence_logps(model, rows)) / sum(len(completion) for _, completion in rows))


def _right(prompt: Prompt, text: str) -> bool:
    """Whether one of the prompt's answers occurs in the text as whole words."""
    answer: Any = prompt.metadata.get("answer")
    wanted = cast(list[Any], answer) if isinstance(answer, list) else [answer]
    padded = f" {' '.join(_plain(text))} "
    return any(f" {' '.join(_plain(str(each)))} " in padded for each in wanted)


def _plain(text: str) -> list[str]:
    return [word.strip(".,;:!?\"'()") for word in text.casefold().split()]
