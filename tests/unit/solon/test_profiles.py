"""Value profiles in words."""

from solon.fakes import Call, ScriptedChat, text_reply
from solon.profiles import Profiled, profile_text, under_profile
from solon.records import Message


def test_a_profile_is_the_same_text_in_whatever_order_it_is_given():
    assert profile_text({"concise": 0.5, "tag:tone": 4.0}) == "Weigh concise 0.5, tone 4."
    assert profile_text({"tag:tone": 4.0, "concise": 0.5}) == profile_text({"concise": 0.5, "tag:tone": 4.0})
    assert profile_text({}) == ""


def test_a_profile_stands_in_the_system_message_after_what_is_there():
    asked = (Message(role="user", content="hello"),)
    assert under_profile(asked, {}) == asked
    system, user = under_profile(asked, {"concise": 2.0})
    assert (system.role, system.content, user) == ("system", "Weigh concise 2.", asked[0])
    both = under_profile((Message(role="system", content="Be kind."), *asked), {"concise": 2.0})
    assert [message.content for message in both] == ["Be kind.\nWeigh concise 2.", "hello"]


async def test_a_registered_profile_begins_every_conversation():
    seen: list[Call] = []

    def script(call: Call):  # noqa: ANN202
        seen.append(call)
        return text_reply("yes")

    model = Profiled(ScriptedChat("p", script), {"tag:tone": 4.0})
    await model.complete((Message(role="user", content="hello"),), max_tokens=5, seed=3)
    assert [message.content for message in seen[0].messages] == ["Weigh tone 4.", "hello"]
    assert (model.name, seen[0].seed) == ("p", 3)
