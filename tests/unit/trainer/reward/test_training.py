"""Groups of comparisons, and reward models trained on them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.datasets import write_pairs
from solon.errors import InvalidInput, NotFound
from solon.records import POSITION_INCONSISTENT, Completion, Message, Prompt, Status
from tests.unit.trainer.conftest import MakePair
from trainer import checkpoint
from trainer.config import RewardConfig
from trainer.data import Encoder
from trainer.reward.groups import gather, held_out
from trainer.reward.scoring import RewardModel, classifier, rewards_of, score_all
from trainer.runs import reward

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)

LABELS = {"best": 0.95, "good": 0.8, "fair": 0.6}


@pytest.fixture
def encoder(chat_model: Path) -> Encoder:
    return Encoder(checkpoint.load_tokenizer(chat_model, "model"), 256)


def _fit(model: Path, rows: Any, tmp_path: Path, **settings: Any) -> tuple[Path, dict[str, Any]]:
    """Directory of the trained reward model, and its `done` event."""
    write_pairs(tmp_path / "pairs.jsonl", rows)
    events: list[dict[str, Any]] = []
    values: dict[str, Any] = {
        "batch_size": 4, "epochs": 1.0, "learning_rate": 1e-2, "held_out": 0.0, "precision": "float32",
    } | settings  # fmt: skip
    output = tmp_path / "rm"
    config = RewardConfig(type="reward", model=model, pairs=tmp_path / "pairs.jsonl", output=output, **values)
    reward.run(config, lambda event, **fields: events.append({"event": event, **fields}))
    return output, events[-1]


def test_all_comparisons_of_a_prompt_are_one_group_with_each_completion_once(encoder: Encoder, make_pair: MakePair):
    rows = [make_pair(f"{a}{b}", a=a, b=b) for a, b in (("x", "y"), ("y", "z"), ("z", "x"))]
    rows += [make_pair("other", prompt="Why?"), make_pair("tie", a="x", b="w", p_a=0.45, status=Status.TIE)]
    drops: Counter[str] = Counter()
    groups = gather(rows, encoder, drops, soft_labels=True)
    assert [(len(group.sequences), len(group.comparisons)) for group in groups] == [(4, 4), (2, 1)]
    assert groups[0].comparisons[3].p_a == 0.45
    assert not drops


def test_hard_labels_leave_ties_out_and_take_the_rest_as_certain(encoder: Encoder, make_pair: MakePair):
    rows = [make_pair("a", p_a=0.2), make_pair("tie", p_a=0.5, status=Status.TIE), make_pair("same", a="x", b="x")]
    drops: Counter[str] = Counter()
    (group,) = gather(rows, encoder, drops, soft_labels=False)
    assert [each.p_a for each in group.comparisons] == [0.0]
    assert drops == {"status:tie": 1, "identical": 1}


def test_a_side_that_depends_on_the_order_of_listing_is_learnt_softly_only(encoder: Encoder, make_pair: MakePair):
    pair = make_pair(p_a=0.7).model_copy(update={"flags": (POSITION_INCONSISTENT,)})
    drops: Counter[str] = Counter()
    assert len(gather([pair], encoder, drops, soft_labels=True)) == 1
    assert gather([pair], encoder, drops, soft_labels=False) == []
    assert drops == {"position_inconsistent": 1}


def test_a_prompt_is_held_out_with_all_its_comparisons(encoder: Encoder, make_pair: MakePair):
    rows = [make_pair(f"{i}-{b}", a="x", b=b, prompt=f"{i}?") for i in range(40) for b in "yz"]
    groups = gather(rows, encoder, Counter(), soft_labels=True)
    train, out = held_out(groups, 0.25, seed=0)
    assert {group.key for group in train}.isdisjoint(group.key for group in out)
    assert len(train) + len(out) == 40
    assert 3 <= len(out) <= 20
    assert held_out(groups, 0.0, seed=0)[1] == []


def test_a_reward_does_not_depend_on_padding_or_on_the_batch(chat_model: Path):
    model = classifier(chat_model, 0, "model")
    sequences = [[5, 6, 7], [5, 6, 7, 8, 9, 0, 0], [8], [0, 0]]
    together = rewards_of(model, sequences)
    alone = torch.cat([rewards_of(model, [each]) for each in sequences])
    assert torch.allclose(together, alone, atol=1e-5)
    assert score_all(model, sequences) == pytest.approx(alone.tolist(), abs=1e-5)


def test_rewards_equal_those_of_the_exported_classifier(chat_model: Path, tmp_path: Path, make_pair: MakePair):
    from transformers import AutoModelForSequenceClassification

    rows = [make_pair(f"{i}", a=f"yes {i}", b="no", prompt=f"{i}?") for i in range(6)]
    path, _ = _fit(chat_model, rows, tmp_path)
    exported = AutoModelForSequenceClassification.from_pretrained(str(path), dtype=torch.float32)
    ids = [5, 9, 30, 7]
    theirs = exported(input_ids=torch.tensor([ids])).logits.item()
    assert rewards_of(classifier(path, None, "model"), [ids]).item() == pytest.approx(theirs, abs=1e-5)
    assert exported.config.architectures == ["LlamaForSequenceClassification"]
    assert list(path.glob("*.safetensors"))
    assert not list(path.glob("*.bin"))


def test_soft_labels_are_recovered_as_differences_of_rewards(chat_model: Path, tmp_path: Path, make_pair: MakePair):
    rows = [
        make_pair(f"{name}{i}", a=name, b="none", p_a=p, prompt=f"{i}?") for i in range(4) for name, p in LABELS.items()
    ]
    path, done = _fit(chat_model, rows, tmp_path, epochs=60.0, learning_rate=1e-2, centering=0.0, batch_size=4)
    assert done["pairs"] == 12
    model = RewardModel.load(path)
    member = model.members[0]
    prompt = Prompt(id="x", messages=(Message(role="user", content="2?"),))
    texts = ("none", *LABELS)
    none, *others = model.scores([(prompt, Completion(text=text, finish_reason="stop")) for text in texts])
    assert none is not None
    for p, score in zip(LABELS.values(), others, strict=True):
        assert score is not None
        assert (score - none) * member.deviation == pytest.approx(torch.logit(torch.tensor(p)).item(), abs=0.05)


def test_the_stored_mean_and_deviation_make_training_rewards_standard(
    chat_model: Path, tmp_path: Path, make_pair: MakePair
):
    rows = [make_pair(f"{i}", a=f"yes {i}", b="no", prompt=f"{i}?") for i in range(8)]
    path, _ = _fit(chat_model, rows, tmp_path, epochs=2.0)
    items = [(row.prompt, completion) for row in rows for completion in (row.a, row.b)]
    scores = torch.tensor([score or 0.0 for score in RewardModel.load(path).scores(items)])
    assert scores.mean().item() == pytest.approx(0.0, abs=1e-3)
    assert scores.std(correction=0).item() == pytest.approx(1.0, abs=1e-3)


def test_the_members_of_an_ensemble_differ_in_head_and_order_and_each_can_be_served_alone(
    chat_model: Path, tmp_path: Path, make_pair: MakePair
):
    rows = [make_pair(f"{i}", a=f"yes {i}", b="no", prompt=f"{i}?") for i in range(40)]
    path, done = _fit(chat_model, rows, tmp_path, members=2, held_out=0.3)
    about = json.loads((path / "reward.json").read_text())
    assert [each["path"] for each in about["members"]] == ["member-0", "member-1"]
    heads: list[Any] = [classifier(path / f"member-{i}", None, "model").score for i in (0, 1)]
    assert not torch.allclose(heads[0].weight, heads[1].weight, atol=1e-2)
    assert done["held_out"]["accuracy"]["n"] > 0
    assert set(done["held_out"]["domains"]) == {"general"}
    item = (rows[0].prompt, rows[0].a)
    mean, worst = (RewardModel.load(path, how=how).scores([item])[0] for how in ("mean", "worst"))
    assert mean is not None
    assert worst is not None
    assert worst < mean


def test_a_completion_that_cannot_be_read_has_no_reward(chat_model: Path, tmp_path: Path, make_pair: MakePair):
    path, _ = _fit(chat_model, [make_pair(f"{i}", prompt=f"{i}?") for i in range(4)], tmp_path)
    prompt = Prompt(id="x", messages=(Message(role="user", content="Hm?"),))
    texts = ("fine", " ", "forged <|end|>", "long " * 200)
    scores = RewardModel.load(path).scores([(prompt, Completion(text=text)) for text in texts])
    assert [score is None for score in scores] == [False, True, True, True]


def test_a_run_that_goes_on_from_its_checkpoint_ends_in_the_same_weights(
    chat_model: Path, tmp_path: Path, make_pair: MakePair
):
    rows = [make_pair(f"{i}", a=f"yes {i}", b="no", prompt=f"{i}?") for i in range(24)]
    whole, _ = _fit(chat_model, rows, tmp_path)
    (tmp_path / "again").mkdir()
    config = RewardConfig.model_validate(
        json.loads((whole / "provenance.json").read_text())["config"]
        | {"output": tmp_path / "again/rm", "state": tmp_path / "state", "save_every": 2}
    )

    class Stop(Exception):
        """The machine is gone."""

    def killed(event: str, **fields: Any) -> None:
        if fields.get("step") == 4:
            raise Stop

    with pytest.raises(Stop):
        reward.run(config, killed)
    assert list((tmp_path / "state").glob("*/checkpoint-2"))
    events: list[dict[str, Any]] = []
    reward.run(config, lambda event, **fields: events.append({"event": event, **fields}))
    assert [event["step"] for event in events if event["event"] == "progress"] == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "again/rm/model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert not (tmp_path / "state").exists()


def test_held_out_pairs_of_a_file_are_measured_and_none_of_their_prompts_is_trained_on(
    chat_model: Path, tmp_path: Path, make_pair: MakePair
):
    rows = [make_pair(f"{i}", a=f"yes {i}", b="no", prompt=f"{i}?") for i in range(8)]
    out, _ = _fit(chat_model, rows, tmp_path)
    others = [make_pair(f"{i}", a=f"yes {i}", b="no", prompt=f"{i}?") for i in range(6, 11)]
    path = tmp_path / "others.jsonl"
    write_pairs(path, others)
    config = json.loads((out / "provenance.json").read_text())["config"]
    config |= {"output": tmp_path / "second", "held_out_pairs": path, "held_out": 0.0}
    events: list[dict[str, Any]] = []
    reward.run(RewardConfig.model_validate(config), lambda event, **fields: events.append({"event": event, **fields}))
    done = events[-1]
    assert done["pairs"] == 8
    assert done["held_out"]["accuracy"]["n"] == 3
    assert done["held_out_dropped"] == {"prompt_is_trained_on": 2}

    config |= {"output": tmp_path / "third", "held_out_pairs": config["pairs"]}
    with pytest.raises(InvalidInput, match="none of the 8 held_out_pairs can be measured on: 8 prompt_is_trained_on"):
        reward.run(RewardConfig.model_validate(config), lambda *_, **__: None)


@pytest.mark.parametrize("what", ["policy", "nothing"])
def test_a_directory_that_is_no_reward_model_is_refused(what: str, chat_model: Path, tmp_path: Path):
    with pytest.raises((InvalidInput, NotFound)) as caught:
        classifier(chat_model if what == "policy" else tmp_path, None, "rewards.0.path")
    assert caught.value.field == "rewards.0.path"
    assert caught.value.remedy
