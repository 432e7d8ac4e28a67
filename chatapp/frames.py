"""What a client may say over the socket, as models: read strictly, unknown fields are refused."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from chatapp.model import EventId, JobId
from chatapp.requests import IDEMPOTENCY_KEY, ChatRequest

SESSION_ID = r"^[0-9a-f]{32}$"
JOB_ID = r"^[0-9a-f]{32}\.[1-9][0-9]{0,8}$"
EVENT_ID = r"^(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,9})$"
"""What ids look like to a client; JobId and EventId (chatapp/model.py) read them."""

SessionId = Annotated[str, Field(pattern=SESSION_ID)]
FrameId = Annotated[str, Field(max_length=128)] | Annotated[int, Field(ge=-(2**53), le=2**53)]


def _a_cursor(value: str) -> str:
    if EventId.parse(value) is None:
        raise ValueError("is not an event's id: <attempt>-<seq>")
    return value


Cursor = Annotated[str, AfterValidator(_a_cursor), Field(json_schema_extra={"pattern": EVENT_ID})]


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

    job_id: str = Field(json_schema_extra={"pattern": JOB_ID})
    after: Cursor | None = None

    @field_validator("job_id")
    @classmethod
    def _a_job_id(cls, value: str) -> str:
        if JobId.parse(value) is None:
            raise ValueError("is not a job id")
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
    log_after: Cursor | None = Field(
        None,
        description="Where the client stopped in the session's own log (`0-0`: before its first event); without it only live.",
    )

    @property
    def log_cursor(self) -> EventId | None:
        """The last event that the client saw of the session's own log."""
        return EventId.parse(self.log_after) if self.log_after is not None else None

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


class Chat(ChatRequest):
    """A message to be answered, as `POST /chat` takes it; the socket follows its session from then on."""

    type: Literal["chat"]
    id: FrameId | None = None
    connection_id: SkipJsonSchema[None] = None  # it is this socket
    idempotency_key: Annotated[str, Field(pattern=rf"^{IDEMPOTENCY_KEY}$")] | None = Field(
        None,
        description="What the header Idempotency-Key is over HTTP: the same key and message are accepted once, whichever way.",
    )


class Cancel(_Frame):
    """Stop a job."""

    type: Literal["cancel"]
    job_id: str


class Confirm(_Frame):
    """Confirm an action that a flow has proposed."""

    type: Literal["confirm"]
    session_id: SessionId
    action_id: str


Frame = Auth | Refresh | Subscribe | Unsubscribe | Chat | Cancel | Confirm | Ping
