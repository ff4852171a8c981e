"""Uploads: begun, sent in as many requests as it takes, and then an input of any job."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from starlette.requests import ClientDisconnect

from server import problems
from server.desk import Desk, desk
from server.schemas import Blob
from server.wishes import Begin

router = APIRouter(prefix="/v1/blobs", tags=["uploads"])

BYTES = "application/offset+octet-stream"

HEADERS = {
    "Upload-Offset": {"description": "The byte that the upload goes on with.", "schema": {"type": "integer"}},
    "Upload-Length": {"description": "Its bytes in all.", "schema": {"type": "integer"}},
}
TOLD: dict[int | str, dict[str, Any]] = {200: {"headers": HEADERS}}
KNOWN: dict[int | str, dict[str, Any]] = {
    200: {"model": Blob, "description": "It is known: nothing need be sent.", "headers": HEADERS},
    201: {"headers": HEADERS},
}
BODY = {"requestBody": {"required": True, "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}}

At = Annotated[Desk, Depends(desk)]
Name = Annotated[str, Path(description="an upload, as POST named it", examples=[f"{'0' * 64}-1048576"])]


@router.post(
    "",
    response_model=Blob,
    status_code=201,
    operation_id="begin_upload",
    summary="Begin an upload, or find it",
    responses=KNOWN | problems.refusals(413, 460, 507),
)
def begin_upload(begin: Begin, response: Response, at: At) -> Blob:
    """Begin an upload, or find one of the same content: how far it is, and whether it is known altogether."""
    blob = at.blobs.begin(begin.size, begin.sha256)
    response.status_code = 200 if blob.known else 201
    response.headers["Location"] = f"{router.prefix}/{blob.upload}"
    return _told(response, blob)


@router.get(
    "/{upload}",
    response_model=Blob,
    operation_id="see_upload",
    summary="An upload, as far as it has come",
    responses=TOLD | problems.refusals(404),
)
def see_upload(upload: Name, response: Response, at: At) -> Blob:
    """An upload, as far as it has come."""
    return _told(response, at.blobs.state(upload))


@router.head(
    "/{upload}",
    operation_id="find_upload",
    summary="Where an upload goes on",
    response_class=Response,
    responses=TOLD | problems.refusals(404),
)
def find_upload(upload: Name, at: At) -> Response:
    """Where an upload goes on, in headers."""
    response = Response()
    _told(response, at.blobs.state(upload))
    return response


@router.patch(
    "/{upload}",
    response_model=Blob,
    operation_id="send_upload",
    summary="Send an upload, or a piece of it",
    responses=TOLD | problems.refusals(404, 408, 409, 413, 415, 460, 507),
    openapi_extra=BODY,
)
async def send_upload(
    upload: Name,
    upload_offset: Annotated[int, Header(ge=0, le=2**53)],
    request: Request,
    response: Response,
    at: At,
) -> Blob:
    """Send an upload, or any number of its bytes, from where it goes on. With the last one its sha256 is checked."""
    _check(request, at.blobs.state(upload), upload_offset)
    try:
        blob = await at.blobs.append(upload, upload_offset, request.stream())
    except ClientDisconnect as error:  # it is told to nobody
        raise problems.Refusal(400, "the connection ended before the request did: what had come is kept") from error
    return _told(response, blob)


@router.delete(
    "/{upload}",
    status_code=204,
    operation_id="drop_upload",
    summary="Forget an upload",
    responses=problems.refusals(404),
)
def drop_upload(upload: Name, at: At) -> None:
    """Forget an upload, and what has come of it. Jobs keep what they have."""
    at.blobs.drop(upload)


def _told(response: Response, blob: Blob) -> Blob:
    response.headers["Upload-Offset"] = str(blob.offset)
    response.headers["Upload-Length"] = str(blob.size)
    response.headers["Cache-Control"] = "no-store"
    return blob


def _check(request: Request, blob: Blob, offset: int) -> None:
    """Refuse what need not be read to be refused."""
    if request.headers.get("content-type") != BYTES:
        raise problems.Refusal(415, f"an upload is sent as {BYTES}")
    length = request.headers.get("content-length", "")
    if offset == blob.offset and length.isdecimal() and offset + int(length[:20]) > blob.size:
        raise problems.Refusal(413, f"more would come than the {blob.size} bytes that were told")
