"""Artifacts in an S3 bucket, through fsspec. Credentials, region and endpoint are those of the AWS environment.

An object is published by one conditional request (`If-None-Match: *`), of which of several hosts one succeeds, and its
SHA-256 is kept in its metadata. The store must be one that honours the condition: AWS S3, MinIO, Ceph, R2 do.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from api.store.content import CHUNK, Stored, checked, not_published, other_content, sha256_of
from solon.errors import InvalidInput, StorageUnavailable

_DIGEST: Final = "sha256"
PART = 16 << 20
"""Bytes that one request carries; larger content is sent in several and appears with the last."""
_PARTS_AT_ONCE: Final = 4


class BucketArtifacts:
    """Artifacts below `s3://BUCKET/PREFIX`."""

    def __init__(self, url: str) -> None:
        try:
            import s3fs
        except ModuleNotFoundError as error:
            raise InvalidInput(
                "S3 needs a library that is not installed", field="artifacts", remedy="pip install 'solon[s3]'"
            ) from error
        self._root = url.removeprefix("s3://").strip("/")
        # Listings are never cached: other hosts publish too.
        self._files: Any = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)

    def put(self, name: str, source: Path) -> Stored:
        """See `Artifacts.put`."""
        digest = sha256_of(source)
        stored = Stored(name=name, bytes=source.stat().st_size, sha256=digest)
        with _bucket_errors():
            try:
                self._put(source, name, digest)
            except FileExistsError:
                if self.find(name) != stored:
                    raise other_content() from None
        return stored

    def open(self, name: str) -> BinaryIO:
        """See `Artifacts.open`."""
        with _bucket_errors():
            try:
                return cast(BinaryIO, self._files.open(self._key(name), "rb", block_size=CHUNK * 5))
            except FileNotFoundError:
                raise not_published() from None

    def find(self, name: str) -> Stored | None:
        """See `Artifacts.find`."""
        with _bucket_errors():
            try:
                found = self._files.info(self._key(name))
                if found["type"] != "file":
                    return None
                digest = self._files.metadata(self._key(name)).get(_DIGEST, "")
            except FileNotFoundError:
                return None
        return Stored(name=name, bytes=found["size"], sha256=digest)

    def names(self, under: str) -> Iterator[str]:
        """See `Artifacts.names`."""
        with _bucket_errors():
            found: list[str] = self._files.find(self._key(under))
        return iter(sorted(key.removeprefix(f"{self._root}/") for key in found))

    def delete(self, name: str) -> None:
        """See `Artifacts.delete`."""
        with _bucket_errors():
            self._files.call_s3("delete_object", Bucket=self._bucket(), Key=self._key(name).partition("/")[2])

    def _put(self, source: Path, name: str, digest: str) -> None:
        parts = {"chunksize": PART, "max_concurrency": _PARTS_AT_ONCE}
        self._files.put_file(str(source), self._key(name), mode="create", Metadata={_DIGEST: digest}, **parts)

    def _key(self, name: str) -> str:
        return f"{self._root}/{checked(name)}"

    def _bucket(self) -> str:
        return self._root.partition("/")[0]


@contextmanager
def _bucket_errors() -> Generator[None]:
    """Errors of the bucket as StorageUnavailable with a remedy."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except PermissionError as error:
        raise StorageUnavailable(
            "the bucket of the artifacts refuses us", remedy="see AWS_PROFILE or AWS_ACCESS_KEY_ID, and its policy"
        ) from error
    except (OSError, BotoCoreError, ClientError) as error:
        raise StorageUnavailable(
            "the bucket of the artifacts cannot be used", remedy="see that it exists and that AWS_ENDPOINT_URL is right"
        ) from error
