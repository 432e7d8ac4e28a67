"""The frames of the socket: what a client says becomes a model (chatapp/frames.py), what the server answers becomes text."""

import json
import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from chatapp.errors import ChatappError
from chatapp.frames import Frame, FrameId
from config.settings import Settings

_FRAME: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="type")])


MAX_ERRORS = 20
"""Wrong fields that are named at most."""

MAX_POINTER_CHARS = 200


class _Head(BaseModel):
    # Read from a frame that could not be: what to echo, and what it was meant to be.
    model_config = ConfigDict(extra="ignore", strict=True)
    id: FrameId | None = None
    type: str | None = None


class BadFrame(ChatappError):
    """A frame that is refused before anybody looks at what it asks. `frame_id` is None when not even that could be read."""

    code, http_status, title = "invalid_frame", 400, "The frame is not valid"

    def __init__(self, detail: str, *, frame_id: FrameId | None = None) -> None:
        super().__init__(detail)
        self.frame_id = frame_id


class BadFields(BadFrame):
    """A frame whose type is known and whose fields are wrong: `errors` names them, as the HTTP API does."""

    code, http_status, title = "invalid_request", 422, "The frame is not valid"


def read(data: str | bytes, settings: Settings) -> Frame:
    """Read a client's frame. The limits of a message are settings. Raises: BadFrame, whatever is wrong with it."""
    if isinstance(data, bytes):
        raise BadFrame("binary frames are not understood: send JSON as text")
    try:
        return _FRAME.validate_json(data, context=settings)
    except ValidationError as error:
        raise _explain(data, error) from error


def _explain(data: str, error: ValidationError) -> BadFrame:
    try:
        head = _Head.model_validate_json(data)
    except ValidationError:
        return BadFrame("not a JSON object with a `type`")
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if found[0]["type"].startswith("union_tag"):
        return BadFrame("`type` is missing or unknown", frame_id=head.id)
    wrong = BadFields(_said(found[0]), frame_id=head.id)
    wrong.errors = [{"pointer": _pointer(e["loc"]), "detail": e["msg"].removeprefix("Value error, ")} for e in found[:MAX_ERRORS]]
    return wrong


def _said(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"][1:]))[:MAX_POINTER_CHARS]
    what = error["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def _pointer(loc: Sequence[int | str]) -> str:
    """Write a place in the frame as a JSON pointer (RFC 6901). The first step is the frame's type, which is none of it."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in loc[1:])[:MAX_POINTER_CHARS]


def write(kind: str, frame_id: FrameId | None = None, /, **fields: object) -> str:
    """Write a frame of the server. `id` echoes the client's; without one it is left out."""
    head: dict[str, object] = {"type": kind} if frame_id is None else {"type": kind, "id": frame_id}
    return json.dumps({**head, **fields}, separators=(",", ":"))


def refused(
    frame_id: FrameId | None,
    code: str,
    message: str,
    *,
    retryable: bool = False,
    retry_after: float | None = None,
    errors: Sequence[dict[str, object]] = (),
) -> str:
    """Write a refusal. Its `id` is always there, null when the frame had none or could not be read.

    `retry_after` (seconds) and `errors` (the fields that are wrong) are there when they are known.
    """
    told: dict[str, object] = {"type": "refused", "id": frame_id, "code": code, "message": message, "retryable": retryable}
    if retry_after is not None:
        told["retry_after"] = math.ceil(retry_after * 1000) / 1000
    if errors:
        told["errors"] = errors
    return json.dumps(told, separators=(",", ":"))


def refusal(frame_id: FrameId | None, error: ChatappError) -> str:
    """Write the refusal that an error is, with the HTTP API's code."""
    return refused(
        frame_id, error.code, error.detail, retryable=error.retryable, retry_after=error.retry_after, errors=error.errors
    )
