"""Editing by the rules: what may be saved, what may be published, and what a reference finds."""

from pathlib import Path

import pytest

from constitution.differences import Side, compared, difference
from constitution.document import load, parse, read_bytes
from constitution.editing import Editor
from constitution.library import Library, parse_reference
from constitution.store import Precondition
from solon.errors import Conflict, InvalidInput, NotFound, PreconditionFailed
from tests.unit.constitution.stores import ADA, ANY, BEN, HARBOUR, NEW, open_store


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    return Editor(open_store("database", tmp_path))


def publish(editor: Editor, version: str, raw: bytes = HARBOUR) -> None:
    editor.save_draft("harbour", "work", raw, NEW, ADA)
    editor.publish(editor.prepare("harbour", "work", ANY, author="Ada", message=f"Now {version}.", version=version))


def test_shipped_constitutions_are_found_without_a_store():
    library = Library()
    assert "civic" in library.ids()
    assert library.load("civic") == load("civic")
    assert library.pinned("civic") == f"civic@{load('civic').version}"
    assert [version.author for version in library.versions("civic")] == ["Solon"]


def test_an_id_alone_names_the_highest_version_and_a_label_the_one_it_was_moved_to(editor: Editor):
    for version in ("1.9.0", "1.10.0", "1.9.1"):
        publish(editor, version)
    editor.move_label("harbour", "production", "1.9.0", NEW, "Ada", None)
    assert editor.library.pinned("harbour") == "harbour@1.10.0"
    assert editor.library.pinned("harbour@production") == "harbour@1.9.0"
    assert [version.parent for version in editor.library.versions("harbour")] == [None, "1.9.0", "1.10.0"]


def test_a_new_version_of_a_shipped_constitution_follows_it(editor: Editor):
    editor.save_draft("civic", "work", read_bytes("civic"), NEW, ADA)
    with pytest.raises(Conflict):
        editor.prepare("civic", "work", ANY, author="Ada", message="The same again.")
    made = editor.publish(editor.prepare("civic", "work", ANY, author="Ada", message="Better.", version="9.0.0"))
    assert made.parent == load("civic").version
    assert editor.library.load("civic").version == "9.0.0"
    assert editor.library.load(f"civic@{load('civic').version}") == load("civic")
    assert editor.library.with_hash("civic", made.content_hash or "").reference.name == "9.0.0"


def test_a_draft_can_be_derived_from_a_version_in_the_store(editor: Editor):
    publish(editor, "1.0.0")
    child = (
        b"format: constitution/v1\nid: quay\ntitle: Quay\nversion: 1.0.0\nderived_from: {constitution: harbour@1.0.0}\n"
    )
    editor.save_draft("quay", "work", child, NEW, ADA)
    assert editor.check_draft("quay", "work").problems == ()
    editor.publish(editor.prepare("quay", "work", ANY, author="Ada", message="Begin."))
    assert [principle.id for principle in editor.library.load("quay").principles] == ["kind"]


@pytest.mark.parametrize(
    "reference", ["nowhere", "civic@9.9.9", "civic@production", "civic@draft:work", "../civic", "", "civic@"]
)
def test_what_is_not_published_is_not_found(editor: Editor, reference: str):
    editor.save_draft("civic", "work", HARBOUR, NEW, ADA)
    with pytest.raises(NotFound):
        editor.library.load(reference)


@pytest.mark.parametrize("text", ["civic", "civic@1.0.0", "civic@production", "civic@draft:my-work"])
def test_references_are_written_as_they_are_read(text: str):
    assert str(parse_reference(text)) == text


def test_the_changelog_line_is_the_message_or_stands_in_the_text_already(editor: Editor):
    editor.save_draft("harbour", "work", HARBOUR, NEW, ADA)
    with pytest.raises(InvalidInput) as caught:
        editor.prepare("harbour", "work", ANY, author="Ada")
    assert caught.value.field == "message"
    publish_with_line = HARBOUR + b"changelog:\n  - {version: 1.0.0, note: Written before.}   # mine\n"
    editor.save_draft("harbour", "work", publish_with_line, ANY, ADA)
    assert editor.publish(editor.prepare("harbour", "work", ANY, author="Ada")).message == "Written before."
    publish(editor, "1.1.0", publish_with_line)
    text = editor.library.find("harbour").raw
    assert b"  - {version: 1.0.0, note: Written before.}   # mine\n" in text
    assert [change.note for change in editor.library.load("harbour").changelog] == ["Now 1.1.0.", "Written before."]


