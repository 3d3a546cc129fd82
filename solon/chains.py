"""Files of critique-revision chains.

    critiques.jsonl             one `RevisionChain` a line, whatever became of its revisions
    critiques.revisions.jsonl   one kept revision a line, as a conversation to learn from (`messages`)
    critiques.manifest.json     counts, provenance, SHA-256 of both

All appear together when the last chain is written, or not at all.
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from solon import __version__
from solon.errors import InvalidInput
from solon.formats import sha256_of, text_lines
from solon.records import Provenance, Revision, RevisionChain


def read_chains(path: Path) -> Iterator[RevisionChain]:
    """The chains of a file, in order; raises NotFound, or InvalidInput naming the first line that is none."""
    for number, line in text_lines(path):
        try:
            yield RevisionChain.model_validate_json(line)
        except ValidationError as error:
            raise InvalidInput(
                "not a critique-revision chain", field=f"{path}:{number}", remedy="give a file of `solon critique`"
            ) from error


def conversation_rows(chain: RevisionChain) -> Iterator[dict[str, Any]]:
    """The kept revisions of a chain, each as the conversation that ends with it (all of them: Bai et al. 2022)."""
    asked = [message.model_dump() for message in chain.prompt.messages]
    for revision in chain.kept:
        yield {
            "id": f"{chain.id}-{revision.round}",
            "prompt_id": chain.prompt.id,
            "messages": [*asked, {"role": "assistant", "content": _text(revision)}],
            "principle": revision.principle,
            "round": revision.round,
            "p_better": revision.p_better,
        }


class ChainWriter:
    """Writes the files. Use as `with ChainWriter(path) as writer`, and end with `writer.commit(about)`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise InvalidInput(f"{path} is a folder", remedy="give the path of a file in it")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._scratch = tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            raise InvalidInput(
                f"cannot write to {path.parent}: {error.strerror}", remedy="give a path in a folder that may be written"
            ) from error
        scratch = Path(self._scratch.name)
        self._chains = (scratch / "chains").open("w", encoding="utf-8", newline="\n")
        self._revisions = (scratch / "revisions").open("w", encoding="utf-8", newline="\n")
        self._rejected: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._made_by: Provenance | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._chains.close()
        self._revisions.close()
        self._scratch.cleanup()

    @property
    def counts(self) -> dict[str, int]:
        """Chains, revisions and kept revisions so far."""
        return {name: self._counts[name] for name in ("chains", "revisions", "kept")}

    @property
    def revisions_path(self) -> Path:
        """Where the kept revisions are written."""
        return self.path.with_name(f"{self.path.stem}.revisions.jsonl")

    def write(self, chain: RevisionChain) -> None:
        """Add a chain."""
        self._chains.write(chain.model_dump_json() + "\n")
        for row in conversation_rows(chain):
            self._revisions.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._counts.update(chains=1, revisions=len(chain.revisions), kept=len(chain.kept))
        self._rejected.update(revision.rejected for revision in chain.revisions if revision.rejected is not None)
        self._made_by = self._made_by or chain.provenance

    def commit(self, about: dict[str, Any], spend: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
        """The manifest, once all files stand at their places.

        Args:
            about: what the caller found out, kept in it.
            spend: what the chains cost, by model.
        """
        for file in (self._chains, self._revisions):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        chains, revisions = Path(self._chains.name), Path(self._revisions.name)
        manifest = {
            "format": "solon-critiques/v1",
            "file": self.path.name,
            "sha256": sha256_of(chains),
            "revisions_file": self.revisions_path.name,
            "revisions_sha256": sha256_of(revisions),
            **self.counts,
            "rejected": dict(sorted(self._rejected.items())),
            "made_by": _what_made_it(self._made_by),
            "about": about,
            "spend": spend or {},
            "solon_version": __version__,
        }
        written = chains.with_name("manifest")
        written.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(revisions, self.revisions_path)
        os.replace(chains, self.path)
        os.replace(written, self.path.with_name(f"{self.path.stem}.manifest.json"))  # last: it vouches for the others
        return manifest


def _what_made_it(made_by: Provenance | None) -> dict[str, Any] | None:
    spent = {"prompt_tokens", "completion_tokens", "judge_calls", "cache_hits"}
    return None if made_by is None else made_by.model_dump(mode="json", exclude=spent)


def _text(revision: Revision) -> str:
    assert revision.completion is not None, "kept revisions have a text"  # noqa: S101 - by `Revision.kept`
    return revision.completion.text
