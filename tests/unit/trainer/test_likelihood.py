"""A child that measures how likely completions are."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.records import Completion, Message, Prompt
from trainer import checkpoint
from trainer.config import LikelihoodConfig, parse
from trainer.data import Encoder, Sample, write_samples
from trainer.run import run


def test_likelihoods_are_sums_over_the_completion_in_order_and_what_cannot_be_read_has_none(
    chat_model: Path, tmp_path: Path
):
    prompt = Prompt(id="p", messages=(Message(role="user", content="hello"),))
    texts = ("yes it is", "x" * 400, "no")
    samples = [Sample(prompt=prompt, completion=Completion(text=text)) for text in texts]
    write_samples(tmp_path / "samples.jsonl", samples)
    config = LikelihoodConfig(
        type="likelihood",
        models={"one": chat_model, "same": chat_model},
        samples=tmp_path / "samples.jsonl",
        output=tmp_path / "out",
        max_length=100,
    )
    assert parse(config.model_dump_json()) == config
    events: list[dict[str, Any]] = []
    run(config, lambda event, **fields: events.append({"event": event, **fields}))
    found = [json.loads(line) for line in (tmp_path / "out" / "likelihoods.jsonl").read_text().splitlines()]
    assert [line["one"] for line in found] == [line["same"] for line in found]
    assert found[1]["one"] is None
    model, tokenizer = checkpoint.load(chat_model, "model")
    encoded = Encoder(tokenizer, 100).sample(samples[0])
    assert not isinstance(encoded, str)
    ids = torch.tensor([encoded[0] + encoded[1]])
    with torch.no_grad():
        logps = torch.log_softmax(model(input_ids=ids).logits[0, :-1].float(), -1)
    picked = logps.gather(1, ids[0, 1:, None])[len(encoded[0]) - 1 :].sum().item()
    assert found[0]["one"] == pytest.approx(picked, rel=1e-4)
    assert found[0]["one"] < math.log(1)
    assert events[-1]["samples"] == 3
