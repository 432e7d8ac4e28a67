"""Everything that the server sends over the socket, as one union of models: its own frames and the events.

`FRAME.validate_python(frame)` reads one. Clients ignore types and fields that they do not know; the contract test does not
(`extra="forbid"`), so that nothing is sent that is not described here.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter
from pydantic.json_schema import SkipJsonSchema

from chatapp.frames import FrameId, SessionId
from chatapp.server_events import Event, EventIdText, JobIdText, Said, Time, absent

StatusName = Literal["queued", "running", "completed", "failed", "cancelled"]


def _without(*names: str) -> ConfigDict:
    # What tells the kinds of `ack` apart, for a reader of the schema: each is valid as one kind only.
    return ConfigDict(json_schema_extra={"not": {"anyOf": [{"required": [name]} for name in names]}})


class _Answer(Said):
    id: FrameId | SkipJsonSchema[None] = absent("The `id` of the frame that is answered, if it had one.")


class Connected(Said):
    """The first frame of every socket."""

    type: Literal["connected"]
    connection_id: str = Field(
        pattern="^[0-9a-f]{32}$", description="Names this socket, e.g. in `POST /chat`, whose job it follows then."
    )
    auth_required: bool = Field(description="Whether the first frame must be `auth`: the handshake did not say who you are.")
    ping_interval: int = Field(description="Seconds between the server's pings.")
    max_payload: int = Field(
        description="Bytes of the largest frame that the server takes; a larger one closes the socket (1009)."
    )


class SignedIn(_Answer):
    """The token was accepted. Answers `auth` and `refresh`."""

    type: Literal["ack"]
    user_id: str
    expires_at: Time = Field(description="When the socket is closed (4001) unless a `refresh` came.")


class Accepted(_Answer):
    """The message was kept. Answers `chat`; the socket follows the session from then on."""

    type: Literal["ack"]
    job_id: JobIdText
    session_id: SessionId
    status: StatusName
    position: int = Field(ge=0, description="Open turns of the session before this one.")


class Done(_Answer):
    """What was asked is done, or under way. Answers `cancel` and `confirm`."""

    model_config = _without("job_id", "user_id")

    type: Literal["ack"]
    status: str = Field(description="As the job, or the action, stands now; the end of a job that runs comes as its event.")


class Unsubscribed(_Answer):
    """The session is no longer followed. Answers `unsubscribe`."""

    model_config = _without("job_id", "user_id", "status")

    type: Literal["ack"]


class SubscribedTurn(Said):
    """A turn whose events follow."""

    job_id: JobIdText
    status: StatusName
    position: int = Field(ge=0, description="Open turns of the session before this one; 0 once it is the first, or has ended.")
    recovered: bool = Field(
        description="False: the cursor could not be honoured. Forget what you have of it; what follows stands for the whole turn."
    )


class SubscribedLog(Said):
    """Where the session's own log is followed from."""

    after: EventIdText = Field(
        description="Only events behind it follow: the `log_after` to come back with until you have seen one. `0-0`: all follow."
    )
    recovered: bool = Field(description="False: some of what came after `log_after` is gone. What there still is follows.")


class Subscribed(_Answer):
    """The session is followed. What was missed comes next, then what is new. Without `id` after `chat` and `POST /chat`."""

    type: Literal["subscribed"]
    session_id: SessionId
    turns: list[SubscribedTurn]
    log: SubscribedLog


class Pong(_Answer):
    """I am here."""

    type: Literal["pong"]


class WrongField(Said):
    """One thing that is wrong with a frame."""

    pointer: str | SkipJsonSchema[None] = absent("JSON pointer into the frame.")
    detail: str


class Refused(Said):
    """The frame was not followed; nothing has changed."""

    type: Literal["refused"]
    id: FrameId | None = Field(description="Of the refused frame; null when it had none, or could not be read.")
    code: str = Field(description="Stable: docs/errors.md lists them.")
    message: str
    retryable: bool = Field(description="Whether the same frame may work later.")
    retry_after: Annotated[float, Field(ge=0)] | SkipJsonSchema[None] = absent("Seconds until it may.")
    errors: list[WrongField] | SkipJsonSchema[None] = absent("Of `invalid_request`: the fields that are wrong.")


class Notification(Said):
    """Pushed to all sockets of a user, or to everybody's. Not kept: who is not connected misses it."""

    type: Literal["notification"]
    id: str = Field(pattern="^[0-9a-f]{32}$")
    created_at: Time
    title: str | SkipJsonSchema[None] = absent("A heading.")
    text: str
    data: dict[str, Any] | SkipJsonSchema[None] = absent("For programs: whatever the sender put there.")


def _kind_of_ack(frame: Any) -> str:
    known = {"user_id": "signed_in", "job_id": "accepted", "status": "done"}
    return next((kind for field, kind in known.items() if field in frame), "unsubscribed")


Ack = Annotated[
    Annotated[SignedIn, Tag("signed_in")]
    | Annotated[Accepted, Tag("accepted")]
    | Annotated[Done, Tag("done")]
    | Annotated[Unsubscribed, Tag("unsubscribed")],
    Discriminator(_kind_of_ack),
]


def _type_of(frame: Any) -> str:
    kind = frame.get("type") if isinstance(frame, dict) else None
    own = {"ack", "connected", "subscribed", "pong", "refused", "notification"}
    return kind if kind in own else "event"


ServerFrame = Annotated[
    Annotated[Connected, Tag("connected")]
    | Annotated[Ack, Tag("ack")]
    | Annotated[Subscribed, Tag("subscribed")]
    | Annotated[Pong, Tag("pong")]
    | Annotated[Refused, Tag("refused")]
    | Annotated[Notification, Tag("notification")]
    | Annotated[Event, Tag("event")],
    Discriminator(_type_of),
]
FRAME: TypeAdapter[Said] = TypeAdapter(ServerFrame)
