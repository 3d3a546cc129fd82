"""Supervised fine-tuning: what is learnt, and what is not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from solon.errors import InvalidInput
from solon.records import Completion, Message, Prompt
from trainer import checkpoint
from trainer.config import SFTConfig
from trainer.data import Encoder, Sample, write_samples
from trainer.runs import sft

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)


def _sample(text: str, prompt: str = "Hm?", finish: Any = "stop") -> Sample:
    asked = Prompt(id=prompt, messages=(Message(role="user", content=prompt),))
    return Sample(prompt=asked, completion=Completion(text=text, finish_reason=finish))


def _fit(model: Path, samples: list[Sample], out: Path, **settings: Any) -> list[dict[str, Any]]:
    write_samples(out / "rows.jsonl", samples)
    events: list[dict[str, Any]] = []
    values: dict[str, Any] = {"batch_size": 4, "learning_rate": 5e-3} | settings
    config = SFTConfig(
        type="sft", model=model, rows=out / "rows.jsonl", output=out / "out", precision="float32", **values
    )
    sft.run(config, lambda event, **fields: events.append({"event": event, **fields}))
    return events


def test_the_first_loss_is_that_of_the_completions_tokens_and_their_end_alone(chat_model: Path, tmp_path: Path):
    samples = [_sample("yes", "Is it?"), _sample("no no", "Is it really?"), _sample("cut", finish="length")]
    events = _fit(chat_model, samples, tmp_path)
    model, tokenizer = checkpoint.load(chat_model, "model")
    encoder = Encoder(tokenizer, 256)
    nats: list[torch.Tensor] = []
    for sample in samples:
        encoded = encoder.sample(sample)
        assert not isinstance(encoded, str)
        prompt, completion = encoded
        assert (completion[-1] == tokenizer.eos_token_id) == (sample.completion.finish_reason == "stop")
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        nats.append(F.cross_entropy(logits, torch.tensor(completion), reduction="none"))
    first = next(event for event in events if event["event"] == "progress")
    assert first["metrics"]["loss"] == pytest.approx(torch.cat(nats).mean().item(), abs=1e-4)


def test_a_model_learns_to_write_what_it_is_shown_and_to_stop(chat_model: Path, tmp_path: Path):
    from trainer.decoding import Sampling
    from trainer.language_model import LanguageModel
    from trainer.sampling import Request, Sampler

    events = _fit(chat_model, [_sample("Sure.")] * 16, tmp_path, epochs=20.0)
    assert events[-1]["rows"] == 16
    model = LanguageModel.load(tmp_path / "out", precision="float32")
    prompt = tuple(model.encode_chat([{"role": "user", "content": "Hm?"}]))
    (written,) = Sampler(model).sample([Request(prompt, Sampling(max_tokens=20, temperature=0))])
    assert (written.text, written.finish_reason) == ("Sure.", "stop")


def test_a_training_of_one_step_learns(chat_model: Path, tmp_path: Path):
    events = _fit(chat_model, [_sample("Sure.")] * 4, tmp_path, epochs=1.0)
    (only,) = (event["metrics"] for event in events if event["event"] == "progress")
    assert only["learning_rate"] == pytest.approx(5e-3)
    before, after = (load_file(path / "model.safetensors") for path in (chat_model, tmp_path / "out"))
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_goes_on_from_its_checkpoint_ends_in_the_same_weights(chat_model: Path, tmp_path: Path):
    samples = [_sample("yes " * (1 + i % 4), f"{i}?") for i in range(24)]
    (tmp_path / "whole").mkdir()
    _fit(chat_model, samples, tmp_path / "whole")

    class Stop(Exception):
        """The machine is gone."""

    def killed(event: str, **fields: Any) -> None:
        if fields.get("step") == 4:
            raise Stop

    config = SFTConfig.model_validate(
        json.loads((tmp_path / "whole/out/provenance.json").read_text())["config"]
        | {"output": tmp_path / "out", "state": tmp_path / "state", "save_every": 2}
    )
    with pytest.raises(Stop):
        sft.run(config, killed)
    sft.run(config, lambda *_, **__: None)
    weights = (tmp_path / "out/model.safetensors").read_bytes()
    assert weights == (tmp_path / "whole/out/model.safetensors").read_bytes()


def test_a_template_that_doubles_the_bos_is_refused(story_model: Path):
    _, tokenizer = checkpoint.load(story_model, "model")
    tokenizer.chat_template = "{{ bos_token }}{{ bos_token }}" + "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(InvalidInput, match="BOS"):
        Encoder(tokenizer, 256).require_one_bos()
    _, tokenizer = checkpoint.load(story_model, "model")
    Encoder(tokenizer, 256).require_one_bos()
