"""A constitution that extends another: what is inherited, overridden, dropped, refused; the hash is of the whole."""

from pathlib import Path

import pytest

from constitution.digest import content_hash, principle_hash
from constitution.document import Constitution, check, load, parse
from solon.errors import InvalidInput

PARENT = """\
format: constitution/v1
id: parent
title: Parent
version: 1.0.0
status: published
summary: Of the parent.
licence: CC0-1.0
scopes: {general: {description: Any.}, sensitive: {description: Health.}}
principles:
  - {id: kind, text: Be kind., tags: [tone], weight: 2.0}
  - {id: brief, text: Be brief., compare: Which is shorter?}
propositions: [{id: long, kind: measure, measure: words, op: ">", value: 9}]
rules: [{id: too-long, when: long, reward: -1.0}]
combine: {method: logit_sum, tie_margin: 0.2}
cases:
  - {id: one, prompt: Hi?, better: Hello., worse: Go., because: [kind]}
  - {id: two, prompt: Ho?, better: Yes., worse: Well yes., because: [brief]}
  - {id: both, prompt: Ha?, better: Yes., worse: Well no., because: [brief, kind]}
"""
CHILD = "format: constitution/v1\nid: child\ntitle: Child\nversion: 2.0.0\nderived_from: {constitution: parent.yaml}\n"


@pytest.fixture
def parent(tmp_path: Path) -> Constitution:
    (tmp_path / "parent.yaml").write_text(PARENT)
    return load(tmp_path / "parent.yaml")


def child(folder: Path, more: str = "", head: str = CHILD) -> Constitution:
    (folder / "child.yaml").write_text(head + more)
    return load(folder / "child.yaml")


def test_what_is_not_overridden_is_the_parents(tmp_path: Path, parent: Constitution) -> None:
    found = child(tmp_path)

    assert content_hash(found) == content_hash(parent)
    assert (found.id, found.version, found.status, found.summary) == ("child", "2.0.0", "draft", None)
    assert found.licence == "CC0-1.0"
    assert found.cases == parent.cases


def test_an_override_changes_the_fields_it_gives(tmp_path: Path, parent: Constitution) -> None:
    found = child(tmp_path, "principles: [{id: brief, weight: 3.0}, {id: plain, text: Use plain words.}]\n")

    assert [each.id for each in found.principles] == ["kind", "brief", "plain"]
    assert found.principles[1].weight == 3.0
    assert principle_hash(found.principles[1]) == principle_hash(parent.principles[1])


def test_null_takes_a_field_away(tmp_path: Path, parent: Constitution) -> None:
    found = child(tmp_path, "principles: [{id: brief, compare: null}]\n")

    assert found.principles[1].compare is None
    assert found.principles[1].text == "Be brief."


def test_scopes_and_combine_are_overridden_by_key(tmp_path: Path, parent: Constitution) -> None:
    found = child(tmp_path, "scopes: {legal: {description: Law.}}\ncombine: {tie_margin: 0.0}\n")

    assert set(found.scopes) == {"general", "sensitive", "legal"}
    assert (found.combine.method, found.combine.tie_margin) == ("logit_sum", 0.0)


def test_a_dropped_principle_takes_the_cases_it_decides_along(tmp_path: Path, parent: Constitution) -> None:
    head = CHILD.replace("parent.yaml}", "parent.yaml, drop: {principles: [brief], rules: [too-long]}}")
    found = child(tmp_path, head=head)

    assert [each.id for each in found.principles] == ["kind"]
    assert [(case.id, case.because) for case in found.cases] == [("one", ("kind",)), ("both", ("kind",))]
    assert found.rules == ()


def test_the_same_text_written_out_has_the_same_hash(tmp_path: Path, parent: Constitution) -> None:
    derived = child(tmp_path, "principles: [{id: kind, weight: 5.0}]\n")

    assert content_hash(derived) == content_hash(parse(PARENT.replace("weight: 2.0", "weight: 5.0").encode(), "whole"))
    assert content_hash(derived) != content_hash(parent)


