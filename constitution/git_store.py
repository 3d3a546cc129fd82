"""A directory under git as the store: people with an editor and people with the API share one history.

    DIR/civic/drafts/work.yaml      a draft; edit it with anything, commit it or not
    DIR/civic/versions/1.1.0.yaml   a published version: the file as it was first committed, whatever becomes of it
    DIR/civic/labels/production     one line: the version that the label names

Every change made here is one commit of the files it touches; what else is staged or changed in the work tree is left
alone. A draft that was edited in the files and not committed is committed as such before the API writes over it. An
advisory lock keeps our own threads and processes apart; a person's editor is noticed by the ETag of the file.
"""

import fcntl
import os
import re
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from constitution.git_log import LOG_FORMAT, Commit, commits
from constitution.source import MAX_BYTES
from constitution.store import (
    VERSION_PATTERN,
    Action,
    Draft,
    Happening,
    Label,
    Note,
    Precondition,
    Text,
    Version,
    etag_of,
    is_id,
    no_draft,
    no_version,
)
from solon.errors import Busy, Conflict, Failed, InvalidInput, SolonError

_TIMEOUT_S = 60.0
_HASH_TRAILER = "Content-Hash"
_EDITED_OUTSIDE = Note("Somebody at the files <>", "Draft edited in the files, found uncommitted")
_FOLDERS: dict[str, Action] = {"drafts": "draft_saved", "versions": "published", "labels": "label_moved"}


