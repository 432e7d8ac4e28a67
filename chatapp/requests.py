"""What clients may send. Every field is listed; anything else is refused (DESIGN section 6).

Limits that are settings come in as the validation context, so that one set of models serves every configuration.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from chatapp.addresses import MAX_URL_CHARS, check_callback
from chatapp.model import EventId
from config.settings import Settings

MAX_PARTS = 16
MAX_TITLE_CHARS = 200
MAX_METADATA_KEYS = 16
MAX_METADATA_CHARS = 512
MAX_WAIT_SECONDS = 20
MAX_PAGE = 100
MAX_NOTICE_CHARS = 4_000
MAX_NOTICE_DATA_BYTES = 16_384
MAX_POINTER_CHARS = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
IDEMPOTENCY_KEY = r"[\x21-\x7e]{1,255}"
"""What an Idempotency-Key may be: visible ASCII characters."""


def _text(value: str) -> str:
    """Refuse NUL, which neither terminals nor databases agree on. Lone surrogates do not pass the JSON parser."""
    if "\x00" in value:
        raise ValueError("must not hold the character NUL")
    return value


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return _text(value)


def _one_line(value: str) -> str:
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in value):
        raise ValueError("must not hold control characters or line breaks")
    return _said(value)


def _as_parts(value: Any) -> Any:
    if isinstance(value, str):
        return [{"kind": "text", "text": value}]
    if not isinstance(value, list):
        raise ValueError("must be a text, or a list of parts")  # noqa: TRY004  pydantic shows ValueErrors to the client
    return value


def _settings(info: ValidationInfo) -> Settings:
    if not isinstance(info.context, Settings):
        raise TypeError("requests are validated with the settings as context")
    return info.context


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if (size := len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())) > MAX_NOTICE_DATA_BYTES:
        raise ValueError(f"must have at most {MAX_NOTICE_DATA_BYTES} bytes as JSON; it has {size}")
    return value


def json_pointer(loc: Sequence[int | str]) -> str:
    """Write a place in a body as a JSON pointer (RFC 6901), cut to 200 characters."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in loc)[:MAX_POINTER_CHARS]


class Strict(BaseModel):
    """A request: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class TextPart(Strict):
    """A part of a message."""

    kind: Literal["text"]
    text: str


def _message(parts: list[TextPart], info: ValidationInfo) -> list[TextPart]:
    whole = _said("\n".join(part.text for part in parts))
    if len(whole) > (limit := _settings(info).max_message_chars):
        raise ValueError(f"must have at most {limit} characters; it has {len(whole)}")
    return parts


def _instructions(value: str, info: ValidationInfo) -> str:
    if len(value) > (limit := _settings(info).max_message_chars):
        raise ValueError(f"must have at most {limit} characters; it has {len(value)}")
    return _said(value)


def _rounded(value: float) -> float:
    # More digits mean nothing to a model, and the smallest numbers do not fit DynamoDB's.
    return round(value, 6)


Message = Annotated[
    list[TextPart],
    Field(min_length=1, max_length=MAX_PARTS),
    BeforeValidator(_as_parts),
    AfterValidator(_message),
    WithJsonSchema(
        {
            "description": "Text, or a list of parts.",
            "oneOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"$ref": "#/components/schemas/TextPart"}, "minItems": 1, "maxItems": MAX_PARTS},
            ],
        }
    ),
]
OneLine = AfterValidator(_one_line)
Text = Annotated[str, AfterValidator(_instructions)]
"""A text that says something, no longer than a message may be."""
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="32 hex digits, as an answer of ours gave it.")]
Title = Annotated[str, Field(max_length=MAX_TITLE_CHARS), AfterValidator(_one_line)]
MetadataKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
MetadataValue = Annotated[str, Field(max_length=MAX_METADATA_CHARS), AfterValidator(_text)]


def _callback(url: str, info: ValidationInfo) -> str:
    settings = _settings(info)
    if not settings.delivery_secrets:
        raise ValueError("is not available on this server: it has no secret to sign what it would send")
    return check_callback(url, https_only=settings.env == "production", private=settings.callback_private)


CallbackUrl = Annotated[
    str,
    AfterValidator(_callback),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": MAX_URL_CHARS}),
]


class ChatRequest(Strict):
    """A message to be answered."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"message": "Why is the sky blue?"}]})

    message: Message
    session_id: SessionId | None = Field(None, description="The conversation it continues; without it a new one begins.")
    flow: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] | None = Field(
        None,
        description="How it is answered: the flow of a new conversation (`chat`, unless FLOWS says otherwise)."
        " One that goes on keeps its own.",
    )
    on_busy: Literal["enqueue", "reject", "interrupt", "merge"] = Field(
        "enqueue",
        description="While the session has open turns: wait behind them; answer 409; cancel them first; or join the last one, "
        "if it has not been started and asks the same flow and model in the same way (else wait).",
    )
    restart: Literal["reset", "fail"] = Field("reset", description="What a failure after the first visible text does.")
    connection_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = Field(
        None, description="A WebSocket of yours that shall follow the job at once."
    )
    model: str | None = Field(None, description="One of the allowed models.")
    instructions: Annotated[str, AfterValidator(_instructions)] | None = Field(None, description="The system prompt.")
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False), AfterValidator(_rounded)] | None = None
    max_output_tokens: int | None = Field(None, ge=1, description="Longest answer.")
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default_factory=dict, max_length=MAX_METADATA_KEYS, description="Yours; given back with the job."
    )
    callback_url: CallbackUrl | None = Field(
        None,
        description="Where the end of the job is to be posted, signed (see `docs/webhooks.md`); `https` in production, and no "
        "private address.",
    )

    @field_validator("model")
    @classmethod
    def _allowed(cls, value: str | None, info: ValidationInfo) -> str | None:
        models = _settings(info).models
        if value is not None and value not in models:
            raise ValueError(f"must be one of: {', '.join(models)}")
        return value

    @field_validator("max_output_tokens")
    @classmethod
    def _affordable(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value > (limit := _settings(info).max_output_tokens):
            raise ValueError(f"must be at most {limit}")
        return value


class NewSession(Strict):
    """A conversation to begin."""

    flow: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] = Field("chat", description="How its messages are answered.")
    title: Title | None = None
    language: Literal["en", "pt"] | None = Field(None, description="What the flow is to speak first.")