def test_a_pin_holds_the_parent_to_its_text(tmp_path: Path, parent: Constitution) -> None:
    pinned = CHILD.replace("parent.yaml}", f"parent.yaml, content_hash: '{content_hash(parent)}'}}")
    assert content_hash(child(tmp_path, head=pinned)) == content_hash(parent)

    (tmp_path / "parent.yaml").write_text(PARENT.replace("Be kind.", "Be very kind."))
    with pytest.raises(InvalidInput, match="is not the text with this hash") as error:
        child(tmp_path, head=pinned)
    assert error.value.field == "derived_from.content_hash"


def test_a_child_may_be_extended_again(tmp_path: Path, parent: Constitution) -> None:
    child(tmp_path, "principles: [{id: kind, weight: 5.0}]\n")
    head = CHILD.replace("parent.yaml", "child.yaml").replace("id: child", "id: grandchild")
    (tmp_path / "grandchild.yaml").write_text(head + "principles: [{id: kind, veto: true}]\n")

    found = load(tmp_path / "grandchild.yaml")
    assert (found.principles[0].weight, found.principles[0].veto) == (5.0, True)


def test_a_whole_document_with_its_origin_loads_as_itself(tmp_path: Path, parent: Constitution) -> None:
    from solon.documents import write_yaml

    head = CHILD.replace("parent.yaml}", "parent.yaml, drop: {principles: [brief]}}")
    found = child(tmp_path, "principles: [{id: plain, text: Use plain words.}]\n", head)
    (tmp_path / "again.yaml").write_text(write_yaml(found.model_dump(mode="json")))

    assert load(tmp_path / "again.yaml") == found


def test_a_published_version_can_be_extended() -> None:
    text = CHILD.replace("parent.yaml", "civic@1.0.0") + "principles: [{id: concise, weight: 2.0}]\n"

    assert len(parse(text.encode(), "child").principles) == len(load("civic").principles)


@pytest.mark.parametrize(
    ("head", "more", "says"),
    [
        (
            "constitution: parent.yaml",
            "principles: [{id: breif, weight: 3.0}]",
            "line 6, column 14: this field is missing",
        ),
        (
            "constitution: parent.yaml",
            "principles: [{id: breif, weight: 3.0}]",
            "or correct the id: parent.yaml has no",
        ),
        ("constitution: parent.yaml", "principles: [{id: brief, weight: -1.0}]", "line 6, column 26: must be greater"),
        ("constitution: parent.yaml, drop: {principles: [breif]}", "", "parent.yaml has no principles 'breif'"),
        ("constitution: parent.yaml", "rules: []", ""),
        ("constitution: parent.yaml, drop: {propositions: [long]}", "", "unknown proposition 'long'"),
        ("constitution: absent.yaml", "", "cannot read the constitution file"),
        ("constitution: child.yaml", "", "derived from itself"),
        ("constitution: civic", "", "line 5, column 16: not a constitution to derive from"),
        ("constitution: civic@production", "", "line 5, column 16: not a constitution to derive from"),
        ("constitution: parent.yaml", "principles: [{id: brief, weight: 2.0}, {id: brief, weight: 3.0}]", "used twice"),
        ("constitution: civic@9.9.9", "", "unknown constitution 'civic@9.9.9'"),
        ("version: 1.0.0", "", "line 5, column 1: this field is missing"),
        ("constitution: parent.yaml, drop: [brief]", "", "must be a mapping"),
        ("constitution: parent.yaml, drop: {principles: brief}", "", "must be a list"),
        ("constitution: parent.yaml, drop: {principles: [{id: brief}]}", "", "must be text"),
        ("constitution: parent.yaml", "principles: [brief]", "must be a mapping"),
        ("constitution: parent.yaml", "principles: {brief: 1}", "must be a list"),
        ("constitution: parent.yaml", "scopes: []", "must be a mapping"),
    ],
)
def test_what_is_wrong_is_named_where_it_stands(
    tmp_path: Path, parent: Constitution, head: str, more: str, says: str
) -> None:
    text = CHILD.replace("constitution: parent.yaml", head)
    if not says:
        assert child(tmp_path, more, text).rules == parent.rules  # an empty list overrides nothing
        return
    with pytest.raises(InvalidInput) as error:
        child(tmp_path, more, text)

    assert says in str(error.value)


def test_text_that_comes_with_a_request_names_no_files(tmp_path: Path, parent: Constitution) -> None:
    text = CHILD.replace("parent.yaml", str(tmp_path / "parent.yaml"))
    found, problems = check(text.encode())

    assert found is None
    assert "files cannot be named here" in str(problems[0])
