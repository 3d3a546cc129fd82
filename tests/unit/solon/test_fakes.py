"""The scripted models keep to what their names say."""

from solon.fakes import echo_policy, keyword_judge, keyword_score, label_reply
from solon.records import Message


def test_a_label_reply_leaves_the_rest_to_other_words():
    reply = label_reply({"A": 0.6, "B": 0.1})
    assert reply.choices[0].text == "A"
    assert {entry.token for entry in reply.choices[0].first_token} == {"A", "B", "The", "I", "It", "Both", "Neither"}


def test_keyword_scores_ignore_case():
    assert keyword_score(["kind"], ["rude"])("Kind, kind and RUDE.") == 1.0


async def test_calls_are_counted():
    model = keyword_judge(["kind"])
    for _ in range(3):
        await model.complete(
            [Message(role="user", content="[A]\nkind\n[/A]\n[B]\nx\n[/B]\nPrinciple: Be kind.")], max_tokens=1
        )
    assert model.calls == 3
    assert model.in_flight == 0


async def test_an_echo_differs_by_seed():
    turn = [Message(role="user", content="Bread?")]
    replies = [await echo_policy().complete(turn, max_tokens=9, seed=seed) for seed in range(4)]
    assert len({reply.choices[0].text for reply in replies}) == 4
    assert all(reply.choices[0].text.startswith("Bread?") for reply in replies)