def test_preparing_changes_nothing_and_a_draft_that_changes_afterwards_is_not_published(editor: Editor):
    draft = editor.save_draft("harbour", "work", HARBOUR, NEW, ADA)
    prepared = editor.prepare("harbour", "work", Precondition(draft.etag), author="Ada", message="m")
    assert (prepared.constitution.status, prepared.draft) == ("published", draft)
    assert (editor.library.versions("harbour"), editor.draft("harbour", "work")) == ((), draft)
    editor.save_draft("harbour", "work", HARBOUR + b"# meanwhile\n", ANY, BEN)
    with pytest.raises(PreconditionFailed):
        editor.publish(prepared)
    assert editor.library.versions("harbour") == ()


@pytest.mark.parametrize("name", ["Work", "../work", "a/b", "", "x" * 64, "work\n"])
def test_names_that_are_no_names_are_refused(editor: Editor, name: str):
    with pytest.raises(InvalidInput):
        editor.save_draft("harbour", name, b"", NEW, ADA)
    with pytest.raises(InvalidInput):
        editor.save_draft(name, "work", b"", NEW, ADA)
    with pytest.raises(NotFound):
        editor.draft("harbour", name)


TWO = HARBOUR + b"  - {id: plain, text: Be plain., title: Plainly, tags: [tone]}\n"


@pytest.mark.parametrize(
    ("old", "new", "said", "may_change", "to_judge"),
    [
        (b"Be kind.", b"Be kinder.", "~ principle kind: text reworded: Be kind. -> Be kinder.", True, ("kind",)),
        (b"weight: 1.0", b"weight: 2", "~ principle kind: weight reweighted: 1.0 -> 2.0", True, ()),
        (b"tags: [tone]", b"tags: []", "~ principle plain: tags changed: ['tone'] -> []", False, ()),
        (b"id: plain", b"id: simple", "- principle plain|+ principle simple", True, ()),
        (b"title: Harbour", b"title: Port", "~ document: title changed: Harbour -> Port", False, ()),
    ],
)
def test_a_difference_says_what_a_change_means(
    old: bytes, new: bytes, said: str, may_change: bool, to_judge: tuple[str, ...]
):
    before, after = (parse(raw, "text") for raw in (TWO, TWO.replace(old, new)))
    found = difference(before, after)
    assert "|".join(map(str, found.changes)) == said
    assert (found.labels_may_change, found.principles_to_judge) == (may_change, to_judge)


def test_rules_scopes_and_combine_are_compared_too():
    before = load("stories")
    first, second, *others = before.rules
    changed = before.model_copy(
        update={
            "rules": (second, first.model_copy(update={"reward": 9.0}), *others[1:]),
            "combine": before.combine.model_copy(update={"tie_margin": 0.5}),
        }
    )
    said = [str(change) for change in difference(before, changed).changes]
    assert f"- rule {others[0].id}" in said
    assert f"~ rule {first.id}: reward changed: {first.reward} -> 9.0" in said
    assert f"~ document: combine.tie_margin changed: {before.combine.tie_margin} -> 0.5" in said
    assert len(said) == 3


def test_the_same_text_has_no_difference():
    side = Side("civic", read_bytes("civic"), load("civic"))
    found = compared(side, side)
    assert found.text == ""
    assert found.difference is not None
    assert (found.difference.changes, found.difference.labels_may_change) == ((), False)


def test_texts_that_are_no_constitutions_are_compared_line_by_line():
    found = compared(Side("one", b"a: 1\n", None), Side("two", b"a: 2\n", None))
    assert found.difference is None
    assert found.text.splitlines()[-2:] == ["-a: 1", "+a: 2"]
