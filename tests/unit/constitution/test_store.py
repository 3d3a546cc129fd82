"""Both stores keep the same promises: what is published stays, and no change is lost."""

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from constitution.store import Draft, Note, Precondition, Store, Text, etag_of
from solon.errors import Conflict, InvalidInput, NotFound, PreconditionFailed, PreconditionRequired
from tests.unit.constitution.stores import ADA, ANY, BEN, HARBOUR, KINDS, NEW, PATIENCE_S, open_store, processes

EDITORS = 4
ROUNDS = 3


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(request.param, tmp_path)


def published(store: Store, version: str = "1.0.0", raw: bytes = HARBOUR) -> None:
    draft = store.save_draft("harbour", "work", raw, NEW, ADA)
    store.publish(draft, Text(version, raw, "sha256:x"), BEN)


def test_an_empty_store_holds_nothing(store: Store):
    assert (store.ids(), store.drafts("harbour"), store.versions("harbour")) == ((), (), ())
    assert (store.labels("harbour"), store.history("harbour")) == ((), ())
    with pytest.raises(NotFound):
        store.draft("harbour", "work")
    with pytest.raises(NotFound):
        store.version_bytes("harbour", "1.0.0")


def test_a_draft_is_created_once_and_changed_by_its_etag(store: Store):
    made = store.save_draft("harbour", "work", b"one", NEW, ADA)
    assert (made.etag, made.author.startswith("Ada Example")) == (etag_of(b"one"), True)
    with pytest.raises(PreconditionFailed):
        store.save_draft("harbour", "work", b"two", NEW, BEN)
    changed = store.save_draft("harbour", "work", b"two", Precondition(made.etag), BEN)
    with pytest.raises(PreconditionFailed):
        store.save_draft("harbour", "work", b"three", Precondition(made.etag), ADA)
    assert store.draft("harbour", "work").raw == b"two"
    assert [draft.etag for draft in store.drafts("harbour")] == [changed.etag]
    assert store.ids() == ("harbour",)


def test_a_draft_that_is_not_there_cannot_be_changed_or_removed(store: Store):
    for precondition in (ANY, Precondition(etag_of(b""))):
        with pytest.raises(PreconditionFailed):
            store.save_draft("harbour", "work", b"one", precondition, ADA)
        with pytest.raises(PreconditionFailed):
            store.remove_draft("harbour", "work", precondition, ADA)
    assert store.history("harbour") == ()


def test_a_removed_draft_is_gone_and_remembered(store: Store):
    store.save_draft("harbour", "work", b"one", NEW, ADA)
    with pytest.raises(PreconditionFailed):
        store.remove_draft("harbour", "work", Precondition("0" * 64), ADA)
    store.remove_draft("harbour", "work", ANY, BEN)
    assert store.drafts("harbour") == ()
    assert [event.action for event in store.history("harbour")] == ["draft_removed", "draft_saved"]


def test_a_published_version_keeps_its_bytes_and_its_draft_is_gone(store: Store):
    published(store)
    (version,) = store.versions("harbour")
    assert store.version_bytes("harbour", "1.0.0") == HARBOUR
    assert (version.etag, version.content_hash, version.message) == (etag_of(HARBOUR), "sha256:x", "Other words")
    assert store.drafts("harbour") == ()
    assert [(event.action, event.name) for event in store.history("harbour")] == [
        ("published", "1.0.0"),
        ("draft_saved", "work"),
    ]


def test_a_version_is_never_published_twice(store: Store):
    published(store)
    draft = store.save_draft("harbour", "again", b"other", NEW, ADA)
    with pytest.raises(Conflict):
        store.publish(draft, Text("1.0.0", b"other", "sha256:y"), ADA)
    assert store.version_bytes("harbour", "1.0.0") == HARBOUR
    assert store.draft("harbour", "again").raw == b"other"


def test_a_draft_that_was_changed_meanwhile_is_not_published(store: Store):
    draft = store.save_draft("harbour", "work", HARBOUR, NEW, ADA)
    store.save_draft("harbour", "work", b"changed", ANY, BEN)
    with pytest.raises(PreconditionFailed):
        store.publish(draft, Text("1.0.0", HARBOUR, "sha256:x"), ADA)
    assert store.versions("harbour") == ()
    assert store.draft("harbour", "work").raw == b"changed"


def test_versions_stay_in_the_order_of_their_publication(store: Store):
    for version in ("1.0.0", "2.0.0", "1.0.1"):
        published(store, version, version.encode())
    assert [version.version for version in store.versions("harbour")] == ["1.0.0", "2.0.0", "1.0.1"]


def test_a_label_moves_by_its_etag(store: Store):
    published(store)
    made = store.move_label("harbour", "production", "1.0.0", NEW, ADA)
    moved = store.move_label("harbour", "production", "1.1.0", Precondition(made.etag), BEN)
    with pytest.raises(PreconditionFailed):
        store.move_label("harbour", "production", "1.2.0", Precondition(made.etag), ADA)
    assert store.labels("harbour") == (moved,)
    assert moved.version == "1.1.0"
    assert [event.action for event in store.history("harbour")][:2] == ["label_moved"] * 2


def test_the_same_text_again_is_no_event(store: Store):
    store.save_draft("harbour", "work", b"one", NEW, ADA)
    again = store.save_draft("harbour", "work", b"one", ANY, BEN)
    assert again.author.startswith("Ada")
    assert len(store.history("harbour")) == 1