class GitStore:
    """The store in a directory; it is made, and put under git, where it is not."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"the directory of constitutions cannot be made: {error.strerror}", field="constitutions"
            ) from error
        if self._try("rev-parse", "--git-dir").returncode != 0:
            self._git("init", "--quiet")

    def ids(self) -> tuple[str, ...]:
        """Constitutions with a draft or a version, sorted."""
        files = (*self._root.glob("*/drafts/*.yaml"), *self._root.glob("*/versions/*.yaml"))
        return tuple(sorted({name for path in files if is_id(name := path.parent.parent.name)}))

    def drafts(self, constitution: str) -> tuple[Draft, ...]:
        """All drafts by name."""
        with self._locked(shared=True):
            paths = sorted((self._root / constitution / "drafts").glob("*.yaml"))
            names = [path.stem for path in paths if is_id(path.stem)]
            return tuple(draft for name in names if (draft := self._draft(constitution, name)) is not None)

    def draft(self, constitution: str, name: str) -> Draft:
        """The draft as the file is now; raises NotFound."""
        with self._locked(shared=True):
            found = self._draft(constitution, name)
        if found is None:
            raise no_draft()
        return found

    def save_draft(self, constitution: str, name: str, raw: bytes, precondition: Precondition, note: Note) -> Draft:
        """The draft with its new text, committed."""
        path = self._place(constitution, "drafts", f"{name}.yaml")
        with self._locked():
            self._check(path, precondition)
            self._change({path: raw}, note)
            saved = self._draft(constitution, name)
        assert saved is not None  # noqa: S101 - under the lock
        return saved

    def remove_draft(self, constitution: str, name: str, precondition: Precondition, note: Note) -> None:
        """The draft is gone from the directory; git remembers it."""
        path = self._place(constitution, "drafts", f"{name}.yaml")
        with self._locked():
            self._check(path, precondition)
            self._change({path: None}, note)

    def versions(self, constitution: str) -> tuple[Version, ...]:
        """Published versions in the order in which they were first committed."""
        found: list[Version] = []
        for version, (commit, blob) in self._published(constitution).items():
            found.append(
                Version(
                    constitution=constitution,
                    version=version,
                    etag=etag_of(self._git("cat-file", "blob", blob)),
                    content_hash=commit.trailer(_HASH_TRAILER),
                    author=commit.author,
                    message=commit.subject,
                    published_at=commit.at,
                )
            )
        return tuple(found)

    def version_bytes(self, constitution: str, version: str) -> bytes:
        """The text as it was when the version was published; raises NotFound."""
        found = self._published(constitution).get(version)
        if found is None:
            raise no_version()
        return self._git("cat-file", "blob", found[1])

    def publish(self, draft: Draft, text: Text, note: Note) -> Version:
        """The draft's file moves to the versions, in one commit."""
        path = self._place(draft.constitution, "drafts", f"{draft.name}.yaml")
        place = self._place(draft.constitution, "versions", f"{text.version}.yaml")
        with self._locked():
            self._check(path, Precondition(if_match=draft.etag))
            if text.version in self._published(draft.constitution) or place.exists():
                raise Conflict("this version is there already", field="version", remedy="give the draft a new version")
            self._change({path: None, place: text.raw}, note, trailer=f"{_HASH_TRAILER}: {text.content_hash}")
        return next(one for one in self.versions(draft.constitution) if one.version == text.version)

    def labels(self, constitution: str) -> tuple[Label, ...]:
        """All labels by name."""
        with self._locked(shared=True):
            paths = sorted((self._root / constitution / "labels").glob("*"))
            return tuple(label for path in paths if (label := self._label(constitution, path.name)) is not None)

    def move_label(self, constitution: str, label: str, version: str, precondition: Precondition, note: Note) -> Label:
        """The label's file now holds the version, committed."""
        path = self._place(constitution, "labels", label)
        with self._locked():
            self._check(path, precondition)
            self._change({path: f"{version}\n".encode()}, note)
            moved = self._label(constitution, label)
        assert moved is not None  # noqa: S101 - under the lock
        return moved

    def history(self, constitution: str) -> tuple[Happening, ...]:
        """All commits that touch the constitution, newest first."""
        happened: list[Happening] = []
        for commit in commits(self._log(constitution)):
            for change in commit.changes:
                _, folder, *rest = change.path.split("/")
                action = _FOLDERS.get(folder)
                if action is None or len(rest) != 1 or (action == "published" and change.kind != "A"):
                    continue
                if action == "draft_saved" and change.kind == "D":
                    if any("/versions/" in other.path for other in commit.changes):
                        continue  # published
                    action = "draft_removed"
                name = rest[0].removesuffix(".yaml")
                happened.append(
                    Happening(
                        id=commit.id,
                        action=action,
                        name=name,
                        author=commit.author,
                        message=commit.subject,
                        at=commit.at,
                    )
                )
        return tuple(happened)

    def _draft(self, constitution: str, name: str) -> Draft | None:
        path = self._place(constitution, "drafts", f"{name}.yaml")
        raw = _read(path)
        if raw is None:
            return None
        last = next(iter(commits(self._log(str(path.relative_to(self._root)), "--max-count=1"))), None)
        known = last is not None and not self._uncommitted(path)
        return Draft(
            constitution=constitution,
            name=name,
            etag=etag_of(raw),
            author=last.author if last is not None and known else _EDITED_OUTSIDE.author.partition(" <")[0],
            updated_at=last.at if last is not None and known else path.stat().st_mtime,
            raw=raw,
        )

    def _label(self, constitution: str, label: str) -> Label | None:
        raw = _read(self._place(constitution, "labels", label)) if is_id(label) else None
        version = raw.decode("ascii", errors="replace").strip() if raw is not None else ""
        if raw is None or not re.fullmatch(VERSION_PATTERN, version):
            return None
        return Label(constitution=constitution, label=label, version=version, etag=etag_of(raw))

    def _published(self, constitution: str) -> dict[str, tuple[Commit, str]]:
        """By version, oldest first: the commit that added its file, and the blob that it added."""
        found: dict[str, tuple[Commit, str]] = {}
        for commit in commits(self._log(f"{constitution}/versions", "--reverse", "--diff-filter=A")):
            for change in commit.changes:
                name = change.path.rpartition("/")[2].removesuffix(".yaml")
                if re.fullmatch(VERSION_PATTERN, name) and change.mode == "100644":
                    found.setdefault(name, (commit, change.blob))
        return found

    def _log(self, path: str, *options: str) -> bytes:
        arguments = ("log", "--relative", "--raw", "--no-abbrev", "--no-renames", LOG_FORMAT, *options, "--", path)
        done = self._try(*arguments)
        if done.returncode != 0 and b"does not have any commits yet" not in done.stderr:
            raise self._refused(done)
        return done.stdout

    def _place(self, constitution: str, folder: str, name: str) -> Path:
        """A file of the store; raises where a link leads its folder elsewhere."""
        place = self._root / constitution / folder
        if place.exists() and place.resolve() != place:
            raise Conflict("a folder of the store is a link", remedy="replace it by a folder")
        return place / name

    def _check(self, path: Path, precondition: Precondition) -> None:
        raw = _read(path)
        precondition.check(None if raw is None else etag_of(raw))

    def _change(self, files: dict[Path, bytes | None], note: Note, *, trailer: str = "") -> None:
        """Write or remove files and commit them; where that fails they are as before. Under the lock."""
        before = {path: _read(path) for path in files}
        for path in files:
            if before[path] is not None and self._uncommitted(path):
                self._commit([path], _EDITED_OUTSIDE)
        if before == files:
            return
        try:
            for path, raw in files.items():
                _write(path, raw)
            self._commit(list(files), note, trailer)
        except BaseException:
            for path, raw in before.items():
                _write(path, raw)
            self._try("reset", "--quiet", "--", *map(str, files))
            raise

    def _uncommitted(self, path: Path) -> bool:
        return bool(self._git("status", "--porcelain", "--untracked-files=all", "--ignored", "--", str(path)))

    def _commit(self, paths: Sequence[Path], note: Note, trailer: str = "") -> None:
        names = list(map(str, paths))
        author, _, mail = note.author.partition("<")
        identity = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", author.strip()), ("EMAIL", mail.removesuffix(">")))
        }
        message = f"{note.message}\n\n{trailer}\n" if trailer else f"{note.message}\n"
        self._git("add", "--force", "--all", "--", *names)
        self._git(
            *("commit", "--quiet", "--cleanup=verbatim", "--file=-", "--", *names), text=message, environment=identity
        )

    def _git(self, *arguments: str, text: str = "", environment: dict[str, str] | None = None) -> bytes:
        done = self._try(*arguments, text=text, environment=environment)
        if done.returncode != 0:
            raise self._refused(done)
        return done.stdout

    def _try(
        self, *arguments: str, text: str = "", environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        command = ("git", "-C", str(self._root), "-c", "commit.gpgSign=false", "-c", "gc.autoDetach=false", *arguments)
        try:
            return subprocess.run(
                command,
                input=text.encode(),
                capture_output=True,
                timeout=_TIMEOUT_S,
                env=_environment() | (environment or {}),
                check=False,
            )
        except FileNotFoundError as error:
            raise Failed("the program `git` is not installed", remedy="install git, or use the database") from error
        except subprocess.TimeoutExpired as error:
            raise Failed(f"git took more than {_TIMEOUT_S:g} s", remedy="look for a hook that hangs") from error

    def _refused(self, done: subprocess.CompletedProcess[bytes]) -> SolonError:
        """The error in git's words, without the place of the directory, which is the operator's business."""
        said = " ".join(done.stderr.decode(errors="replace").replace(str(self._root), ".").split())
        if "index.lock" in said:
            return Busy("somebody else is working in the directory of constitutions", retry_after_s=1)
        remedy = "look at `git status` in the directory of constitutions"
        return Conflict(f"git refused: {said[:300] or 'no reason given'}", remedy=remedy)

    @cached_property
    def _lock_file(self) -> Path:
        folder = self._git("rev-parse", "--absolute-git-dir").decode().strip()
        return Path(folder) / "solon.lock"

    @contextmanager
    def _locked(self, *, shared: bool = False) -> Generator[None]:
        """Alone, or alone with other readers, among all threads and processes that use the store."""
        with self._lock_file.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield


def _environment() -> dict[str, str]:
    """Ours without the variables that would lead git to another repository; a git hook may have started us."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1"}


def _read(path: Path) -> bytes | None:
    """At most one byte more than a constitution may have; None where there is no plain file."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        return None


def _write(path: Path, raw: bytes | None) -> None:
    """The file holds the bytes, or is gone; a reader sees all of them or what was there before."""
    if raw is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(raw)
    beside.replace(path)
