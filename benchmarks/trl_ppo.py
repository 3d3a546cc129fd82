# pyright: basic, reportMissingImports=false
"""TRL 1.12's side of `ppo.py`; runs in an environment of its own with trl==1.12.0, the last TRL with PPO.

    python trl_ppo.py SETTINGS.json

Generation and updates are timed from outside by wrapping what the trainer calls; scoring is what remains.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


def main() -> None:
    """Train, save the policy, and write seconds and peak memory."""
    told = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(told["threads"])
    tokenizer = AutoTokenizer.from_pretrained(told["model"], padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(told["model"], dtype=torch.float32) for _ in range(2))
    judges = [
        AutoModelForSequenceClassification.from_pretrained(told["reward_model"], dtype=torch.float32, num_labels=1)
        for _ in range(2)
    ]
    config = PPOConfig(
        output_dir=told["output"],
        per_device_train_batch_size=told["minibatch"],
        num_mini_batches=told["episodes"] // told["minibatch"],
        gradient_accumulation_steps=1,
        local_rollout_forward_batch_size=told["minibatch"],
        total_episodes=told["steps"] * told["episodes"],
        num_ppo_epochs=told["epochs"],
        learning_rate=told["learning_rate"],
        response_length=told["max_tokens"],
        temperature=told["temperature"],
        kl_coef=told["beta"],
        missing_eos_penalty=told["missing_eos_penalty"],
        stop_token="eos",
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=told["bf16"],
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=told["seed"],
    )
    # The trainer's own batch is per-device batch x accumulation x minibatches: one step's episodes.
    prompts = Dataset.from_dict({"input_ids": told["prompts"]})
    trainer = PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=judges[0],
        value_model=judges[1],
        train_dataset=prompts,
        eval_dataset=prompts.select(range(2)),
    )
    spent = {"generate": 0.0, "update": 0.0}
    generate, accumulate = ppo_trainer.batch_generation, trainer.accelerator.accumulate

    def timed_generate(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return generate(*args, **kwargs)
        finally:
            spent["generate"] += time.perf_counter() - began

    @contextmanager
    def timed_accumulate(*models: Any) -> Iterator[None]:
        began = time.perf_counter()
        with accumulate(*models):
            yield
        spent["update"] += time.perf_counter() - began

    ppo_trainer.batch_generation, trainer.accelerator.accumulate = timed_generate, timed_accumulate
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    trainer.save_model(told["output"])
    tokenizer.save_pretrained(told["output"])
    found = {
        "seconds": seconds,
        **spent,
        "score": seconds - sum(spent.values()),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }
    Path(told["result"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
