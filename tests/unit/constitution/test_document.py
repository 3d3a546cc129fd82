"""Constitution files: what is read, and how each kind of mistake is reported."""

from pathlib import Path

import pytest

from constitution.document import Constitution, check, load, load_published, parse, published
from solon.errors import NotFound

MINIMAL = """\
format: constitution/v1
id: harbour
title: Harbour
version: 1.0.0
principles:
  - id: be-kind
    text: Be kind.
"""


def test_the_contract_example_is_read() -> None:
    constitution = load(Path(__file__).parent / "harbour.yaml")

    assert constitution.version == "3.1.0"
    assert constitution.principles[0].veto
    assert [part.kind for part in constitution.propositions] == ["judge", "judge", "regex", "measure"]
    assert constitution.combine.rule_reward_weight == 0.3


def test_defaults_are_filled_in() -> None:
    constitution = parse(MINIMAL.encode(), "x.yaml")

    assert list(constitution.scopes) == ["general"]
    assert constitution.status == "draft"
    assert constitution.principles[0].weight == 1.0
    assert constitution.combine.tie_margin == 0.1


def test_principles_without_scopes_apply_everywhere_and_others_only_there() -> None:
    constitution = load(Path(__file__).parent / "harbour.yaml")

    assert [part.id for part in constitution.principles_for("general")] == ["no-serious-harm"]
    assert [part.id for part in constitution.principles_for("sensitive")] == ["no-serious-harm", "be-gentle"]
    assert constitution.rules_for("general") == ()
    assert [part.id for part in constitution.rules_for("sensitive")] == ["preachy"]


@pytest.mark.parametrize("value", ["2020-13-45", "2020-01-01", "12:30:00", "1_000_000 words", "no", "null and void"])
def test_what_only_looks_like_another_type_is_text(value: str) -> None:
    assert parse(MINIMAL.replace("title: Harbour", f"title: {value}").encode(), "x").title == value


@pytest.mark.parametrize("value", [".nan", "~", "0x10", "[[]]", "{1: 2}", "true"])
def test_odd_scalars_are_problems_and_not_crashes(value: str) -> None:
    _, problems = check(MINIMAL.replace("title: Harbour", f"title: {value}").encode())

    assert problems


def test_every_published_constitution_is_valid_and_named_after_its_file() -> None:
    constitutions = [load(name) for name in published()]

    assert [constitution.id for constitution in constitutions] == list(published())
    assert {"stories"} <= set(published())


def test_a_version_can_be_asked_for() -> None:
    version = load("stories").version

    assert load(f"stories@{version}") == load("stories")
    with pytest.raises(NotFound, match=f"known: stories@{version}"):
        load("stories@99.0.0")


def test_an_unknown_id_lists_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"known: .*stories"):
        load("unheard-of")


def test_an_unknown_file_says_so() -> None:
    with pytest.raises(NotFound, match=r"cannot read the constitution file nowhere\.yaml"):
        load("nowhere.yaml")


@pytest.mark.parametrize("ref", ["../published/stories", "stories.yaml", "/etc/passwd", "stories@", "stories@../x"])
def test_a_request_can_never_name_a_path(ref: str) -> None:
    with pytest.raises(NotFound):
        load_published(ref)


def test_a_directory_is_no_constitution(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load(tmp_path)


def test_the_models_are_frozen() -> None:
    constitution: Constitution = load("stories")

    with pytest.raises(ValueError, match="frozen"):
        constitution.title = "Other"  # pyright: ignore[reportAttributeAccessIssue]
