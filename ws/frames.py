"""The frames of the socket: what a client may say, read strictly, and what the server answers."""

import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from chatapp.errors import ChatappError
from chatapp.model import EventId, JobId

SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\z")]
FrameId = Annotated[str, Field(max_length=128)] | Annotated[int, Field(ge=-(2**53), le=2**53)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class _Frame(_Strict):
    id: FrameId | None = None


class Auth(_Frame):
    """Says who is at the other end. The first frame, unless the handshake said it."""

    type: Literal["auth"]
    token: str


class Refresh(_Frame):
    """A new token of the same user, before the old one expires."""

    type: Literal["refresh"]
    token: str


class Resume(_Strict):
    """Where the client stopped: the last event it saw (`after`, None for none) of the earliest turn it wants."""

    job_id: str
    after: str | None = None

    @field_validator("job_id")
    @classmethod
    def _a_job_id(cls, value: str) -> str:
        if JobId.parse(value) is None:
            raise ValueError("is not a job id")
        return value

    @field_validator("after")
    @classmethod
    def _a_cursor(cls, value: str | None) -> str | None:
        if value is not None and EventId.parse(value) is None:
            raise ValueError("is not an event's id: <attempt>-<seq>")
        return value

    @property
    def job(self) -> JobId:
        """The turn to begin with."""
        if (job_id := JobId.parse(self.job_id)) is None:
            raise ValueError(self.job_id)
        return job_id

    @property
    def cursor(self) -> EventId | None:
        """The last event that the client saw of it."""
        return EventId.parse(self.after) if self.after is not None else None


class Subscribe(_Frame):
    """Follow a session: its open turns, or all from `resume` on, then live."""

    type: Literal["subscribe"]
    session_id: SessionId
    resume: Resume | None = None

    @model_validator(mode="after")
    def _of_one_session(self) -> Self:
        if self.resume is not None and self.resume.job.session_id != self.session_id:
            raise ValueError("resume.job_id is not of this session")
        return self


class Unsubscribe(_Frame):
    """Follow a session no longer."""

    type: Literal["unsubscribe"]
    session_id: SessionId


class Ping(_Frame):
    """Are you there? For clients that cannot see the protocol's own pings (browsers)."""

    type: Literal["ping"]


Frame = Auth | Refresh | Subscribe | Unsubscribe | Ping
OVER_HTTP = frozenset({"chat", "cancel", "confirm"})
"""Frames of the contract that this version answers over HTTP only."""

_FRAME: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="type")])


class _Head(BaseModel):
    # Read from a frame that could not be: what to echo, and what it was meant to be.
    model_config = ConfigDict(extra="ignore", strict=True)
    id: FrameId | None = None
    type: str | None = None


class BadFrame(ChatappError):
    """A frame that is refused before anybody looks at what it asks. `frame_id` is None when not even that could be read."""

    code, http_status, title = "invalid_frame", 400, "The frame is not valid"

    def __init__(self, detail: str, *, frame_id: FrameId | None = None, code: str | None = None) -> None:
        super().__init__(detail)
        self.frame_id = frame_id
        self.refusal = code or self.code


def read(data: str | bytes) -> Frame:
    """Read a client's frame. Raises: BadFrame, whatever is wrong with it."""
    if isinstance(data, bytes):
        raise BadFrame("binary frames are not understood: send JSON as text")
    try:
        return _FRAME.validate_json(data)
    except ValidationError as error:
        raise _explain(data, error) from error


def _explain(data: str, error: ValidationError) -> BadFrame:
    try:
        head = _Head.model_validate_json(data)
    except ValidationError:
        return BadFrame("not a JSON object with a `type`")
    if head.type in OVER_HTTP:
        return BadFrame(f"`{head.type}` is not supported over the socket: use HTTP", frame_id=head.id, code="not_supported")
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
