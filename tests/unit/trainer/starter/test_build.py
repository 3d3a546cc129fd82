"""The build script, shortened: every stage runs and leaves a directory that loads."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.starter.build import Architecture, BuildConfig, build
from trainer.starter.tokenizer import ANSWERS, build_tokenizer

TINY = Architecture(vocab_size=2368, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=1)


@pytest.mark.slow
@pytest.mark.long
def test_a_shortened_build_makes_the_models_with_cards_and_bars(tmp_path: Path) -> None:
    config = BuildConfig(
        architecture=TINY,
        base_steps=2,
        policy_steps=2,
        judge_steps=2,
        critic_steps=(2,),
        judge_tokens=1024,
        measured=12,
        threads=1,
    )

    build(tmp_path, config, ["base", "policy", "judge", "critic"])

    bars = {"starter": "incoherent_rate", "starter-judge": "pairwise_accuracy", "starter-critic": "critique_accuracy"}
    for name, bar in bars.items():
        model = AutoModelForCausalLM.from_pretrained(tmp_path / name)
        assert model.dtype == torch.bfloat16
        assert bar in json.loads((tmp_path / name / "bars.json").read_text())
        assert name in (tmp_path / name / "README.md").read_text()
        assert AutoTokenizer.from_pretrained(tmp_path / name).chat_template


@pytest.mark.slow
@pytest.mark.long
def test_every_answer_of_the_judge_is_one_token() -> None:
    tokenizer = build_tokenizer(TINY.vocab_size, 1024, seed=0)

    assert all(len(tokenizer(answer)["input_ids"]) == 1 for answer in ANSWERS)
    assert all(len(tokenizer(f"<|assistant|>{answer}<|end|>")["input_ids"]) == 3 for answer in ANSWERS)
