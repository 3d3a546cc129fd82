"""Finished steps and datasets in the bucket of the artifacts, so that every host has what any host made.

Work is done in the folder `artifacts` of a host. A folder that is finished is published file by file, with the file
that says so (`step.json`, a manifest) last; who finds that one finds all of them. Without a bucket the folder is all
there is, and nothing here does anything. Methods block.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from api.store.artifacts import get, open_artifacts
from api.store.content import sha256_of
from solon.settings import Settings

STEP: Final = "step.json"
"""The last file of a finished step."""
DATASET: Final = "pairs.manifest.json"
"""The last file of a dataset that was made of stored preferences."""

_LIGHT: Final = (".json", ".jsonl", ".parquet", ".html", ".md", ".yaml")


def is_light(name: str) -> bool:
    """Whether this is a record, data or a report, and not weights."""
    return name.endswith(_LIGHT)


class Published:
    """What the hosts of one bucket share."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.artifacts.resolve()
        self._artifacts = open_artifacts(settings) if settings.bucket is not None else None

    def publish(self, folder: Path, last: str = STEP) -> None:
        """All hosts can have the folder; what was published of it before is replaced. One host at a time does this.

        A folder outside of `artifacts`, as of a command with an --out of its own, stays where it is.
        """
        folder = folder.resolve()
        if self._artifacts is None or not folder.is_relative_to(self._root):
            return
        under = folder.relative_to(self._root).as_posix()
        marker = self._artifacts.find(f"{under}/{last}")
        if marker is not None and marker.sha256 == sha256_of(folder / last):
            return
        self._artifacts.delete(f"{under}/{last}")  # first: from now on the folder is not finished for anybody
        for name in list(self._artifacts.names(under)):
            self._artifacts.delete(name)
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / last)
        for path in (*files, folder / last):
            self._artifacts.put(path.relative_to(self._root).as_posix(), path)

    def bring(self, under: str, last: str = STEP, wanted: Callable[[str], bool] = is_light) -> None:
        """Finished folders below `under` are here too, with those of their files that are wanted."""
        if self._artifacts is None:
            return
        names = list(self._artifacts.names(under))
        finished = {PurePosixPath(name).parent for name in names if PurePosixPath(name).name == last}
        for name in sorted(names, key=lambda each: PurePosixPath(each).name == last):
            missing = not (self._root / name).exists()
            if missing and wanted(name) and finished.intersection(PurePosixPath(name).parents):
                get(self._artifacts, name, self._root / name)

    def bring_folder(self, folder: Path, last: str = STEP) -> None:
        """The finished folder is here with all of its files, if any host has published it."""
        folder = folder.resolve()
        if self._artifacts is not None and folder.is_relative_to(self._root):
            self.bring(folder.relative_to(self._root).as_posix(), last, lambda _: True)
