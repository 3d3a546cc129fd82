"""A child of type `reward`: pairs in, a reward model or an ensemble out, with what it is worth on held-out prompts."""

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev, stdev
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from solon.datasets import read_pairs
from solon.errors import TrainingFailed
from trainer import checkpoint
from trainer.config import RewardConfig
from trainer.data import Encoder
from trainer.publishing import published
from trainer.reward.calibration import Judged, by_domain, calibration
from trainer.reward.groups import Group, gather, held_out
from trainer.reward.scoring import ABOUT, classifier, score_all
from trainer.reward.training import train
from trainer.runs.records import Curve, Emit, curve, manifest, provenance, require, write_facts, write_json
from trainer.runs.states import kept_state


def run(config: RewardConfig, emit: Emit) -> None:
    """Train the members one after the other, and publish them."""
    started = time.monotonic()
    drops, unmeasured = Counter[str](), Counter[str]()
    rows, about = list(read_pairs(config.pairs)), manifest(config.pairs)
    with published(config.output) as scratch:
        tokenizer = checkpoint.load_tokenizer(config.model, "model")
        encoder = Encoder(tokenizer, min(config.max_length, checkpoint.context(config.model)))
        groups = gather(rows, encoder, drops, soft_labels=config.soft_labels)
        require(groups, len(rows), "pairs", drops, "label more prompts")
        kept, out = held_out(groups, config.held_out, config.seed)
        if config.held_out_pairs is not None:
            trained, soft = {group.key for group in groups}, config.soft_labels
            kept, out = groups, _others(config.held_out_pairs, encoder, trained, unmeasured, soft_labels=soft)
        require(kept, len(rows), "pairs", drops, "lower held_out or label more prompts")
        emit("phase", name="train", pairs=_pairs(kept), held_out=_pairs(out), dropped=dict(drops))
        members = _Members(config, tokenizer, kept, out, scratch)
        facts = provenance(config, model=config.model, data=config.pairs) | {"manifest": about}
        with kept_state(config.state, facts), curve(scratch / "metrics.jsonl", emit, config.report_to) as steps:
            for number in range(config.members):
                members.train(number, steps)
        measured = _measured(members.differences(), out)
        seconds = round(time.monotonic() - started, 2)
        used = {"train": _pairs(kept), "held_out": _pairs(out), "prompts": len(kept), "dropped": dict(drops)}
        used |= {"held_out_dropped": dict(unmeasured)} if unmeasured else {}
        about_model = {"members": members.about, "disagreement": members.disagreement()}
        about_model |= {"held_out": measured, "pairs": used}
        write_json(scratch / ABOUT, about_model)
        write_facts(scratch, {**facts, "pairs": used, "held_out": measured, "seconds": seconds})
    done = {
        "pairs": _pairs(kept),
        "dropped": dict(drops),
        "held_out_dropped": dict(unmeasured),
        "metrics": steps.last,
        "held_out": measured,
    }
    emit("done", output=str(config.output), **done, seconds=seconds)


def _others(file: Path, encoder: Encoder, trained: set[str], drops: Counter[str], *, soft_labels: bool) -> list[Group]:
    """The groups of held-out pairs whose prompts are not trained on, `drops` counts the others; InvalidInput where
    none is left."""
    rows = list(read_pairs(file))
    kept: list[Group] = []
    for group in gather(rows, encoder, drops, soft_labels=soft_labels):
        if group.key in trained:
            drops["prompt_is_trained_on"] += len(group.comparisons)
        else:
            kept.append(group)
    remedy = "hold out pairs of prompts that are not trained on"
    require(kept, len(rows), "held_out_pairs", drops, remedy, purpose="measured on")
    return kept


class _Members:
    """The ensemble as it is made."""

    def __init__(
        self,
        config: RewardConfig,
        tokenizer: PreTrainedTokenizerBase,
        kept: Sequence[Group],
        out: Sequence[Group],
        scratch: Path,
    ) -> None:
        self._config, self._tokenizer, self._kept, self._out = config, tokenizer, kept, out
        self._scratch = scratch
        self._scores: list[list[float]] = []
        self._standard: list[list[float]] = []
        self.about: list[dict[str, Any]] = []
        """Path, mean and deviation of each member so far."""

    def train(self, number: int, steps: Curve) -> None:
        """Train and save one member, and keep its rewards on the held-out prompts."""
        config, alone = self._config, self._config.members == 1
        seed = config.seed + 1_000_003 * number
        own = config.model_copy(update={"seed": seed % 2**32, "state": config.state and config.state / f"{number}"})
        model = classifier(config.model, own.seed, "model")
        before = steps.step

        def progress(step: int, of: int, metrics: dict[str, float]) -> None:
            steps(before + step, of * config.members, metrics if alone else {"member": number, **metrics})

        train(own, model, self._tokenizer, self._kept, self._scratch / "trl", progress)
        shutil.rmtree(self._scratch / "trl", ignore_errors=True)
        folder = self._scratch if alone else self._scratch / f"member-{number}"
        checkpoint.save_classifier(model, self._tokenizer, config.model, folder)
        self._measure(model, "." if alone else folder.name)

    def _measure(self, model: PreTrainedModel, path: str) -> None:
        """Mean and deviation on what it was trained on, of the weights as they were saved."""
        rewards = score_all(model, [ids for group in self._kept for ids in group.sequences])
        mean, deviation = fmean(rewards), pstdev(rewards)
        if not deviation > 0:
            raise TrainingFailed("every completion has the same reward", remedy="train longer or label more prompts")
        self.about.append({"path": path, "mean": mean, "deviation": deviation})
        self._standard.append([(reward - mean) / deviation for reward in rewards])
        self._scores.append(score_all(model, [ids for group in self._out for ids in group.sequences]))

    def disagreement(self) -> float | None:
        """Mean standard deviation of the members' rewards on what they were trained on; None of one member."""
        if len(self._standard) < 2:
            return None
        return fmean(stdev(each) for each in zip(*self._standard, strict=True))

    def differences(self) -> list[float]:
        """r_a - r_b of each held-out comparison, the mean over the members, in the order of the groups."""
        mean = [fmean(each) for each in zip(*self._scores, strict=True)]
        found: list[float] = []
        start = 0
        for group in self._out:
            found += [mean[start + each.a] - mean[start + each.b] for each in group.comparisons]
            start += len(group.sequences)
        return found


def _pairs(groups: Sequence[Group]) -> int:
    return sum(len(group.comparisons) for group in groups)


def _measured(differences: Sequence[float], out: Sequence[Group]) -> dict[str, Any] | None:
    """Accuracy and calibration on held-out prompts; None where they hold no decided comparison."""
    labels = [(each.p_a, group.domain) for group in out for each in group.comparisons]
    judged = [Judged(difference, *label) for difference, label in zip(differences, labels, strict=True)]
    found = calibration(judged) if judged else None
    if found is None:
        return None
    domains = {domain: vars(accuracy) for domain, accuracy in by_domain(judged).items()}
    return found.as_dict() | {"prompts": len(out), "domains": domains}
