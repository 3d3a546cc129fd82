"""Every constitution there is: those that ship with Solon and those in the store, found by one kind of reference.

civic            the highest published version       civic@production     the version that the label names
civic@1.1.0      that version                        civic@draft:work     a draft, where drafts are wanted
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from constitution.digest import content_hash
from constitution.document import parse, published, read_bytes
from constitution.schema import Constitution
from constitution.store import (
    VERSION_PATTERN,
    Draft,
    Happening,
    Label,
    Store,
    Version,
    etag_of,
    is_id,
    no_version,
)
from solon.errors import NotFound

_PARSED = 256
"""Published versions that are kept parsed; they never change."""


@dataclass(frozen=True)
class Reference:
    """What a reference asks for."""

    id: str
    kind: Literal["latest", "version", "label", "draft"] = "latest"
    name: str = ""

    def __str__(self) -> str:
        prefix = "draft:" if self.kind == "draft" else ""
        return self.id if self.kind == "latest" else f"{self.id}@{prefix}{self.name}"


@dataclass(frozen=True)
class Found:
    """A text, and what it was found as."""

    reference: Reference
    """Names the version or the draft itself."""
    raw: bytes
    version: Version | None
    """None for a draft."""

    @property
    def etag(self) -> str:
        """The entity tag of the text."""
        return etag_of(self.raw)


class Library:
    """Reads; what changes a store is in `constitution.editing`. Methods block."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store
        self._parsed = lru_cache(_PARSED)(self._parse)

    def ids(self) -> tuple[str, ...]:
        """All constitutions, sorted, those of which there are only drafts included."""
        return tuple(sorted({*published(), *(self.store.ids() if self.store is not None else ())}))

    def require(self, constitution: str) -> None:
        """Raises NotFound where there is neither a version nor a draft of it."""
        if constitution not in self.ids():
            raise NotFound(f"unknown constitution {constitution!r}", remedy=f"known: {', '.join(self.ids())}")

    def versions(self, constitution: str) -> tuple[Version, ...]:
        """All published versions, oldest first: the shipped one, then the store's in the order of publication."""
        found = [_shipped(self._parsed(read_bytes(constitution)))] if constitution in published() else []
        if self.store is not None and is_id(constitution):
            found += self.store.versions(constitution)
        parents = [None, *(version.version for version in found)]
        return tuple(
            version.model_copy(update={"parent": parent}) for version, parent in zip(found, parents, strict=False)
        )

    def labels(self, constitution: str) -> tuple[Label, ...]:
        """All labels by name."""
        return self.store.labels(constitution) if self.store is not None and is_id(constitution) else ()

    def drafts(self, constitution: str) -> tuple[Draft, ...]:
        """All drafts by name."""
        return self.store.drafts(constitution) if self.store is not None and is_id(constitution) else ()

    def history(self, constitution: str) -> tuple[Happening, ...]:
        """Everything that happened to it in the store, newest first."""
        return self.store.history(constitution) if self.store is not None and is_id(constitution) else ()

    def find(self, reference: str | Reference, *, drafts: bool = False) -> Found:
        """The text that a reference names; raises NotFound, for a draft too unless `drafts` are wanted."""
        wanted = parse_reference(reference) if isinstance(reference, str) else reference
        if wanted.kind == "draft":
            if self.store is None or not drafts:
                raise NotFound("no draft can be named here", remedy="name a published version")
            return Found(wanted, self.store.draft(wanted.id, wanted.name).raw, None)
        version = self._version(wanted)
        return Found(Reference(wanted.id, "version", version.version), self._bytes(version), version)

    def with_hash(self, constitution: str, digest: str) -> Found:
        """The latest version whose content hash is `digest`; raises NotFound."""
        for version in reversed(self.versions(constitution)):
            raw = self._bytes(version)
            if digest == (version.content_hash or content_hash(self._parsed(raw))):
                return Found(Reference(constitution, "version", version.version), raw, version)
        raise no_version()

    def load(self, reference: str | Reference, *, drafts: bool = False) -> Constitution:
        """The constitution that a reference names.

        Raises:
            NotFound: there is no such constitution, version, label or draft.
            InvalidInput: the text is not a valid constitution.
        """
        found = self.find(reference, drafts=drafts)
        if found.version is not None:
            return self._parsed(found.raw)
        return parse(found.raw, str(found.reference), parents=self.load)

    def pinned(self, reference: str) -> str:
        """`id@version` of the version that the reference names now."""
        return str(self.find(reference).reference)

    def _version(self, wanted: Reference) -> Version:
        versions = self.versions(wanted.id)
        if not versions:
            raise NotFound(f"unknown constitution {str(wanted)!r}", remedy=f"known: {', '.join(self.ids())}")
        name = wanted.name
        if wanted.kind == "label":
            labels = {label.label: label.version for label in self.labels(wanted.id)}
            if name not in labels:
                known = ", ".join(labels) or "none"
                raise NotFound(f"{wanted.id!r} has no label {name!r}", remedy=f"labels: {known}")
            name = labels[name]
        elif wanted.kind == "latest":
            name = max(versions, key=lambda version: [int(part) for part in version.version.split(".")]).version
        found = next((version for version in versions if version.version == name), None)
        if found is None:
            known = ", ".join(version.version for version in versions)
            raise NotFound(f"{wanted.id!r} has no version {name!r}", remedy=f"versions: {known}")
        return found

    def _bytes(self, version: Version) -> bytes:
        if version.published_at is None:
            return read_bytes(version.constitution)
        if self.store is None:
            raise no_version()
        return self.store.version_bytes(version.constitution, version.version)

    def _parse(self, raw: bytes) -> Constitution:
        return parse(raw, "the published text", parents=self.load)


def parse_reference(text: str) -> Reference:
    """The reference in `id`, `id@version`, `id@label` or `id@draft:name`; raises NotFound for anything else."""
    name, at, rest = text.partition("@")
    if is_id(name) and not at:
        return Reference(name)
    if is_id(name) and re.fullmatch(VERSION_PATTERN, rest):
        return Reference(name, "version", rest)
    if is_id(name) and is_id(rest.removeprefix("draft:")):
        return Reference(name, "draft" if rest.startswith("draft:") else "label", rest.removeprefix("draft:"))
    raise NotFound(f"unknown constitution {text!r}", remedy="write id, id@version or id@label, such as civic@1.0.0")


def _shipped(constitution: Constitution) -> Version:
    raw = read_bytes(constitution.id)
    note = constitution.changelog[0].note if constitution.changelog else "Ships with Solon"
    return Version(
        constitution=constitution.id,
        version=constitution.version,
        etag=etag_of(raw),
        content_hash=content_hash(constitution),
        author="Solon",
        message=note,
    )
