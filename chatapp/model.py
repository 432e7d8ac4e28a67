"""The values of the domain: ids, turns, sessions, what a model is asked and what it yields.

Times are integers, milliseconds since 1970 UTC, unless a name says otherwise; clients see RFC 3339.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self, TypeAlias

SCHEMA = 1
"""Version of the stored shape of a turn. Version N reads what N-1 wrote."""

_SESSION_ID = re.compile(r"[0-9a-f]{32}")
_JOB_ID = re.compile(r"([0-9a-f]{32})\.([1-9][0-9]{0,8})")
_EVENT_ID = re.compile(r"(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,9})")


def new_session_id() -> str:
    """Make a session id: 128 random bits as 32 hex digits."""
    return secrets.token_hex(16)


def is_session_id(text: str) -> bool:
    """Say whether `text` has the form of a session id."""
    return _SESSION_ID.fullmatch(text) is not None


def timestamp(ms: int) -> str:
    """Show a time as RFC 3339 UTC with milliseconds, e.g. `2026-11-21T05:00:00.000Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, order=True)
class JobId:
    """A turn seen from outside: `<session_id>.<turn>`, so that it is found without a look-up."""

    session_id: str
    turn: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a job id; None for anything that is not one."""
        match = _JOB_ID.fullmatch(text)
        return cls(match[1], int(match[2])) if match else None

    def __str__(self) -> str:
        return f"{self.session_id}.{self.turn}"


@dataclass(frozen=True, slots=True, order=True)
class EventId:
    """`<attempt>-<seq>`: the id of an event, of its Redis stream entry and of a cursor. Compares as a pair."""

    attempt: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read an event id; None for anything that is not one."""
        match = _EVENT_ID.fullmatch(text)
        return cls(int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"{self.attempt}-{self.seq}"


USER_PREFIX = "webhook:"
"""What the user ids of phones begin with. No token may: nobody can be such a user but the gateway that signs for it."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling. `expires_at` is the end of the token, in milliseconds since 1970."""

    user_id: str
    scopes: frozenset[str] = frozenset()
    expires_at: int | None = None


class Status(StrEnum):
    """The states of a turn. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True for the states that never change again."""
        return self not in (Status.QUEUED, Status.RUNNING)


class FinishReason(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a turn cost. `estimated` when the provider did not say."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False

    def as_dict(self) -> dict[str, int | bool]:
        """Give the public form: fields that say nothing are left out."""
        out: dict[str, int | bool] = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        if self.cached_tokens is not None:
            out["cached_tokens"] = self.cached_tokens
        if self.reasoning_tokens is not None:
            out["reasoning_tokens"] = self.reasoning_tokens
        if self.estimated:
            out["estimated"] = True
        return out


Part: TypeAlias = Mapping[str, Any]
"""One part of an input or answer: `{"kind": "text", "text": ...}`. Unknown kinds are skipped by readers."""


def text_part(text: str) -> dict[str, str]:
    """Make a text part."""
    return {"kind": "text", "text": text}


def text_of(parts: tuple[Part, ...]) -> str:
    """Join the text parts."""
    return "\n".join(p["text"] for p in parts if p.get("kind") == "text")


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What the caller may choose about the model; stored with the turn, so that a retry asks the same."""

    model: str
    instructions: str | None = None
    temperature: float | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One input and the answer to it: the unit of work and the truth about it. Once ended it never changes.

    `attempt` is the fencing token; `lease_end` the end of the running attempt's right to write; `due` the earliest time
    of the next claim; `wake_at` when the relay should look; `end_id` the id of the terminal event. What attempts came to
    is counted apart: `failures` (retryable errors), `crashes` (leases that lapsed), `hand_backs` (processes that stopped).
    `dlq_pending`: the turn has failed for good and the dead-letter queue does not have it yet. `input_apart`: the store
    keeps the input in an item of its own. A turn without input was begun by the server: the flow speaks first. `callback`:
    where its end is to be delivered, a URL or `outbound` (chatapp/effects.py). `quick_replies`: what the user may simply
    choose to answer.
    """

    session_id: str
    number: int
    user_id: str
    flow: str
    input: tuple[Part, ...]
    options: ModelOptions
    created_at: int
    expires_at: int
    status: Status = Status.QUEUED
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    hand_backs: int = 0
    due: int = 0
    lease_end: int = 0
    claim_id: str | None = None
    wake_at: int | None = None
    cancel_requested: bool = False
    restart: str = "reset"
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_of: int | None = None
    traceparent: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    answer: str | None = None
    answer_model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    error: Mapping[str, Any] | None = None
    end_id: EventId | None = None
    dlq_pending: bool = False
    input_apart: bool = False
    callback: str | None = None
    quick_replies: tuple[str, ...] = ()
    schema: int = SCHEMA

    @property
    def job_id(self) -> JobId:
        """The turn's name for the outside."""
        return JobId(self.session_id, self.number)

    def never_started_within(self, seconds: float, now: int) -> bool:
        """Say whether the turn waits for its first attempt since more than `seconds`."""
        return self.status is Status.QUEUED and self.attempt == 0 and now - self.created_at > seconds * 1000


State: TypeAlias = Mapping[str, Any]
"""A flow's state: a JSON object. Read only: a change makes a new one."""

MAX_STATE_BYTES = 64 * 1024
"""A state's largest size as JSON: it is read and written with every turn."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What lists of sessions show: a sentence, and what the flow found, e.g. `{"recommended_destination": ...}`."""

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation. `open_turns` holds the numbers of turns that have not ended; the least of them is the head.

    `cancel_before`: open turns with lower numbers are to be cancelled (`on_busy: interrupt`), by whoever sees it first.
    `state` is the flow's, and `version` counts its changes; `summary` is what the flow tells in lists of sessions.
    `message_count` counts inputs and answers that were kept. `contact`: the phone number of a webhook's session.
    `result`: what the flow came to, once the session was ended by `POST /sessions/{id}/end`.
    """

    id: str
    user_id: str
    flow: str
    created_at: int
    updated_at: int
    expires_at: int
    version: int = 0
    turn_count: int = 0
    open_turns: frozenset[int] = frozenset()
    title: str | None = None
    summary: Summary | None = None
    state: State = field(default_factory=dict)
    message_count: int = 0
    contact: str | None = None
    result: Mapping[str, Any] | None = None
    deleted_at: int | None = None
    cancel_before: int = 0

    @classmethod
    def begin(cls, *, user_id: str, flow: str, now: int, life_ms: int, **more: Any) -> Self:
        """Make a session that begins now, under a new id."""
        session_id = new_session_id()
        return cls(id=session_id, user_id=user_id, flow=flow, created_at=now, updated_at=now, expires_at=now + life_ms, **more)

    @property
    def head(self) -> int | None:
        """The only turn that may be claimed."""
        return min(self.open_turns, default=None)

    @property
    def interrupted(self) -> bool:
        """Whether a turn is open that is to be cancelled for a later one."""
        return self.head is not None and self.head < self.cancel_before

    def position(self, turn: int) -> int:
        """How many open turns stand before `turn`; 0 is the head."""
        return sum(1 for n in self.open_turns if n < turn)

    def alive(self, now: int) -> bool:
        """Neither deleted nor past its logical life (DynamoDB deletes expired items up to two days late)."""
        return self.deleted_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a turn ends. The same shape whoever ends it.

    `by` tells whose write it is, so that one whose answer was lost is recognised: the claim id of the attempt that ends
    its own turn (`holder`), any fresh id of somebody else (cancel, deadline). The latter raises `attempt`, which fences
    the old worker in DynamoDB and in Redis together.
    """

    status: Status
    end_id: EventId
    at: int
    by: str
    holder: bool
    answer: str | None = None
    answer_model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    error: Mapping[str, Any] | None = None
    dlq_pending: bool = False
    failures: int | None = None
    quick_replies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionWrite:
    """What the end of a turn writes into its session beside the end: stored with it or not at all.

    `state` is written only if the session's version is still `seen`.
    """

    seen: int
    state: State | None = None
    summary: Summary | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """What is kept of an accepted request under its Idempotency-Key, to answer its twins the same."""

    key: str
    fingerprint: str
    job_id: JobId
    position: int
    created_at: int
    expires_at: int
    merged: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the history a model is given. `role` is `user` or `assistant`."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a flow asks of a model. `answer`: the form that its answer must have, instead of free text."""

    messages: tuple[Message, ...]
    options: ModelOptions
    user_id: str
    job_id: str
    answer: "AnswerForm | None" = None


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """A structured answer: JSON that `schema` (a JSON Schema) allows. `name` is a word that says what it is."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the model's reasoning, where a provider shows it."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call; `arguments` is a fragment of JSON text."""

    index: int
    call_id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class Pending:
    """Nothing yet, but the provider is there: it lets who reads look whether to go on."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of an answer, always the last piece. A stream without it is a failure, not an answer."""

    reason: FinishReason
    model: str
    usage: Usage | None


Piece: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta | Pending | Finish
"""What a model yields."""
