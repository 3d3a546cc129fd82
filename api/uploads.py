"""What a client uploads: taken off the wire into a file of its own, and checked line by line. Memory stays small."""

import hashlib
import json
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path, PurePath
from typing import Any, Final, cast, get_args

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from api.store.content import CHUNK, storage_errors
from api.store.files import Purpose, Upload
from solon.errors import InvalidInput, TooLarge
from solon.formats import text_lines
from solon.rows import read_rows

_FIELDS: Final = frozenset({"file", "purpose"})
_AROUND: Final = 64 << 10
"""Bytes of a form that may be there beside the file."""
_NAME_LENGTH: Final = 255
_JSONL: Final = "save it as JSONL: one JSON object a line, in UTF-8"


@asynccontextmanager
async def received(request: Request, limit_bytes: int) -> AsyncGenerator[tuple[UploadFile, Purpose]]:
    """The file of a multipart form and its purpose; gone after the block.

    Raises InvalidInput where it is no such form, TooLarge where the file is larger than `limit_bytes`.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidInput("the body is no form", remedy="send multipart/form-data with `file` and `purpose`")
    stream = _limited(request.stream(), limit_bytes)
    try:
        with storage_errors():
            form = await MultiPartParser(request.headers, stream, max_files=1, max_fields=8).parse()
    except MultiPartException as error:
        raise InvalidInput(
            "the form cannot be read", remedy="send multipart/form-data with one `file` and one `purpose`"
        ) from error
    try:
        yield _file_of(form), _purpose_of(form)
    finally:
        await form.close()


async def _limited(stream: AsyncIterator[bytes], limit_bytes: int) -> AsyncGenerator[bytes]:
    received_bytes = 0
    async for chunk in stream:
        received_bytes += len(chunk)
        if received_bytes > limit_bytes + _AROUND:
            raise too_large(limit_bytes)
        yield chunk


def too_large(limit_bytes: int) -> TooLarge:
    """The file is larger than the settings allow."""
    return TooLarge(
        f"a file may have {limit_bytes} bytes", field="file", remedy="split it, or set `limits.upload_bytes` higher"
    )


def _file_of(form: FormData) -> UploadFile:
    if any(name not in _FIELDS for name in form) or len(form.multi_items()) > len(_FIELDS):
        raise InvalidInput("the form has fields that are not known", remedy="send `file` and `purpose`, each once")
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidInput("is missing, or has no name", field="file", remedy="send it as a file with a filename")
    return file


def _purpose_of(form: FormData) -> Purpose:
    purpose = form.get("purpose")
    if purpose not in get_args(Purpose):
        raise InvalidInput("is not a purpose", field="purpose", remedy=f"one of {', '.join(get_args(Purpose))}")
    return cast(Purpose, purpose)


async def stage(file: UploadFile, purpose: Purpose, target: Path, limit_bytes: int) -> Upload:
    """What is known of the file, now at `target`; raises InvalidInput that names the first wrong line."""
    return await run_in_threadpool(_staged, file, purpose, target, limit_bytes)


def _staged(file: UploadFile, purpose: Purpose, target: Path, limit_bytes: int) -> Upload:
    with storage_errors():
        target.parent.mkdir(parents=True, exist_ok=True)
        file.file.seek(0)
        with target.open("wb") as out:
            shutil.copyfileobj(file.file, out, CHUNK)
        size = target.stat().st_size
        if size > limit_bytes:
            raise too_large(limit_bytes)
        with target.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        rows = _CHECKS.get(purpose, _objects)(target)
    return Upload(filename=_plain(file.filename or ""), purpose=purpose, bytes=size, sha256=sha256, rows=rows)


def _plain(filename: str) -> str:
    """The name without folders and without what cannot be printed."""
    name = PurePath(filename.replace("\\", "/")).name
    kept = "".join(letter for letter in name if letter.isprintable())
    return kept[:_NAME_LENGTH] or "upload"


def _objects(path: Path) -> int:
    """How many lines hold a JSON object; raises where one holds something else."""
    count = 0
    for number, line in text_lines(path):
        try:
            value: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput("not JSON", field=f"file:{number}", remedy=_JSONL) from error
        if not isinstance(value, dict):
            raise InvalidInput("not a JSON object", field=f"file:{number}", remedy=_JSONL)
        count += 1
    return _some(count)


def _prompts(path: Path) -> int:
    """How many rows there are; raises where one is no prompt."""
    try:
        return _some(sum(1 for _ in read_rows(path)))
    except InvalidInput as error:  # names the file as it is called here
        field = (error.field or "").replace(str(path), "file")
        raise InvalidInput(error.message, field=field, remedy=error.remedy) from error


def _some(count: int) -> int:
    if count == 0:
        raise InvalidInput("the file holds no rows", field="file", remedy=_JSONL)
    return count


_CHECKS: Final[dict[str, Callable[[Path], int | None]]] = {"prompts": _prompts, "user_data": lambda _: None}
