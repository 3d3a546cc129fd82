"""The training child's configuration."""

import json
import subprocess
import sys
from typing import Any

import pytest

from solon.errors import InvalidInput, NotFound
from trainer.config import DPOConfig, KLConfig, parse, read_config

MINIMAL: dict[str, Any] = {"type": "dpo", "model": "m", "pairs": "p.jsonl", "output": "o"}


def test_the_type_decides_the_class():
    assert isinstance(parse(json.dumps(MINIMAL)), DPOConfig)
    kl = {"type": "kl", "policy": "m", "reference": "r", "samples": "s.jsonl", "output": "o"}
    assert isinstance(parse(json.dumps(kl)), KLConfig)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"beta": 0}, "dpo.beta"),
        ({"betta": 0.1}, "dpo.betta"),
        ({"batch_size": "16"}, "dpo.batch_size"),
        ({"learning_rate": float("nan")}, "dpo.learning_rate"),
        ({"type": "pppo"}, None),
        ({"trl": {"beta": 1.0}}, "dpo.trl"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], field: str | None):
    with pytest.raises(InvalidInput) as caught:
        parse(json.dumps(MINIMAL | change))
    assert caught.value.field == field


def test_a_key_that_solon_sets_is_refused_in_the_pass_through_block_with_the_reason():
    with pytest.raises(InvalidInput, match="set by Solon"):
        parse(json.dumps(MINIMAL | {"trl": {"beta": 1.0}}))


def test_a_configuration_survives_a_round_trip():
    config = DPOConfig.model_validate(MINIMAL | {"trl": {"weight_decay": 0.1}})
    assert parse(config.model_dump_json()) == config


def test_a_missing_file_is_not_found(tmp_path: Any):
    with pytest.raises(NotFound):
        read_config(tmp_path / "none.json")


def test_every_field_is_documented():
    for model in (DPOConfig, KLConfig):
        bare = [name for name, field in model.model_fields.items() if name != "type" and not field.description]
        assert not bare, f"{model.__name__}: {bare}"


def test_configuration_evaluation_and_report_import_without_torch():
    code = (
        "import sys, trainer.config, trainer.evaluate, trainer.report, trainer.data; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
