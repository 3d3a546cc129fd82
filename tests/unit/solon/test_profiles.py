"""Value profiles in words."""

from solon.profiles import profile_text, under_profile
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