def test_history_names_authors_and_messages_newest_first(store: Store):
    store.save_draft("harbour", "work", b"one", NEW, Note("Zoë <z@example.org>", "Begin; with: odd -- 'signs'"))
    store.save_draft("other", "work", b"one", NEW, ADA)
    store.save_draft("harbour", "work", b"two", ANY, BEN)
    events = store.history("harbour")
    assert [(event.author.partition(" <")[0], event.message) for event in events] == [
        ("Ben", "Other words"),
        ("Zoë", "Begin; with: odd -- 'signs'"),
    ]
    assert events[0].at >= events[1].at


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_is_opened_again_is_the_same(kind: str, tmp_path: Path):
    published(open_store(kind, tmp_path))
    assert [version.version for version in open_store(kind, tmp_path).versions("harbour")] == ["1.0.0"]


@pytest.mark.parametrize(
    ("author", "message"),
    [("", "m"), ("a\nb", "m"), ("<a@b>", "m"), ("a <b> c", "m"), ("a", ""), ("a", "two\nlines"), ("a", "x" * 501)],
)
def test_a_note_is_a_name_and_one_line(author: str, message: str):
    with pytest.raises(InvalidInput):
        Note(author, message)


@pytest.mark.parametrize(
    ("header", "current", "met"),
    [
        ('"a"', "a", True),
        ("a", "a", True),
        ('"b", "a"', "a", True),
        ("*", "a", True),
        ("*", None, False),
        ('"a"', None, False),
        ('"b"', "a", False),
        ('W/"a"', "a", False),
        ("", "a", False),
    ],
)
def test_if_match_is_read_as_http_means_it(header: str, current: str | None, met: bool):
    if met:
        Precondition(header).check(current)
    else:
        with pytest.raises(PreconditionFailed):
            Precondition(header).check(current)


def test_a_change_without_a_precondition_is_refused():
    with pytest.raises(PreconditionRequired):
        Precondition()
    with pytest.raises(InvalidInput):
        Precondition(if_none_match='"a"')


def add_a_line(store: Store, editor: str, start: threading.Barrier) -> str:
    """One editor's attempt from the text that all have read: "saved" or "refused"."""
    draft = store.draft("harbour", "work")
    start.wait()
    try:
        store.save_draft("harbour", "work", draft.raw + editor.encode() + b"\n", Precondition(draft.etag), ADA)
    except PreconditionFailed:
        return "refused"
    return "saved"


def publish_it(store: Store, editor: str, start: threading.Barrier) -> str:
    """One editor's attempt to publish the draft that all have read."""
    draft = store.draft("harbour", "work")
    start.wait()
    try:
        store.publish(draft, Text(f"1.0.{editor}", draft.raw, "sha256:x"), ADA)
    except PreconditionFailed:
        return "refused"
    return "saved"


@pytest.mark.parametrize("kind", KINDS)
def test_of_editors_in_threads_with_one_etag_one_succeeds_and_no_line_is_lost(kind: str, tmp_path: Path):
    stores = [open_store(kind, tmp_path) for _ in range(EDITORS // 2)] * 2  # some share one
    stores[0].save_draft("harbour", "work", b"", NEW, ADA)
    start = threading.Barrier(EDITORS)  # all have read
    for round_ in range(1, ROUNDS + 1):
        ended = in_threads(lambda index: add_a_line(stores[index], str(index), start))
        assert ended == {"saved": 1, "refused": EDITORS - 1}
        assert len(stores[0].draft("harbour", "work").raw.splitlines()) == round_
    ended = in_threads(lambda index: publish_it(stores[index], str(index), start))
    assert ended == {"saved": 1, "refused": EDITORS - 1}
    assert len(stores[0].versions("harbour")) == 1


def in_threads(work: Callable[[int], str]) -> Counter[str]:
    ended: list[str] = []
    threads = [threading.Thread(target=lambda index=index: ended.append(work(index))) for index in range(EDITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(ended)


def edit_in_a_process(
    kind: str, folder: Path, editor: str, start: threading.Barrier, ended: "multiprocessing.Queue[str]"
):
    """A process of its own: opens the store, and edits in every round."""
    store = open_store(kind, folder)
    for _ in range(ROUNDS):
        ended.put(add_a_line(store, editor, start))
        start.wait()


@pytest.mark.parametrize("kind", KINDS)
def test_of_editors_in_processes_with_one_etag_one_succeeds_and_no_line_is_lost(kind: str, tmp_path: Path):
    open_store(kind, tmp_path).save_draft("harbour", "work", b"", NEW, ADA)
    context = processes()
    start, ended = context.Barrier(2), context.Queue()
    arguments = [(kind, tmp_path, str(index), start, ended) for index in range(2)]
    editors = [context.Process(target=edit_in_a_process, args=each) for each in arguments]
    for process in editors:
        process.start()
    results = Counter(ended.get(timeout=PATIENCE_S) for _ in range(2 * ROUNDS))
    for process in editors:
        process.join()
    assert results == {"saved": ROUNDS, "refused": ROUNDS}
    final: Draft = open_store(kind, tmp_path).draft("harbour", "work")
    assert len(final.raw.splitlines()) == ROUNDS
    assert len(open_store(kind, tmp_path).history("harbour")) == ROUNDS + 1
