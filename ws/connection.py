"""One socket: what its client asks and what is pushed to it, done one after the other by one worker.

The worker is the thread that took the handshake. simple-websocket's thread only takes frames apart and puts them into the inbox;
the hub puts notices there; the worker alone sends, and alone touches what the socket follows. So there is no lock, the
replay of a log comes before the live events that were published meanwhile because they wait in the inbox behind it, the `ack` of
a `chat` frame comes before the events of its job, and a client that does not read stops nobody but itself: its inbox fills up
and it is closed.
"""

import logging
import secrets
from typing import Any

from simple_websocket import ConnectionClosed
from wsproto.utilities import LocalProtocolError

from chatapp.errors import ChatappError, Forbidden, RateLimited, Unauthenticated, Unavailable
from chatapp.frames import Auth, Cancel, Chat, Confirm, Frame, FrameId, Ping, Refresh, Resume, Subscribe, Unsubscribe
from chatapp.model import EventId, JobId, Principal, timestamp
from ws.apart import apart
from ws.frames import BadFields, BadFrame, read, refusal, write
from ws.inbox import Inbox
from ws.notices import Follow, Gap, Live, Notice, Push
from ws.parts import Bearer, Credential, Parts
from ws.protocol import Close
from ws.subscriptions import Subscriptions
from ws.wire import hang_up

log = logging.getLogger(__name__)

MAX_BAD_FRAMES = 10
"""Frames in a row that could not be read, before the socket is closed."""

MAX_IDLE_SECONDS = 3_600.0
"""Longest sleep of a worker that has nothing to wait for."""

FOLLOW_AGAIN_SECONDS = 1.0
"""Pause before a job is followed that could not be."""

MAX_WANTED = 100
"""Jobs that wait to be followed."""

GONE = 0
"""Stands for a close code when the client has gone: there is nobody left to tell."""

NEVER = float("inf")


class _Closed(Exception):
    """The socket is to be closed, or is."""