class SessionChange(Strict):
    """What may be changed of a session."""

    title: Title


class StateChange(RootModel[dict[str, Any]]):
    """A JSON merge patch: null removes, objects are merged, anything else replaces."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ProfileData": {"budget": 5000}}]})


class Nothing(Strict):
    """No fields: what the path names is enough."""


class JobQuery(Strict):
    """How to read a job."""

    wait: int = Field(0, ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for the end of the job.")


def _cursor(value: str) -> str:
    if EventId.parse(value) is None:
        raise ValueError("is not an event's id: <attempt>-<seq>")
    return value


class EventsQuery(Strict):
    """From where a job's events are wanted."""

    after: Annotated[str, AfterValidator(_cursor)] | None = Field(
        None, description="Id of the last event that you have. The header `Last-Event-ID` wins."
    )
    ticket: str | None = Field(None, description="A one-time ticket, instead of the header `Authorization`.")


class Notification(Strict):
    """Something to tell a user, the followers of a session, or everybody who is connected."""

    user_id: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_one_line)] | None = Field(
        None, description="All sockets of this user. Nothing is kept: who is not connected misses it."
    )
    session_id: SessionId | None = Field(None, description="This session's own log: an event `notice`, kept for a day.")
    all: bool = Field(False, description="All sockets that are authenticated.")
    text: Annotated[str, Field(min_length=1, max_length=MAX_NOTICE_CHARS), AfterValidator(_said)]
    title: Title | None = None
    data: Annotated[dict[str, Any], AfterValidator(_small)] | None = Field(
        None, description=f"Yours; at most {MAX_NOTICE_DATA_BYTES} bytes of JSON."
    )

    @model_validator(mode="after")
    def _for_somebody(self) -> Self:
        if sum((self.user_id is not None, self.session_id is not None, self.all)) != 1:
            raise ValueError("name exactly one of: user_id, session_id, all")
        return self


class SessionsQuery(Strict):
    """Which page of the sessions."""

    limit: int = Field(20, ge=1, le=MAX_PAGE, description="Sessions per page.")
    cursor: str | None = Field(None, pattern=r"^[A-Za-z0-9_=-]{1,256}$", description="`cursor` of the page before.")


def _time(value: Any) -> Any:
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("must be a time as RFC 3339 has it, e.g. 2026-11-21T05:00:00Z")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]


class ConversationQuery(Strict):
    """Which page of the messages, and of what time."""

    from_: Time | None = Field(None, alias="from", description="Only turns that were posted at this time or later.")
    to: Time | None = Field(None, description="Only turns that were posted before this time.")

    limit: int = Field(50, ge=1, le=MAX_PAGE, description="Turns per page; each is one or two messages.")
    cursor: Annotated[int, Field(ge=1, lt=10**9)] | None = Field(None, description="`cursor` of the page after this one in time.")

    @field_validator("to")
    @classmethod
    def _in_order(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        since = info.data.get("from_")
        if value is not None and since is not None and since >= value:
            raise ValueError("must be after `from`")
        return value

    @property
    def period(self) -> tuple[int | None, int | None]:
        """From when to when, in milliseconds since 1970; None is open."""
        return _ms(self.from_), _ms(self.to)


def _ms(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH) // timedelta(milliseconds=1)
