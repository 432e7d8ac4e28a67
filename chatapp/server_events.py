"""The events that a socket is sent, as models: what docs and tests hold the server to.

The server itself writes plain dicts (chatapp/payloads.py, chatapp/live/session_log.py): thousands of events a second are not
worth a model each. tests/integration/test_ws_contract.py holds what is really sent against these.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from chatapp.frames import EVENT_ID, JOB_ID, SessionId

Time = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$")]
EventIdText = Annotated[str, Field(pattern=EVENT_ID)]
JobIdText = Annotated[str, Field(pattern=JOB_ID)]
OwnLogText = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.0$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


def absent(description: str) -> Any:
    """Describe a field that is left out when there is nothing to say; never null. Its type is `X | SkipJsonSchema[None]`."""
    return Field(None, description=description, json_schema_extra=_without_default)


class Said(BaseModel):
    """Something that the server says. Clients ignore fields that they do not know."""

    model_config = ConfigDict(frozen=True, strict=True)


class Usage(Said):
    """Tokens that the turn cost."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int | SkipJsonSchema[None] = absent("Of the input tokens: read from the provider's cache.")
    reasoning_tokens: int | SkipJsonSchema[None] = absent("Of the output tokens: thought and not said.")
    estimated: bool | SkipJsonSchema[None] = absent("True when the provider did not say.")


class _Event(Said):
    id: EventIdText = Field(description="`<attempt>-<seq>`: the cursor. Rises within its log, compared as a pair of numbers.")
    session_id: SessionId
    attempt: int = Field(ge=0)
    seq: int = Field(ge=0, description="Counts from 0 in each attempt.")
    created_at: Time


class _TurnEvent(_Event):
    job_id: JobIdText


class MessageStarted(_TurnEvent):
    """The first attempt begins."""

    type: Literal["message_started"]
    model: str


class MessageDelta(_TurnEvent):
    """A piece of the answer."""

    type: Literal["message_delta"]
    part: int = Field(ge=0, description="Which part of the answer it belongs to.")
    kind: str = Field(description="`text` or `reasoning`; pieces of a kind that you do not know are to be ignored.")
    text: str


class MessageRetrying(_TurnEvent):
    """The attempt failed, or the model cannot be asked yet: another one follows. The text so far stands until then."""

    type: Literal["message_retrying"]
    retry_in: float = Field(ge=0, description="Seconds from `created_at` until the next attempt, about.")
    reason: str = Field(description="The code of the error.")
    failures: int = Field(ge=0, description="Attempts that failed so far; 0 while the model is only waited for.")


class MessageReset(_TurnEvent):
    """A later attempt begins: drop the text so far."""

    type: Literal["message_reset"]
    model: str
    reason: str = Field(description="The code of the error that ended the attempt before; `interrupted` when it died.")


class MessageSnapshot(_TurnEvent):
    """The log was lost and begins anew: this is the text so far, in the place of what you have."""

    type: Literal["message_snapshot"]
    text: str
    through: EventIdText = Field(description="The last event that the text includes.")


class _End(_TurnEvent):
    text: str | None = Field(description="The whole answer; null when it is over 48 KB: fetch it from the job then.")
    text_length: int | SkipJsonSchema[None] = absent("Characters of the text that is not here.")
    text_sha256: Digest | SkipJsonSchema[None] = absent("SHA-256 of its UTF-8, in hex.")
    usage: Usage | None


class MessageCompleted(_End):
    """The end: the turn is answered."""

    type: Literal["message_completed"]
    model: str
    finish_reason: str = Field(description="`stop`, `length`, `content_filter` or `tool_calls`.")
    quick_replies: list[str] | SkipJsonSchema[None] = absent("What the user may choose instead of typing.")


class MessageCancelled(_End):
    """The end: the turn was cancelled; `text` is what was said before."""

    type: Literal["message_cancelled"]


class Error(_TurnEvent):
    """The end: the turn failed."""

    type: Literal["error"]
    code: str
    message: str
    retryable: bool = Field(description="Whether `POST /jobs/{id}/retry` may help.")


class Notice(_Event):
    """Something to be shown in the session, from its own log: kept for a day, and resumed by `log_after`."""

    type: Literal["notice"]
    job_id: OwnLogText
    title: str | SkipJsonSchema[None] = absent("A heading.")
    text: str
    data: dict[str, Any] | SkipJsonSchema[None] = absent("For programs: whatever the sender put there.")


class _OfAction(_Event):
    job_id: OwnLogText
    action_id: str = Field(pattern="^a[0-9a-z-]{1,40}$")
    name: str
    description: str
    status: str = Field(
        description="`staged`, `confirmed`, `executing`, `executed`, `failed`, `unknown`, `cancelled` or `expired`."
    )
    payload: dict[str, Any]
    requested_at: Time
    expires_at: Time = Field(description="Until when a staged action can be confirmed.")
    result: dict[str, Any] | SkipJsonSchema[None] = absent("What the action's target answered.")
    error: dict[str, Any] | SkipJsonSchema[None] = absent("Why it failed, or what is not known.")


class ActionRequested(_OfAction):
    """The flow proposes an action: it waits for the user's yes."""

    type: Literal["action_requested"]


class ActionUpdated(_OfAction):
    """The action's status has changed, and is not `executed`: `status` says what it is."""

    type: Literal["action_updated"]


class ActionExecuted(_OfAction):
    """The action was carried out."""

    type: Literal["action_executed"]


class ProfileUpdated(_Event):
    """The profile of an interview has changed: this is all of it, and how far it has come."""

    type: Literal["profile_updated"]
    job_id: OwnLogText
    version: int = Field(ge=1, description="Of the session's state, as `GET /sessions/{id}/state` has it.")
    profile: dict[str, Any]
    current_question_index: int = Field(ge=0, description="The place of the first question without an answer, from 0.")
    interview_complete: bool = Field(description="Whether every question has an answer.")
    questions_asked: int = Field(ge=0)
    questions_available: int = Field(ge=0)
    efficiency: float = Field(ge=0, le=1, description="Which part of the questions was answered without being asked.")
    recommended_destination: dict[str, Any] | None


Event = Annotated[
    MessageStarted
    | MessageDelta
    | MessageRetrying
    | MessageReset
    | MessageSnapshot
    | MessageCompleted
    | MessageCancelled
    | Error
    | Notice
    | ActionRequested
    | ActionUpdated
    | ActionExecuted
    | ProfileUpdated,
    Field(discriminator="type"),
]
