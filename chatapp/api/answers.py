"""What clients are given. Times are RFC 3339 UTC with milliseconds. Clients ignore fields that they do not know."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from chatapp.flows.history import heard
from chatapp.flows.submit import Accepted
from chatapp.model import JobId, Session, Status, Turn, text_of, timestamp

StatusName = Literal["queued", "running", "completed", "failed", "cancelled"]


class Links(BaseModel):
    """Where to go on from an accepted message."""

    self: str = Field(description="The job.")
    events: str = Field(description="Its events, as Server-Sent Events.")
    cancel: str = Field(description="POST here to stop it.")
    websocket: str = Field(description="Where its events are pushed: subscribe to the session there.")


class AcceptedView(BaseModel):
    """The message was kept; its answer follows."""

    job_id: str
    session_id: str
    status: StatusName
    position: int = Field(description="Open turns of the session before this one.")
    created_at: str
    merged: bool | None = Field(None, description="True when the text joined this job, which was waiting (`on_busy: merge`).")
    retry_of: str | None = Field(None, description="The job that is tried again, of a retry.")
    links: Links
    following: bool | None = Field(
        None, description="Whether the socket of `connection_id` follows the job. Absent if none was named."
    )

    @classmethod
    def of(cls, accepted: Accepted, *, websocket: str, following: bool | None = None) -> "AcceptedView":
        """Show an accepted message."""
        path, session_id = job_path(str(accepted.job_id)), accepted.job_id.session_id
        return cls(
            job_id=str(accepted.job_id),
            session_id=session_id,
            status=accepted.status.value,
            position=accepted.position,
            created_at=timestamp(accepted.created_at),
            merged=accepted.merged or None,
            retry_of=_job_id(session_id, accepted.retry_of),
            links=Links(self=path, events=f"{path}/events", cancel=f"{path}/cancel", websocket=websocket),
            following=following,
        )


class ReceivedView(BaseModel):
    """A webhook's message was kept; its sender need not send it again."""

    job_id: str
    session_id: str = Field(description="Of the phone.")
    status: StatusName


