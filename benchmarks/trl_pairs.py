# pyright: basic, reportPrivateImportUsage=false
"""Bare TRL on the pairs of `training.py`: its trainer, its defaults, nothing of ours.

python trl_pairs.py SETTINGS.json
"""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer


def main() -> None:
    """Train and save."""
    told = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(told["threads"])
    tokenizer = AutoTokenizer.from_pretrained(told["model"])
    rows = Dataset.from_list(json.loads(Path(told["rows"]).read_text()))
    shared = {
        "output_dir": told["output"],
        "per_device_train_batch_size": told["batch_size"],
        "num_train_epochs": told["epochs"],
        "learning_rate": told["learning_rate"],
        "max_length": told["max_length"],
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    if told["method"] == "dpo":
        model = AutoModelForCausalLM.from_pretrained(told["model"], dtype=torch.float32)
        arguments = DPOConfig(**shared, beta=told["beta"], precompute_ref_log_probs=True)
        trainer = DPOTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(told["model"], dtype=torch.float32, num_labels=1)
        trainer = RewardTrainer(
            model=model, args=RewardConfig(**shared), train_dataset=rows, processing_class=tokenizer
        )
    trainer.train()
    trainer.save_model(told["output"])


if __name__ == "__main__":
    main()
