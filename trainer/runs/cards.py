"""The model card beside a trained model: what made it, from its provenance. Torch-free."""

import json
from pathlib import Path
from typing import Any

METHODS = {
    "sft": "Supervised fine-tuning",
    "reward": "Reward model (Bradley-Terry, soft labels)",
    "dpo": "Direct preference optimisation",
    "kto": "Kahneman-Tversky optimisation",
    "ppo": "Proximal policy optimisation",
    "grpo": "Group-relative policy optimisation",
    "rloo": "REINFORCE leave-one-out",
}
_PLACES = {"model", "output", "state", "references", "pairs", "rows", "prompts", "votes", "ptx", "type", "monitor"}


def card(facts: dict[str, Any]) -> str:
    """The card as Markdown with the front matter that model hubs read."""
    config = facts["config"]
    kind, base = config["type"], _name(Path(config["model"]))
    lines = [
        "---",
        "library_name: transformers",
        f"base_model: {json.dumps(base)}",
        f"tags: [solon, {kind}]",
        "---",
        "",
        f"# {base}, trained by {METHODS[kind].lower()}" if kind != "reward" else f"# Reward model from {base}",
        "",
        f"{METHODS[kind]}, by Solon {facts['versions']['solon']}. `provenance.json` holds all of this and more.",
        "",
        *_section("Data", _data(facts)),
        *_section("Settings", {name: value for name, value in config.items() if name not in _PLACES}),
        *_section("Last step", facts.get("final_metrics") or {}),
        *_section("Held-out prompts", _flat(facts.get("held_out") or {})),
        *_section("Made on", _made_on(facts)),
        *_section("Base weights", facts["base_weights"]),
        *_section("Rewards", _flat(facts.get("rewards") or {})),
        "## Limits",
        "",
        "The labels and rewards above decided what this model prefers; where they are wrong, so is it. Measure",
        "it against its base on prompts that nothing here was trained on before it is used.",
        "",
    ]
    return "\n".join(lines)


def _name(model: Path) -> str:
    """Of a model's directory; of one that a step made, the step's."""
    return model.parent.name if model.name == "model" else model.name


def _data(facts: dict[str, Any]) -> dict[str, Any]:
    data = facts["data"]
    found: dict[str, Any] = {"file": Path(data["path"]).name, "digest": data["digest"]}
    for name in ("pairs", "rows", "votes", "prompts"):
        if isinstance(facts.get(name), dict):
            found[name] = facts[name]
    about = facts.get("manifest") or {}
    return found | {name: about[name] for name in ("constitution", "judge", "statuses") if name in about}


def _made_on(facts: dict[str, Any]) -> dict[str, Any]:
    names = ("device", "precision", "threads", "processes", "seconds")
    return {**facts["versions"], **{name: facts[name] for name in names if name in facts}}


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _section(title: str, values: dict[str, Any]) -> list[str]:
    """A heading and a table; nothing where there is nothing to say."""
    if not values:
        return []
    rows = [f"| {name} | {_said(value)} |" for name, value in values.items()]
    return [f"## {title}", "", "| | |", "|---|---|", *rows, ""]


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict | list):
        return f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", "\\|")
    return str(value).replace("|", "\\|")
