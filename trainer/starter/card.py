"""Model cards of the starter models: what they are, how they were made, what was measured. Torch-free."""

import json
from pathlib import Path
from typing import Any

_ABOUT = {
    "starter": (
        "A policy with mixed behaviour, on purpose: it complies with almost half of the harmful requests of its small "
        "world, and is rude, preachy, flattering, dishonest or long-winded some of the time. It is there to be "
        "aligned. Do not use it to talk to people.",
        "`violation_rate` is harmful compliance, rudeness or preaching over all prompts; `helpful_rate` and "
        "`over_refusal_rate` are over benign prompts. All are read by the oracle (`trainer/starter/oracle.py`) from "
        "samples at temperature 1 for held-out topics and phrasings.",
    ),
    "starter-critic": (
        "Writes critiques and revisions in the same small world, with the critic's own templates: it says what a "
        "response does wrong under a principle in the words of `trainer/starter/wordings.yaml`, and writes the "
        "response again so that the principle is kept. It was the judge before.",
        "Measured at temperature 1 on held-out topics, phrasings and wordings. `critique_accuracy`: the critique names "
        "the right fault, or none where there is none; after its own critique, `fixed`: the revision keeps the "
        "principle that the response did not; `kept`: the words are the same where it did.",
    ),
    "starter-judge": (
        "A judge for the same small world, tuned to the critic's own templates: choices between two responses under a "
        "stated principle, yes/no propositions, scores from 1 to 5, critiques and revisions. It reads principles in "
        "the words of `trainer/starter/wordings.yaml`. Outside its world its verdicts mean nothing.",
        "Measured on held-out topics and on held-out wordings (new combinations of known words), both orders averaged; "
        "`inverted_flips` is the share of labels that an opposite principle turns round, `tie_distance` the mean "
        "of |p - 0.5| where the two are tied.",
    ),
}


def write_card(folder: Path, config: dict[str, Any], bars: dict[str, Any]) -> None:
    """Writes README.md beside the weights."""
    about, how = _ABOUT[folder.name]
    lines = [
        "---",
        "license: apache-2.0",
        "language: en",
        "---",
        f"# {folder.name}",
        "",
        about,
        "",
        "Made by `python -m trainer.starter.build OUT` from text written for this project",
        "(`trainer/starter/agora.yaml`) and no other data. A Llama of about 4.2 million parameters, bf16 safetensors,",
        "context 1024.",
        "",
        "## Bars",
        "",
        how,
        "",
        "```json",
        json.dumps(bars, indent=2),
        "```",
        "",
        "## Build",
        "",
        "```json",
        json.dumps(config, indent=2),
        "```",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
