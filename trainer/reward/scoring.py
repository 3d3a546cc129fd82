"""Trained reward models: what is in their directory, and rewards for completions.

OUT/reward.json          members, mean and standard deviation of each one's rewards, what was measured
OUT/config.json, ...     the model, if there is one member: a sequence classifier, as vLLM serves it
OUT/member-0/, ...       the models of an ensemble, each servable alone
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from solon.errors import InvalidInput, NotFound
from solon.records import Completion, Prompt
from trainer import attention, bases, checkpoint
from trainer.batches import rounded
from trainer.data import Encoder
from trainer.hardware import device
from trainer.reward.groups import encode
from trainer.reward.losses import pooled

ABOUT = "reward.json"
BATCH_TOKENS = 4096


def classifier(path: Path, seed: int | None, field: str) -> PreTrainedModel:
    """The directory's weights under a head with one output, in float32, on the device.

    Args:
        seed: of a fresh head, for a causal language model; None demands that the directory has a head.
    """
    try:
        with bases.whole(path, field) as whole:
            torch.manual_seed(seed or 0)
            model, report = AutoModelForSequenceClassification.from_pretrained(
                str(whole),
                dtype=torch.float32,
                num_labels=1,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"{path}: {reason}", field=field, remedy="give a language model's directory") from error
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise InvalidInput(
            f"{path}: a {model.config.model_type} reads no score off its last token",
            field=field,
            remedy="take a causal language model such as Llama, Qwen or Mistral",
        )
    if seed is None and report["missing_keys"]:
        raise InvalidInput(f"{path} is no reward model", field=field, remedy="train one with `type: reward`")
    attention.install(model)
    return model.eval().to(device())


def rewards_of(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """The reward of each sequence, [sequence], read off the hidden state of its last token; carries gradient.

    Padding stands on the right, where a causal model cannot see it: no pad token and no attention mask is needed.
    """
    longest = rounded(max(map(len, sequences)), checkpoint.context_of(model.config))
    where = model.device
    ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in sequences], device=where)
    hidden = cast(Any, model.base_model)(input_ids=ids, use_cache=False).last_hidden_state
    last = torch.tensor([len(ids) - 1 for ids in sequences], device=where)
    return cast(Any, model).score(hidden[torch.arange(len(sequences), device=where), last]).squeeze(-1).float()


@torch.no_grad()
def score_all(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> list[float]:
    """The reward of each sequence, in order, in batches of similar length."""
    found = [0.0] * len(sequences)
    batch: list[int] = []
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    for place, i in enumerate(order):
        batch.append(i)
        next_length = len(sequences[order[place + 1]]) if place + 1 < len(order) else None
        if next_length is None or next_length * (len(batch) + 1) > BATCH_TOKENS:
            for at, value in zip(batch, rewards_of(model, [sequences[j] for j in batch]).tolist(), strict=True):
                found[at] = value
            batch.clear()
    return found


@dataclass(frozen=True)
class Member:
    """One model of an ensemble."""

    model: PreTrainedModel
    mean: float
    """Of its rewards on the completions it was trained on."""
    deviation: float
    """Standard deviation of the same."""


class RewardModel:
    """A reward model or an ensemble, at work. Rewards are in standard deviations from the mean of the training data."""

    def __init__(
        self,
        members: Sequence[Member],
        encoder: Encoder,
        how: str = "mean",
        penalty: float = 0.1,
        training_disagreement: float | None = None,
    ) -> None:
        self.members = tuple(members)
        self.training_disagreement = training_disagreement
        """What `disagreement` was on the completions that they were trained on."""
        self._encoder = encoder
        self._how, self._penalty = how, penalty

    @classmethod
    def load(cls, path: Path, *, how: str = "mean", penalty: float = 0.1, field: str = "rewards") -> "RewardModel":
        """What a training of type `reward` left in `path`; NotFound or InvalidInput names `field`."""
        about = read_about(path, field)
        members = [
            Member(classifier(path / each["path"], None, field), each["mean"], each["deviation"])
            for each in about["members"]
        ]
        first = path / about["members"][0]["path"]
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(first), local_files_only=True)
        context = checkpoint.context_of(members[0].model.config)
        return cls(members, Encoder(tokenizer, context), how, penalty, about.get("disagreement"))

    def scores(self, items: Sequence[tuple[Prompt, Completion]]) -> list[float | None]:
        """The reward of each completion; None where one cannot be read (empty, too long, with control tokens)."""
        return self._read(items, lambda member: member.deviation, lambda found: pooled(found, self._how, self._penalty))

    def log_odds(self, items: Sequence[tuple[Prompt, Completion]]) -> list[float | None]:
        """The same as log-odds of being better than a completion with the mean reward."""
        return self._read(items, lambda _: 1.0, lambda found: pooled(found, self._how, self._penalty))

    def disagreement(self, items: Sequence[tuple[Prompt, Completion]]) -> list[float | None]:
        """The standard deviation of the members' rewards, each in its own standard deviations; None as above.

        Of one member it is None everywhere.
        """
        if len(self.members) < 2:
            return [None] * len(items)
        return self._read(items, lambda member: member.deviation, lambda found: found.std(dim=0, correction=1))

    def _read(
        self,
        items: Sequence[tuple[Prompt, Completion]],
        unit: Callable[[Member], float],
        of: Callable[[Tensor], Tensor],
    ) -> list[float | None]:
        """What `of` makes of the members' rewards, [member, completion] -> [completion], each in its `unit`."""
        encoded = [encode(self._encoder, prompt, completion) for prompt, completion in items]
        places = [i for i, ids in enumerate(encoded) if not isinstance(ids, str)]
        found: list[float | None] = [None] * len(items)
        if not places:
            return found
        sequences = [ids for ids in encoded if not isinstance(ids, str)]
        rewards = torch.tensor(
            [
                [(value - member.mean) / unit(member) for value in score_all(member.model, sequences)]
                for member in self.members
            ]
        )
        for place, value in zip(places, of(rewards).tolist(), strict=True):
            found[place] = value
        return found


def read_about(path: Path, field: str) -> dict[str, Any]:
    """What a reward model's directory says about it; NotFound names `field`."""
    try:
        return json.loads((path / ABOUT).read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFound(
            f"{path} holds no reward model of ours", field=field, remedy="train one with `type: reward`"
        ) from error
