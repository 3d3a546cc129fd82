"""Adapters that are published alone: learnt from, served, and merged later, as if they had been merged at once."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from api.cli import app
from solon.datasets import write_pairs
from solon.errors import InvalidInput, NotFound
from tests.unit.trainer.conftest import MakePair
from trainer import bases, checkpoint, merge
from trainer.config import DPOConfig
from trainer.language_model import LanguageModel
from trainer.reward.scoring import classifier
from trainer.runs import dpo

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)


@pytest.fixture
def trained(chat_model: Path, make_pair: MakePair, tmp_path: Path):
    """Trains a model into the folder of a name, with adapters that are merged or not."""
    write_pairs(tmp_path / "p.jsonl", [make_pair(f"p{i}", a=f"yes {i}", b=f"no {i}") for i in range(8)])
    shutil.copytree(chat_model, tmp_path / "base")

    def train(name: str, merge: bool, model: str = "base") -> Path:
        values: dict[str, Any] = {"type": "dpo", "model": tmp_path / model, "pairs": tmp_path / "p.jsonl"}
        values |= {"batch_size": 4, "learning_rate": 1e-2, "precision": "float32", "output": tmp_path / name}
        dpo.run(DPOConfig.model_validate(values | {"lora": {"rank": 4, "merge": merge}}), lambda *_, **__: None)
        return tmp_path / name

    return train


def _weights(path: Path) -> dict[str, Any]:
    return checkpoint.load(path, "model")[0].state_dict()


def _same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_an_adapter_alone_is_the_model_that_merging_would_have_published(trained: Any, tmp_path: Path):
    whole, adapter = trained("whole", True), trained("adapter", False)
    assert not (adapter / "model.safetensors").exists()
    merge.merge(adapter, tmp_path / "merged")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "merged" / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (tmp_path / "merged" / bases.ADAPTER).exists()
    told = json.loads((tmp_path / "merged" / "provenance.json").read_text())
    assert told["merged"]["adapter_weights"] == bases.weights_digests(adapter)
    assert "Direct preference optimisation" in (tmp_path / "merged" / "README.md").read_text()
    served, plain = (LanguageModel.load(path, precision="bfloat16") for path in (adapter, whole))
    assert _same(served.network.state_dict(), plain.network.state_dict())
    assert served.encode_chat([{"role": "user", "content": "Hm?"}])


def test_trainings_go_on_from_an_adapter(trained: Any, tmp_path: Path):
    adapter = trained("adapter", False)
    second, whole = trained("second", False, "adapter"), trained("whole", True, "adapter")
    assert bases.base_of(second) == adapter
    assert not (whole / bases.ADAPTER).exists()
    stored = {name: value.bfloat16().float() for name, value in _weights(second).items()}
    assert _same(stored, _weights(whole))
    head = classifier(adapter, 0, "model").state_dict()
    assert torch.equal(head["model.norm.weight"], _weights(adapter)["model.norm.weight"])
    moved = next(
        name for name, value in _weights(adapter).items() if not torch.equal(value, _weights(tmp_path / "base")[name])
    )
    assert torch.equal(head[moved], _weights(adapter)[moved])


def test_an_adapter_says_what_its_base_lacks(trained: Any, chat_model: Path, tmp_path: Path):
    adapter = trained("adapter", False)
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(NotFound, match="base is not there") as caught:
        LanguageModel.load(adapter)
    assert "solon model merge" in (caught.value.remedy or "")
    merge.merge(adapter, tmp_path / "merged", tmp_path / "moved")
    shutil.copytree(tmp_path / "merged", tmp_path / "base")
    with pytest.raises(InvalidInput, match="of other weights"):
        checkpoint.load(adapter, "model")
    with pytest.raises(InvalidInput, match="holds no adapter"):
        merge.merge(chat_model, tmp_path / "again")


def test_an_adapter_from_elsewhere_has_no_more_than_its_own_files(trained: Any, tmp_path: Path):
    adapter, bare = trained("adapter", False), tmp_path / "bare"
    bare.mkdir()
    for name in (bases.ADAPTER, "adapter_model.safetensors"):
        shutil.copy(adapter / name, bare)
    assert _same(_weights(bare), _weights(adapter))
    assert checkpoint.load_tokenizer(bare, "model").chat_template
    merge.merge(bare, tmp_path / "merged")
    assert _same(_weights(tmp_path / "merged"), {n: v.bfloat16().float() for n, v in _weights(bare).items()})


@pytest.mark.parametrize("name", ["adapter_model", "model"])
def test_pickled_weights_are_not_read(name: str, trained: Any, tmp_path: Path):
    folder = trained("adapter", False) if name == "adapter_model" else tmp_path / "base"
    weights = load_file(folder / f"{name}.safetensors")
    torch.save(weights, folder / ("pytorch_model.bin" if name == "model" else f"{name}.bin"))
    (folder / f"{name}.safetensors").unlink()
    with pytest.raises(InvalidInput, match="safetensors"):
        checkpoint.load(folder, "model")


def test_the_command_merges_in_a_process_of_the_trainer(trained: Any, tmp_path: Path):
    adapter = trained("adapter", False)
    done = CliRunner().invoke(app, ["model", "merge", str(adapter), str(tmp_path / "out"), "--json"])
    assert json.loads(done.stdout) == {"out": str(tmp_path / "out")}
    assert (tmp_path / "out" / "model.safetensors").is_file()