class Connection:
    """A client's socket, from the handshake to the close."""

    __slots__ = (
        "_auth_until",
        "_bad_frames",
        "_closing",
        "_follow_at",
        "_inbox",
        "_parts",
        "_principal",
        "_reason",
        "_subscriptions",
        "_user_id",
        "_wanted",
        "_ws",
        "socket_id",
    )

    def __init__(self, ws: Any, parts: Parts) -> None:
        self.socket_id = secrets.token_hex(16)
        self._ws = ws
        self._parts = parts
        self._inbox = Inbox(parts.limits.inbox, parts.limits.inbox_bytes)
        self._closing: Close | int | None = None
        self._reason = ""
        self._user_id = ""
        self._principal: Principal | None = None
        self._subscriptions = Subscriptions(
            self,
            hub=parts.hub,
            sessions=parts.sessions,
            replay=parts.replay,
            clock=parts.clock,
            send=self._send,
            limit=parts.limits.subscriptions,
            may_look=parts.looks.take,
        )
        self._bad_frames = 0
        self._wanted: tuple[JobId, ...] = ()
        self._follow_at = NEVER
        self._auth_until = NEVER

    def run(self, credential: Credential | None) -> None:
        """Serve the socket until it is closed. `credential` is what the handshake brought, if anything."""
        self._ws.event.owner = self._ws.sock.owner = self
        self._ws.ws = self._ws.ws.connection  # the handshake's HTTP parser (3 KB) is kept beside it for ever
        self.heard()  # what came before
        try:
            self._work(credential)
        finally:
            self._leave_lobby()
            hang_up(self._ws, self._closing or None, self._reason)
            self._parts.presence.end(self, self._user_id)

    # --- from other threads

    def heard(self) -> None:
        """Take what simple-websocket's thread has received."""
        received = self._ws.input_buffer
        while received:
            self._offer(received.pop(0))

    def lost(self) -> None:
        """simple-websocket's thread is done: the client has closed or is gone, and has been answered."""
        if self._closing is None:
            self._stop(GONE)

    def exceeded(self, code: Close) -> None:
        """The client sent more than it may."""
        self._stop(code, "frame too big" if code is Close.TOO_BIG else "too many frames")

    def offer(self, item: Notice) -> None:
        """Take a notice from within."""
        self._offer(item)

    def dismiss(self, code: Close, reason: str) -> None:
        """Have the socket closed; also before it is served. From any thread."""
        self._stop(code, reason)

    def _offer(self, item: str | bytes | Notice) -> None:
        if self._closing is None and not self._inbox.put(item):
            self._stop(Close.SLOW_CONSUMER, "reads too slowly, or asks too fast")

    def _stop(self, code: Close | int, reason: str = "") -> None:
        """Have the worker close the socket once the frame that it may be sending is out. From any thread."""
        if self._closing is None:
            self._reason = reason
            self._closing = code
        if code == GONE:
            self._ws.sock.finish()  # the worker may be waiting for room to send
        self._inbox.clear()
        self._inbox.wake()

    # --- the worker

    def _work(self, credential: Credential | None) -> None:
        try:
            self._greet(credential)
            while self._closing is None:
                self._check_times()
                self._next()
        except _Closed:
            pass
        except (ConnectionClosed, LocalProtocolError, OSError) as error:
            log.debug("socket %s is gone: %s", self.socket_id, error)
            self._stop(GONE)
        except Exception:
            log.exception("socket %s failed", self.socket_id)
            self._stop(Close.INTERNAL)

    def _greet(self, credential: Credential | None) -> None:
        if credential is not None:
            apart(self._authenticate, credential)
        else:
            self._enter_lobby()
        limits = self._parts.limits
        self._send(
            write(
                "connected",
                connection_id=self.socket_id,
                auth_required=self._principal is None,
                ping_interval=round(limits.ping_seconds),
                max_payload=limits.max_payload,
            )
        )

    def _next(self) -> None:
        match self._inbox.get(self._idle_seconds()):
            case Live() as live:
                self._subscriptions.live(live.event)
            case Push() as push:
                self._send(push.text)
            case Gap() as gap:
                apart(self._subscriptions.catch_up, gap.session_id)
            case Follow() as order:
                apart(self._follow, order.job_id)
            case str() | bytes() as received:
                apart(self._hear, received)

    def _send(self, text: str) -> None:
        if self._closing is not None:
            raise _Closed
        self._ws.send(text)

    def _answer(self, text: str) -> None:
        """Send an answer: also when the socket is being closed meanwhile, so that who has asked knows what was done."""
        if self._closing in (GONE, Close.SLOW_CONSUMER):
            raise _Closed
        self._ws.send(text)

    def _close(self, code: Close, reason: str) -> _Closed:
        self._stop(code, reason)
        return _Closed()

    # --- time

    def _idle_seconds(self) -> float:
        until = min(self._auth_until, self._follow_at, self._subscriptions.due_at) - self._parts.clock.monotonic()
        if self._principal is not None and self._principal.expires_at is not None:
            until = min(until, (self._principal.expires_at - self._parts.clock.now()) / 1000)
        return max(min(until, MAX_IDLE_SECONDS), 0.0)

    def _check_times(self) -> None:
        clock = self._parts.clock
        now = clock.monotonic()
        if now >= self._auth_until:
            raise self._close(Close.AUTH_TIMEOUT, "not authenticated in time")
        expires_at = self._principal.expires_at if self._principal else None
        if expires_at is not None and clock.now() >= expires_at:
            raise self._close(Close.TOKEN_EXPIRED, "the token has expired")
        if now >= self._follow_at:
            apart(self._follow_again)
        if now >= self._subscriptions.due_at:
            apart(self._subscriptions.look)

    # --- who it is

    def _enter_lobby(self) -> None:
        if not self._parts.lobby.acquire(blocking=False):
            raise self._close(Close.TRY_LATER, "too many sockets have not said who they are")
        self._auth_until = self._parts.clock.monotonic() + self._parts.limits.auth_seconds

    def _leave_lobby(self) -> None:
        if self._auth_until != NEVER:
            self._auth_until = NEVER
            self._parts.lobby.release()

    def _authenticate(self, credential: Credential) -> Principal:
        """Let the client in, or close the socket."""
        try:
            principal = credential.principal(self._parts)
            self._user_id = principal.user_id
            self._parts.presence.begin(self, principal.user_id)
        except Unauthenticated as error:
            raise self._close(Close.BAD_TOKEN, error.detail) from error
        except RateLimited as error:
            raise self._close(Close.RATE_LIMITED, error.detail) from error
        except Unavailable as error:  # closed: who is at a socket must be known
            raise self._close(Close.TRY_LATER, error.detail) from error
        self._principal = principal
        self._leave_lobby()
        return principal

    def _refresh(self, token: str) -> Principal:
        user = self._user()
        principal = self._parts.tokens.verify(token)
        if principal.user_id != user:
            raise Forbidden("the token is another user's: open another socket")
        self._principal = principal
        return principal

    def _user(self) -> str:
        if self._principal is None:
            raise Unauthenticated("authenticate first")
        return self._user_id

    # --- frames

    def _hear(self, received: str | bytes) -> None:
        try:
            frame = read(received, self._parts.settings)
            self._bad_frames = 0
        except BadFrame as bad:
            self._bad_frames = 0 if isinstance(bad, BadFields) else self._bad_frames + 1
            if self._bad_frames > MAX_BAD_FRAMES:
                raise self._close(Close.BAD_FRAMES, "too many frames that cannot be read") from bad
            self._answer(refusal(bad.frame_id, bad))
            return
        try:
            self._do(frame)
        except ChatappError as error:
            self._answer(refusal(frame.id, error))

    def _do(self, frame: Frame) -> None:
        match frame:
            case Ping():
                self._answer(write("pong", frame.id))
            case Auth() if self._principal is None:
                self._answer(_welcome(frame, self._authenticate(Bearer(frame.token))))
            case Auth() | Refresh():
                self._answer(_welcome(frame, self._refresh(frame.token)))
            case Subscribe():
                self._subscribe(frame.id, frame.session_id, frame.resume, frame.log_cursor)
            case Unsubscribe():
                self._user()
                self._subscriptions.end(frame.session_id)
                self._parts.presence.note_end(self, frame.session_id)
                self._answer(write("ack", frame.id))
            case Chat() | Cancel() | Confirm():
                self._command(frame, self._user())

    def _command(self, frame: Chat | Cancel | Confirm, user: str) -> None:
        """Do what the HTTP call of that name does. Waits for DynamoDB and SQS: this socket waits, no other does."""
        commands = self._parts.commands
        match frame:
            case Chat():
                self._chat(frame, user)
            case Cancel():
                turn, _ = commands.cancel(user, frame.job_id)
                self._answer(write("ack", frame.id, status=turn.status))
            case Confirm():
                status = commands.confirm(user, frame.session_id, frame.action_id, by="socket")["status"]
                self._answer(write("ack", frame.id, status=status))

    def _chat(self, frame: Chat, user: str) -> None:
        limiter = self._parts.limiter
        accepted = self._parts.commands.chat(user, frame, allow=lambda: limiter.allow(user), key=frame.idempotency_key)
        job_id = accepted.job_id
        told = {"job_id": str(job_id), "session_id": job_id.session_id, "status": accepted.status, "position": accepted.position}
        self._answer(write("ack", frame.id, **told))
        if accepted.replayed and job_id.session_id in self._subscriptions:
            self._subscriptions.bring(job_id)  # it may have ended before its session was followed
        else:
            self._follow(job_id)

    # --- what it follows

    def _subscribe(
        self, frame_id: FrameId | None, session_id: str, resume: Resume | None, log_after: EventId | None = None
    ) -> None:
        self._subscriptions.begin(session_id, self._user(), resume, frame_id, log_after)
        self._parts.presence.note(self, session_id)

    def _follow(self, job_id: JobId) -> None:
        """Do as if the client had subscribed to a job from its first event; later, if that cannot be done now.

        A session that is followed already brings the job anyway.
        """
        if job_id.session_id in self._subscriptions:
            self._subscriptions.expect(job_id)
            return
        try:
            self._subscribe(None, job_id.session_id, Resume(job_id=str(job_id)))
        except ChatappError as error:
            if not error.retryable:
                log.warning("socket %s cannot follow job %s: %s", self.socket_id, job_id, error)
                return
            log.debug("socket %s cannot follow job %s yet: %s", self.socket_id, job_id, error)
            self._wanted = (*self._wanted, job_id)[-MAX_WANTED:]
            self._follow_at = self._parts.clock.monotonic() + FOLLOW_AGAIN_SECONDS

    def _follow_again(self) -> None:
        wanted, self._wanted, self._follow_at = self._wanted, (), NEVER
        for job_id in wanted:
            self._follow(job_id)


def _welcome(frame: Frame, principal: Principal) -> str:
    expires_at = None if principal.expires_at is None else timestamp(principal.expires_at)
    return write("ack", frame.id, user_id=principal.user_id, expires_at=expires_at)
