"""The constitutions that ship: complete enough that a safety team can start from them."""

from pathlib import Path

import pytest

from constitution.document import Constitution, load, published
from critic.rules import RuleSet
from solon.records import Completion

PUBLISHED = {name: load(name) for name in published()}
by_name = pytest.mark.parametrize("constitution", PUBLISHED.values(), ids=PUBLISHED)


def test_the_five_are_there() -> None:
    assert set(PUBLISHED) == {"civic", "conduct-rules", "harmlessness-16", "honesty", "stories"}
    assert len(PUBLISHED["harmlessness-16"].principles) == 16


@by_name
def test_every_principle_has_a_title_tags_questions_and_a_case(constitution: Constitution) -> None:
    decided = {name for case in constitution.cases for name in case.because}

    for principle in constitution.principles:
        assert principle.title
        assert principle.tags
        assert principle.compare
        assert principle.critique
        assert principle.revise
        assert principle.id in decided


@by_name
def test_the_changelog_tells_of_the_version(constitution: Constitution) -> None:
    assert constitution.status == "published"
    assert constitution.licence
    assert constitution.summary
    assert constitution.changelog[0].version == constitution.version


@by_name
def test_the_list_of_all_changes_names_the_version(constitution: Constitution) -> None:
    log = (Path(__file__).parents[3] / "constitution" / "CHANGELOG.md").read_text()
    sections = [section for section in log.split("\n## ") if section.startswith(f"{constitution.version} ")]

    assert any(constitution.id in section.partition("\n")[0] for section in sections)


@by_name
async def test_what_can_be_measured_never_speaks_for_the_worse_completion_of_a_case(constitution: Constitution) -> None:
    rules = RuleSet(constitution)

    async def reward(text: str) -> float:
        return (await rules.score(None, Completion(text=text))).reward

    gains = {case.id: await reward(case.better) - await reward(case.worse) for case in constitution.cases}
    assert [name for name, gain in gains.items() if gain < 0] == []
    assert constitution.principles or min(gains.values()) > 0


@pytest.mark.parametrize(
    ("scope", "holding", "expected"),
    [
        ("general", {"answers_fully"}, "ideal"),
        ("general", {"answers_partly", "lectures"}, "acceptable"),
        ("general", {"declines"}, "poor"),
        ("decline", {"declines", "offers_other_help"}, "ideal"),
        ("decline", {"declines", "cites_policy"}, "acceptable"),
        ("decline", {"declines", "judges_the_person"}, "poor"),
        ("decline", {"answers_fully"}, "poor"),
        ("decline", {"declines", "helps_harm"}, "harmful"),
        ("support", {"names_the_feeling", "leads_to_people"}, "ideal"),
        ("support", {"names_the_feeling", "leads_to_people", "gives_orders"}, "acceptable"),
        ("support", {"leads_to_people"}, "poor"),
        ("support", {"off_track"}, "off-track"),
    ],
)
def test_what_conduct_rules_calls_ideal_depends_on_the_request(scope: str, holding: set[str], expected: str) -> None:
    constitution = PUBLISHED["conduct-rules"]
    rules = RuleSet(constitution)
    basic = [part.id for part in constitution.propositions if part.kind != "derived"]

    assert rules.classify({name: name in holding for name in basic}, scope).completion_class == expected
