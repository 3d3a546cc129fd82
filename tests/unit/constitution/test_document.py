"""Constitution files: what is read, and how each kind of mistake is reported."""

from pathlib import Path

import pytest

from constitution.document import Constitution, check, load, load_published, parse, published
from solon.errors import InvalidInput, NotFound

MINIMAL = """\
format: constitution/v1
id: harbour
title: Harbour
version: 1.0.0
principles:
  - id: be-kind
    text: Be kind.
"""


def problem(text: str | bytes) -> tuple[str, int, int, str | None]:
    """Message, line, column and field of the one problem in a file."""
    raw = text.encode() if isinstance(text, str) else text
    _, problems = check(raw)
    assert len(problems) == 1, problems
    first = problems[0]
    return first.message, first.line, first.column, first.field


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


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("title: Harbour", "titel: Harbour\ntitle: Harbour", ("unknown key", 3, 1, "titel")),
        ("title: Harbour", "title: 7", ("must be text", 3, 1, "title")),
        ("version: 1.0.0", "version: 1.0", ("must be text", 4, 1, "version")),
        ("    text: Be kind.", "    txt: Be kind.\n    text: x", ("unknown key", 7, 5, "principles[0].txt")),
        ("    text: Be kind.", "    weight: 1", ("this field is missing", 6, 5, "principles[0].text")),
        ("    text: Be kind.", "    text: x\n    veto: 1", ("must be true or false", 8, 5, "principles[0].veto")),
        ("    text: Be kind.", "    text: x\n    scopes: [sea]",
         ("'sea' is not defined", 8, 14, "principles[0].scopes[0]")),
        ("    text: Be kind.", "    text: x\n    id: y", ("a key is given twice", 8, 5, None)),
        ("    text: Be kind.", "    text: &a x", ("anchors (&name) are not allowed", 7, 11, None)),
        ("    text: Be kind.", "    text: *a", ("aliases (*name) are not allowed", 7, 11, None)),
        ("    text: Be kind.", "    text: !t x", ("tags (!name) are not allowed", 7, 11, None)),
        ("    text: Be kind.", "    text: x\n---\na: b", ("a second document begins here", 8, 1, None)),
        ("    text: Be kind.", "    text: " + "[" * 40, ("nested deeper than 16 levels", 7, 24, None)),
        ("    text: Be kind.", "    text: 'x", ("found unexpected end of stream", 8, 1, None)),
        ("format: constitution/v1", "%YAML 1.1\n---\nformat: x",
         ("directives (%YAML, %TAG) are not allowed", 2, 1, None)),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_place(old: str, new: str, expected: tuple[str, int, int, str | None]) -> None:
    assert problem(MINIMAL.replace(old, new)) == expected


@pytest.mark.parametrize("name", ["../harbour", "har/bour", "Harbour", "", "a" * 64, "con.yaml"])
def test_an_id_cannot_be_a_path(name: str) -> None:
    message, line, column, field = problem(MINIMAL.replace("id: harbour", f"id: '{name}'"))

    assert (line, column, field) == (2, 1, "id")
    assert "pattern" in message


def test_bytes_that_are_not_utf8_are_reported_with_their_place() -> None:
    assert problem(MINIMAL.encode() + b"  - id: \xff") == ("the file is not valid UTF-8", 8, 9, None)


def test_a_lone_surrogate_is_refused() -> None:
    _, problems = check(MINIMAL.replace("Be kind.", r'"\ud800"').encode())

    assert problems


def test_more_than_a_mebibyte_is_refused() -> None:
    message, *_ = problem(MINIMAL + "# " + "x" * (1 << 20))

    assert "more than 1048576" in message


@pytest.mark.parametrize("text", ["", "- a\n", "just text\n", "\t"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    assert problem(text)[0]


@pytest.mark.parametrize("value", ["2020-13-45", "2020-01-01", ".nan", "~", "0x10", "[[]]", "{1: 2}"])
def test_odd_scalars_are_problems_and_not_crashes(value: str) -> None:
    _, problems = check(MINIMAL.replace("title: Harbour", f"title: {value}").encode())

    assert problems


def test_weights_are_finite() -> None:
    message, *_ = problem(MINIMAL + "    weight: .inf\n")

    assert "finite" in message or "1000" in message


def test_an_id_used_twice_is_refused() -> None:
    text = MINIMAL + "  - id: be-kind\n    text: Again.\n"

    assert problem(text) == ("the id 'be-kind' is used twice", 8, 5, "principles[1].id")


def test_a_case_cites_principles_that_exist() -> None:
    text = MINIMAL + "cases:\n  - {id: c, prompt: p, better: b, worse: w, because: [be-fast]}\n"

    assert problem(text)[0] == "'be-fast' is not defined"


def test_a_constitution_says_something() -> None:
    assert "at least one principle or rule" in problem(MINIMAL.partition("principles:")[0])[0]


def test_all_problems_are_listed_and_the_error_says_how_many_more() -> None:
    text = MINIMAL.replace("title: Harbour", "titel: Harbour").replace("version: 1.0.0", "version: 1.0")

    _, problems = check(text.encode())
    with pytest.raises(InvalidInput, match=r"bad\.yaml, line \d+, column \d+: .*2 more"):
        parse(text.encode(), "bad.yaml")

    assert len(problems) == 3


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
