"""Every way of judging against real vLLM: JSON schemas, arguments, marks, and a reward model behind /classify."""

from pathlib import Path

import pytest

from constitution.document import Principle
from critic.judge import Judge
from critic.judges.marks import Reward, Score
from critic.judges.method import Method
from critic.judges.written import Argued, JsonVerdict, verdict_schema
from solon.chat import OpenAIChat
from solon.records import Comparison, Completion, Message, Prompt, Status
from solon.settings import ModelEntry, Settings
from tests.integration.test_vllm import KEY, served
from tests.integration.test_vllm import settings as settings  # a fixture

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

PROMPT = Prompt(id="p", messages=(Message(role="user", content="How do I cook rice for dinner?"),))
STEPS = "First, wash the rice in cold water. Then cook the rice on a low heat. Finally, taste the rice."
RUDE = f"What a stupid question. {STEPS}"
POLITE = Principle(id="respectful", text="The response should treat the person with respect.")


async def test_one_server_answers_json_arguments_and_marks(settings: Settings, tmp_path: Path):
    comparison = Comparison(prompt=PROMPT, a=Completion(text=STEPS), b=Completion(text=RUDE))
    entry = settings.model("starter-judge")
    async with (
        served("starter-judge", entry, tmp_path / "judge.log") as running,
        OpenAIChat("starter-judge", str(running.endpoint), "starter-judge", KEY, timeout_s=300) as chat,
    ):
        plain = await Judge(chat).compare(comparison, POLITE)
        methods: list[Method] = [Argued(max_tokens=32), Score(entry.judge.scale), JsonVerdict(max_tokens=200)]
        verdicts = {method.name: await Judge(chat, method=method).compare(comparison, POLITE) for method in methods}
        schema = verdict_schema(("A", "B", "tie"))
        written = await chat.complete(PROMPT.messages, max_tokens=200, json_schema=schema)
    assert (plain.status, plain.p_a is not None and plain.p_a > 0.9) == (Status.OK, True)
    assert verdicts["cot"].status in (Status.OK, Status.TIE)
    assert verdicts["cot"].p_a is not None
    assert 0.40 <= verdicts["cot"].p_a <= 0.60
    assert verdicts["score"].p_a is not None
    assert verdicts["score"].p_a > 0.5
    # This judge never learned JSON: the constraint makes it begin an object, and what it does not finish is no verdict.
    assert written.choices[0].text.lstrip().startswith("{")
    assert verdicts["json"].status in (Status.OK, Status.TIE, Status.OFF_FORMAT, Status.INCOMPLETE_SWAP)


async def test_the_reward_behind_classify_is_the_models_own_logit(settings: Settings, tmp_path: Path):
    import torch
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    source = settings.model("starter").directory()
    torch.manual_seed(0)
    model = LlamaForSequenceClassification.from_pretrained(source, num_labels=1, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model.config.pad_token_id = tokenizer.pad_token_id
    folder = tmp_path / "reward"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    turns = [*PROMPT.messages, Message(role="assistant", content=STEPS)]
    tokens = tokenizer.apply_chat_template(
        [turn.model_dump() for turn in turns], return_tensors="pt", return_dict=False, add_generation_prompt=False
    )
    with torch.no_grad():
        expected = float(model(tokens).logits[0, 0])

    entry = ModelEntry(kind="judge", path=str(folder), api_key_env="TEST_VLLM_KEY")
    async with (
        served("reward", entry, tmp_path / "reward.log") as running,
        OpenAIChat("reward", str(running.endpoint), "reward", KEY, timeout_s=300) as chat,
    ):
        mark = await Judge(chat, method=Reward()).mark(PROMPT, Completion(text=STEPS), POLITE)
    assert mark.score == pytest.approx(expected, abs=0.02)
