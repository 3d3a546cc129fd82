"""The policy that a trainer of TRL trains, as our sampler and a monitor take it."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from solon.errors import InvalidInput
from trainer import checkpoint, hardware
from trainer.config import GRPOConfig, RLOOConfig
from trainer.language_model import LanguageModel
from trainer.monitor.inspection import Subject


def network_of(trainer: Any) -> PreTrainedModel:
    """The network itself, without what accelerate and peft wrap around it."""
    network = trainer.accelerator.unwrap_model(trainer.model)
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def subject(trainer: Any, config: GRPOConfig | RLOOConfig, tokenizer: PreTrainedTokenizerBase) -> Subject:
    """What a monitor of the training watches; InvalidInput where our sampler does not support the architecture."""
    network = network_of(trainer)
    try:
        model = LanguageModel.around(network, tokenizer, config.model.name)
    except InvalidInput as error:
        raise InvalidInput(error.message, field="monitor", remedy="train this architecture without one") from error

    def weights() -> Mapping[str, Tensor]:
        return {name: each.data for name, each in network.named_parameters() if each.requires_grad}

    @cache
    def frozen() -> PreTrainedModel:
        """TRL's reference; it has none where `beta` is 0."""
        if trainer.ref_model is not None:
            return trainer.accelerator.unwrap_model(trainer.ref_model)
        began: Any = checkpoint.load(config.model, "model")[0]
        return began.to(hardware.device()).eval().requires_grad_(False)

    @contextmanager
    def reference() -> Generator[PreTrainedModel]:
        if config.lora is None:
            yield frozen()
            return
        with trainer.accelerator.unwrap_model(trainer.model).disable_adapter():
            yield network

    return Subject(model, reference, weights, config.temperature, config.max_tokens, config.seed)
