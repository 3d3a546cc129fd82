"""A directory under git: people who edit the files and people who use the API share one history."""

import subprocess
from pathlib import Path

import pytest

from constitution.git_store import GitStore
from constitution.store import Precondition, Text, etag_of
from solon.errors import Busy, Conflict, NotFound, PreconditionFailed
from tests.unit.constitution.stores import ADA, ANY, BEN, HARBOUR, NEW


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "constitutions"


@pytest.fixture
def store(root: Path) -> GitStore:
    return GitStore(root)


def git(root: Path, *arguments: str) -> str:
    """What a person's own git says."""
    identity = ("-c", "user.name=Eve", "-c", "user.email=eve@example.org")
    done = subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def test_every_change_is_a_commit_of_its_author_and_the_work_tree_is_clean(store: GitStore, root: Path):
    draft = store.save_draft("harbour", "work", HARBOUR, NEW, ADA)
    store.publish(draft, Text("1.0.0", HARBOUR, "sha256:x"), BEN)
    store.move_label("harbour", "production", "1.0.0", NEW, ADA)
    assert git(root, "log", "--format=%an <%ae> %s").splitlines() == [
        "Ada Example <ada@example.org> First words",
        "Ben <> Other words",
        "Ada Example <ada@example.org> First words",
    ]
    assert git(root, "status", "--porcelain") == ""
    assert (root / "harbour/versions/1.0.0.yaml").read_bytes() == HARBOUR
    assert (root / "harbour/labels/production").read_text() == "1.0.0\n"


def test_a_draft_that_a_person_saves_and_commits_is_in_the_same_history(store: GitStore, root: Path):
    made = store.save_draft("harbour", "work", b"one\n", NEW, ADA)
    (root / "harbour/drafts/work.yaml").write_bytes(b"by hand\n")
    git(root, "commit", "-qam", "By hand")
    with pytest.raises(PreconditionFailed):
        store.save_draft("harbour", "work", b"lost?\n", Precondition(made.etag), BEN)
    draft = store.draft("harbour", "work")
    assert (draft.raw, draft.author) == (b"by hand\n", "Eve")
    newest = store.history("harbour")[0]
    assert (newest.author, newest.message) == ("Eve", "By hand")


def test_an_uncommitted_edit_is_seen_and_kept_in_the_history_when_the_api_writes_over_it(store: GitStore, root: Path):
    made = store.save_draft("harbour", "work", b"one\n", NEW, ADA)
    (root / "harbour/drafts/work.yaml").write_bytes(b"by hand\n")
    with pytest.raises(PreconditionFailed):
        store.save_draft("harbour", "work", b"two\n", Precondition(made.etag), BEN)
    store.save_draft("harbour", "work", b"two\n", Precondition(etag_of(b"by hand\n")), BEN)
    assert git(root, "show", "HEAD~1:harbour/drafts/work.yaml") == "by hand\n"
    assert [event.author for event in store.history("harbour")] == ["Ben", "Somebody at the files", "Ada Example"]


def test_a_version_that_a_person_commits_is_published(store: GitStore, root: Path):
    (root / "harbour/versions").mkdir(parents=True)
    (root / "harbour/versions/1.0.0.yaml").write_bytes(HARBOUR)
    assert store.versions("harbour") == ()
    git(root, "add", ".")
    git(root, "commit", "-qm", "Publish by hand")
    (version,) = store.versions("harbour")
    assert (version.author, version.message, version.content_hash) == ("Eve", "Publish by hand", None)


def test_a_published_version_stays_what_it_was_whatever_is_done_to_its_file(store: GitStore, root: Path):
    draft = store.save_draft("harbour", "work", HARBOUR, NEW, ADA)
    store.publish(draft, Text("1.0.0", HARBOUR, "sha256:x"), BEN)
    path = root / "harbour/versions/1.0.0.yaml"
    path.write_bytes(b"changed\n")
    git(root, "commit", "-qam", "Rewrite the past")
    assert store.version_bytes("harbour", "1.0.0") == HARBOUR
    git(root, "rm", "-q", "harbour/versions/1.0.0.yaml")
    git(root, "commit", "-qm", "Forget the past")
    assert store.version_bytes("harbour", "1.0.0") == HARBOUR
    assert store.versions("harbour")[0].etag == etag_of(HARBOUR)


def test_what_a_person_has_staged_is_left_alone(store: GitStore, root: Path):
    store.save_draft("harbour", "work", b"one\n", NEW, ADA)
    (root / "notes.txt").write_text("mine")
    git(root, "add", "notes.txt")
    store.save_draft("harbour", "work", b"two\n", ANY, BEN)
    assert git(root, "status", "--porcelain") == "A  notes.txt\n"


def test_a_refused_commit_leaves_the_draft_as_it_was(store: GitStore, root: Path):
    store.save_draft("harbour", "work", b"one\n", NEW, ADA)
    hook = root / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho 'not on a Saturday' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Conflict, match="not on a Saturday"):
        store.save_draft("harbour", "work", b"two\n", ANY, BEN)
    assert store.draft("harbour", "work").raw == b"one\n"
    assert git(root, "status", "--porcelain") == ""


def test_somebody_elses_git_at_work_is_busy_and_not_a_failure(store: GitStore, root: Path):
    store.save_draft("harbour", "work", b"one\n", NEW, ADA)
    (root / ".git/index.lock").touch()
    with pytest.raises(Busy):
        store.save_draft("harbour", "work", b"two\n", ANY, BEN)
    (root / ".git/index.lock").unlink()
    assert store.draft("harbour", "work").raw == b"one\n"


def test_links_do_not_lead_out_of_the_store(store: GitStore, root: Path, tmp_path: Path):
    (tmp_path / "secret.yaml").write_text("secret")
    (root / "harbour/drafts").mkdir(parents=True)
    (root / "harbour/drafts/work.yaml").symlink_to(tmp_path / "secret.yaml")
    (root / "other").mkdir()
    (root / "other/drafts").symlink_to(tmp_path)
    with pytest.raises(NotFound):
        store.draft("harbour", "work")
    with pytest.raises(Conflict):
        store.draft("other", "secret")


def test_a_folder_of_a_repository_can_be_the_store(tmp_path: Path):
    git(tmp_path, "init", "-q")
    store = GitStore(tmp_path / "texts")
    draft = store.save_draft("harbour", "work", HARBOUR, NEW, ADA)
    store.publish(draft, Text("1.0.0", HARBOUR, "sha256:x"), BEN)
    assert not (tmp_path / "texts/.git").exists()
    assert [version.version for version in store.versions("harbour")] == ["1.0.0"]
    assert git(tmp_path, "ls-files") == "texts/harbour/versions/1.0.0.yaml\n"


def test_files_that_do_not_belong_there_are_passed_over(store: GitStore, root: Path):
    for path in ("harbour/drafts/Not A Name.yaml", "harbour/labels/production", "harbour/versions/one.yaml"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("anything")
    git(root, "add", ".")
    git(root, "commit", "-qm", "Odd files")
    assert (store.drafts("harbour"), store.labels("harbour"), store.versions("harbour")) == ((), (), ())
