"""The frames of the socket: what a client says becomes a model (chatapp/frames.py), what the server answers becomes text."""

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from chatapp.errors import ChatappError
from chatapp.frames import Frame, FrameId
from config.settings import Settings

_FRAME: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="type")])


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
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"].startswith("union_tag"):
        return BadFrame("`type` is missing or unknown", frame_id=head.id)
    where = ".".join(str(step) for step in first["loc"][1:])
    what = first["msg"].removeprefix("Value error, ")
    return BadFrame(f"{where}: {what}" if where else what, frame_id=head.id)


def write(kind: str, frame_id: FrameId | None = None, /, **fields: object) -> str:
    """Write a frame of the server. `id` echoes the client's; without one it is left out."""
    head: dict[str, object] = {"type": kind} if frame_id is None else {"type": kind, "id": frame_id}
    return json.dumps({**head, **fields}, separators=(",", ":"))


def refused(frame_id: FrameId | None, code: str, message: str, *, retryable: bool = False) -> str:
    """Write a refusal. Its `id` is always there, null when the frame had none or could not be read."""
    return json.dumps(
        {"type": "refused", "id": frame_id, "code": code, "message": message, "retryable": retryable}, separators=(",", ":")
    )
