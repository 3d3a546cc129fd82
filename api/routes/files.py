"""/v1/files: what clients upload, in the shape that OpenAI's API gives it. Recipes name them by id."""

import asyncio
import hashlib
import secrets
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api.callers import LABEL, READ
from api.paging import listed
from api.services import Page, Paging, Services, Use
from api.store.artifacts import open_artifacts
from api.store.content import CHUNK, storage_errors
from api.store.files import Purpose, StoredFile, Upload, content_name, new_file_id
from api.uploads import received, stage
from solon.service_settings import MOST_UPLOAD_BYTES

router = APIRouter(prefix="/v1/files", tags=["files"])

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]
Id = Annotated[str, Path(pattern=r"^file_[0-9a-hjkmnp-tv-z]{26}$")]

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "Its content, streamed."},
                        "purpose": {"type": "string", "enum": list(Purpose.__args__)},  # pyright: ignore
                    },
                }
            }
        },
    }
}


class DeletedFile(BaseModel):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class FilePaging(Paging):
    """Query parameters of the list."""

    purpose: Purpose | None = None
    """Only files for this."""


@router.post("", dependencies=[LABEL], max_body_size=MOST_UPLOAD_BYTES, openapi_extra=_FORM)
async def upload_file(request: Request, services: Use, idempotency_key: IdempotencyKey = None) -> StoredFile:
    """Store a file; every line of a JSONL file is checked, and the first wrong one is named."""
    limit = services.settings.limits.upload_bytes
    staged = services.settings.artifacts / "uploads" / secrets.token_hex(8)
    try:
        async with received(request, limit) as (file, purpose):
            upload = await stage(file, purpose, staged, limit)
        return await asyncio.to_thread(_stored, services, upload, staged, idempotency_key)
    finally:
        await asyncio.to_thread(staged.unlink, missing_ok=True)


def _stored(services: Services, upload: Upload, staged: Any, key: str | None) -> StoredFile:
    """Content first, then its row: whoever sees the row can read the content."""
    request_hash = hashlib.sha256(upload.model_dump_json().encode()).hexdigest()
    project, files = services.project, services.files
    earlier = files.made_before(key, request_hash, project=project) if key is not None else None
    if earlier is not None:
        return earlier
    file_id, artifacts = new_file_id(), open_artifacts(services.settings)
    artifacts.put(content_name(file_id), staged)
    try:
        return files.create(
            file_id,
            upload,
            project=project,
            request_hash=request_hash,
            idempotency_key=key,
            most_bytes=services.usage.quota(project).storage_bytes,
        )
    except BaseException:
        artifacts.delete(content_name(file_id))
        raise


@router.get("", dependencies=[READ])
def list_files(services: Use, paging: Annotated[FilePaging, Query()]) -> Page[StoredFile]:
    """Files, newest first unless `order` says otherwise."""
    files, more = services.files.page(
        after=paging.after,
        limit=paging.limit,
        order=paging.order,
        purpose=paging.purpose,
        project=services.project,
    )
    return listed(files, more)


def _found(name: Annotated[Id, Path(alias="id")], services: Use) -> StoredFile:
    return services.files.get(name, project=services.project)


Found = Annotated[StoredFile, Depends(_found)]


@router.get("/{id}", dependencies=[READ])
def get_file(file: Found) -> StoredFile:
    """One file, without its content."""
    return file


@router.get(
    "/{id}/content",
    dependencies=[READ],
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_content(file: Found, services: Use) -> StreamingResponse:
    """The content as it was uploaded."""
    stream = open_artifacts(services.settings).open(content_name(file.id))
    headers = {
        "Content-Length": str(file.bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        "ETag": f'"{file.sha256}"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_chunks(stream), media_type="application/octet-stream", headers=headers)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    with stream, storage_errors():
        while chunk := stream.read(CHUNK):
            yield chunk


@router.delete("/{id}", dependencies=[LABEL])
def delete_file(file: Found, services: Use) -> DeletedFile:
    """Delete a file; a job that names it and has not read it yet will fail."""
    services.files.delete(file.id, project=services.project)
    open_artifacts(services.settings).delete(content_name(file.id))
    return DeletedFile(id=file.id)