class UsageView(BaseModel):
    """Tokens that the job cost."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool | None = Field(None, description="True when the provider did not say.")


class ErrorView(BaseModel):
    """Why a job failed."""

    code: str
    message: str | None = None
    retryable: bool = False


class JobView(BaseModel):
    """A turn seen from outside."""

    job_id: str
    session_id: str
    flow: str
    status: StatusName
    cancelling: bool | None = Field(None, description="True while a running job has yet to hear that it was cancelled.")
    position: int | None = Field(None, description="Open turns of the session before this one, while the job is open.")
    attempt: int
    failures: int = Field(description="Attempts that failed and were, or will be, repeated.")
    retry_at: str | None = Field(None, description="When the next attempt may begin, of a queued job that waits for it.")
    retry_of: str | None = Field(None, description="The job that this one tries again.")
    model: str
    answer: str | None = Field(None, description="The answer, once the job has ended; of a cancelled job what there was of it.")
    answer_partial: str | None = Field(None, description="The answer so far, while the job runs.")
    finish_reason: str | None = Field(None, description="`stop`, `length`, `content_filter` or `tool_calls`.")
    quick_replies: list[str] | None = Field(None, description="What the user may choose instead of typing.")
    usage: UsageView | None = None
    error: ErrorView | None = Field(None, description="Why the job failed.")
    last_error: ErrorView | None = Field(None, description="Why its last attempt failed, while the job is open.")
    metadata: dict[str, str]
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None

    @classmethod
    def of(cls, turn: Turn, session: Session, *, now: int, answer_partial: str | None = None) -> "JobView":
        """Show a turn of a session, as it is `now`."""
        return cls(
            job_id=str(turn.job_id),
            session_id=turn.session_id,
            flow=turn.flow,
            status=turn.status.value,
            cancelling=(turn.status is Status.RUNNING and turn.cancel_requested) or None,
            position=None if turn.status.ended else session.position(turn.number),
            attempt=turn.attempt,
            failures=turn.failures,
            retry_at=_retry_at(turn, now),
            retry_of=_job_id(turn.session_id, turn.retry_of),
            model=turn.answer_model or turn.options.model,
            answer=turn.answer,
            answer_partial=answer_partial,
            finish_reason=turn.finish_reason,
            quick_replies=list(turn.quick_replies) or None,
            usage=UsageView.model_validate(turn.usage.as_dict()) if turn.usage else None,
            error=_error(turn) if turn.status is Status.FAILED else None,
            last_error=None if turn.status.ended else _error(turn),
            metadata=dict(turn.metadata),
            created_at=timestamp(turn.created_at),
            started_at=timestamp(turn.started_at) if turn.started_at else None,
            ended_at=timestamp(turn.ended_at) if turn.ended_at else None,
        )


class SessionView(BaseModel):
    """A conversation."""

    session_id: str
    flow: str
    title: str | None = None
    summary: str | None = Field(None, description="What it came to so far, as its flow tells it.")
    facts: dict[str, Any] | None = Field(None, description="What its flow found, by name.")
    recommended_destination: Any | None = Field(None, description="Of an interview: the same as among the facts.")
    turn_count: int
    message_count: int = Field(description="Messages of both sides that were kept.")
    created_at: str
    updated_at: str = Field(description="Its last use.")
    expires_at: str

    @classmethod
    def of(cls, session: Session) -> "SessionView":
        """Show a session."""
        return cls(**_session(session))


class BegunView(SessionView):
    """A conversation that was begun."""

    job: AcceptedView | None = Field(None, description="The job of the flow's first words, if it speaks first.")

    @classmethod
    def begun(cls, session: Session, first: Accepted | None, *, websocket: str) -> "BegunView":
        """Show a session, and the turn with which its flow begins."""
        return cls(**_session(session), job=AcceptedView.of(first, websocket=websocket) if first else None)


class SessionPage(BaseModel):
    """Sessions, the last used first. A page may be shorter than asked for; `cursor` null means that it is the last."""

    sessions: list[SessionView]
    cursor: str | None


class MessageView(BaseModel):
    """One message of a conversation. `status`, `error` and `retry_of` are those of its job."""

    role: Literal["user", "assistant"]
    text: str
    job_id: str
    status: StatusName
    created_at: str
    error: ErrorView | None = None
    retry_of: str | None = Field(None, description="The job that its job tries again: this one stands in for it.")
    quick_replies: list[str] | None = Field(
        None, description="Of the session's last message: what the user may choose instead of typing."
    )


class ConversationPage(BaseModel):
    """Messages, oldest first. `cursor` leads to earlier ones; null means that there are none."""

    session_id: str
    messages: list[MessageView]
    cursor: str | None

    @classmethod
    def of(cls, session: Session, turns: list[Turn], *, cursor: int | None) -> "ConversationPage":
        """Show turns (newest first, as the store gives them) as messages."""
        messages = [message for turn in reversed(turns) for message in _messages(turn, last=session.turn_count)]
        return cls(session_id=session.id, messages=messages, cursor=str(cursor) if cursor else None)


class TicketView(BaseModel):
    """A ticket: it stands for your token once."""

    ticket: str = Field(description="For the query of `GET /jobs/{job_id}/events` or of the WebSocket's handshake.")
    expires_in: int = Field(description="Seconds.")


class NotifiedView(BaseModel):
    """Where the notification went."""

    id: str = Field(description="Of the notification; of a session's, the id of the event on the session's own log.")
    session_id: str | None = None
    processes: int | None = Field(
        None, description="WebSocket processes that were told, of a user's or everybody's: 0 means that nobody can have seen it."
    )


class RedisHealth(BaseModel):
    """Whether Redis answers."""

    redis: Literal["UP", "DOWN"]


class FlowView(BaseModel):
    """A way to be answered."""

    name: str = Field(description="What `flow` may be.")
    opens: bool = Field(description="Whether it speaks first: `POST /sessions` begins it.")


class AppConfig(BaseModel):
    """What the chat page needs to begin."""

    ws_url: str
    models: list[str]
    flows: list[FlowView] = Field(description="What may be begun; the first is that of messages that name none.")
    dev_token: str | None = Field(description="A token of user `demo`; only in development.")


class FieldError(BaseModel):
    """One thing that is wrong with a request: where, and what."""

    detail: str
    pointer: str | None = Field(None, description="JSON pointer into the body.")
    parameter: str | None = Field(None, description="Name of a query parameter.")
    header: str | None = Field(None, description="Name of a header.")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable name of the error: docs/errors.md lists them.")
    request_id: str
    retryable: bool = Field(description="Whether the same request may work later.")
    errors: list[FieldError] = []


def job_path(job_id: str) -> str:
    """Say where a job is read."""
    return f"/jobs/{job_id}"


def accepted_headers(accepted: Accepted) -> dict[str, str]:
    """Say where an accepted message is read, and whether it was accepted before."""
    return {"Location": job_path(str(accepted.job_id))} | ({"Idempotency-Replayed": "true"} if accepted.replayed else {})


def session_path(session_id: str) -> str:
    """Say where a session is read."""
    return f"/sessions/{session_id}"


def _messages(turn: Turn, last: int) -> list[MessageView]:
    said = {"job_id": str(turn.job_id), "status": turn.status.value, "retry_of": _job_id(turn.session_id, turn.retry_of)}
    error = _error(turn) if turn.status is Status.FAILED else None
    asked = timestamp(turn.created_at)
    messages = [
        MessageView.model_validate({"role": role, "text": text, "created_at": asked, "error": error, **said})
        for role, text in heard(turn)
    ]
    if turn.answer or (turn.answer == "" and turn.status is Status.COMPLETED and text_of(turn.input)):
        ended = timestamp(turn.ended_at or turn.created_at)
        replies = list(turn.quick_replies) if turn.number == last else []
        answer = MessageView(role="assistant", text=turn.answer, created_at=ended, error=error, **said)
        messages.append(answer.model_copy(update={"quick_replies": replies or None}))
    return messages


def _session(session: Session) -> dict[str, Any]:
    facts = dict(session.summary.facts) if session.summary else {}
    return {
        "session_id": session.id,
        "flow": session.flow,
        "title": session.title,
        "summary": session.summary.text if session.summary else None,
        "facts": facts or None,
        "recommended_destination": facts.get("recommended_destination"),
        "turn_count": session.turn_count,
        "message_count": session.message_count,
        "created_at": timestamp(session.created_at),
        "updated_at": timestamp(session.updated_at),
        "expires_at": timestamp(session.expires_at),
    }


def _retry_at(turn: Turn, now: int) -> str | None:
    waits = turn.status is Status.QUEUED and (turn.failures > 0 or turn.due > now)
    return timestamp(turn.due) if waits else None


def _job_id(session_id: str, turn: int | None) -> str | None:
    return str(JobId(session_id, turn)) if turn else None


def _error(turn: Turn) -> ErrorView | None:
    if turn.error is None:
        return None
    known: dict[str, Any] = {name: turn.error[name] for name in ErrorView.model_fields if name in turn.error}
    return ErrorView(**known)
