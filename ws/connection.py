"""One socket: what its client asks and what is pushed to it, done one after the other by one worker.

The worker is the thread that took the handshake. simple-websocket's thread only parses frames and puts them into the inbox;
the hub puts notices there; the worker alone sends, and alone touches what the socket follows. So there is no lock, the
replay of a log comes before the live events that were published meanwhile because they wait in the inbox behind it, and a
client that does not read stops nobody but itself: its inbox fills up and it is closed.
"""

import logging
import queue
import secrets
from dataclasses import dataclass
from typing import Any, Protocol

from simple_websocket import ConnectionClosed
from wsproto.utilities import LocalProtocolError

from chatapp.auth import Tokens
from chatapp.commands import Commands
from chatapp.errors import ChatappError, Forbidden, Unauthenticated, Unavailable
from chatapp.flows.submit import Accepted
from chatapp.frames import Auth, Cancel, Chat, Confirm, Frame, FrameId, Ping, Refresh, Resume, Subscribe, Unsubscribe
from chatapp.live.ratelimit import RateLimiter
from chatapp.live.replay import Replay
from chatapp.live.sockets import SocketRegistry
from chatapp.live.tickets import Tickets
from chatapp.model import EventId, Principal, timestamp
from chatapp.ports import Clock, Sessions
from config.settings import Settings
from ws.audience import Audience
from ws.frames import BadFrame, read, refused, write
from ws.hub import Hub
from ws.notices import Follow, Gap, Live, Notice, Push, Register
from ws.presence import Presence
from ws.protocol import Close
from ws.subscriptions import Subscriptions
from ws.wire import hang_up

log = logging.getLogger(__name__)

MAX_BAD_FRAMES = 10
"""Frames in a row that could not be read, before the socket is closed."""

MAX_IDLE_SECONDS = 3_600.0
"""Longest sleep of a worker that has nothing to wait for."""

GONE = 0
"""Stands for a close code when the client has gone: there is nobody left to tell."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a socket may do. Seconds, bytes, frames."""

    auth_seconds: float
    ping_seconds: float
    max_payload: int
    inbox: int
    subscriptions: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What every connection of this process works with."""

    hub: Hub
    audience: Audience
    registry: SocketRegistry
    tokens: Tokens
    tickets: Tickets
    sessions: Sessions
    replay: Replay
    commands: Commands
    limiter: RateLimiter
    clock: Clock
    limits: Limits
    settings: Settings


class Credential(Protocol):
    """What a client shows to be let in."""

    def principal(self, parts: Parts) -> Principal:
        """Say whose it is. Raises: Unauthenticated, Unavailable."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Bearer:
    """A token, from the header Authorization or from the frame `auth`."""

    token: str

    def principal(self, parts: Parts) -> Principal:
        """Verify it."""
        return parts.tokens.verify(self.token)


@dataclass(frozen=True, slots=True, repr=False)
class Ticket:
    """A one-time ticket, from the address: browsers can send no header."""

    ticket: str

    def principal(self, parts: Parts) -> Principal:
        """Use it up."""
        return parts.tickets.redeem(self.ticket)


class _Closed(Exception):
    """The socket is to be closed, or is."""


class Connection:
    """A client's socket, from the handshake to the close."""

    def __init__(self, ws: Any, parts: Parts) -> None:
        self.socket_id = secrets.token_hex(16)
        self._ws = ws
        self._parts = parts
        self._inbox: queue.Queue[Frame | BadFrame | Notice | None] = queue.Queue(parts.limits.inbox)
        self._closing: Close | int | None = None
        self._reason = ""
        self._principal: Principal | None = None
        self._presence = Presence(self, hub=parts.hub, audience=parts.audience, registry=parts.registry, clock=parts.clock)
        self._subscriptions = Subscriptions(
            self,
            hub=parts.hub,
            sessions=parts.sessions,
            replay=parts.replay,
            clock=parts.clock,
            send=self._send,
            limit=parts.limits.subscriptions,
        )
        self._bad_frames = 0
        started = parts.clock.monotonic()
        self._auth_until: float | None = started + parts.limits.auth_seconds

    def run(self, credential: Credential | None) -> None:
        """Serve the socket until it is closed. `credential` is what the handshake brought, if anything."""
        self._ws.event.on_set = self._heard
        self._ws.sock.on_close = self._lost
        self._heard()  # what came before
        try:
            self._work(credential)
        finally:
            hang_up(self._ws, self._closing or None, self._reason)
            self._presence.end()

    # --- from other threads

    def _heard(self) -> None:
        """Take what simple-websocket's thread has received."""
        received = self._ws.input_buffer
        while received:
            self._offer(_read(received.pop(0), self._parts.settings))

    def _lost(self) -> None:
        """simple-websocket's thread is done: the client has closed or is gone, and has been answered."""
        if self._closing is None:
            self._stop(GONE)

    def offer(self, item: Notice) -> None:
        """Take a notice from the hub."""
        self._offer(item)

    def dismiss(self, code: Close, reason: str) -> None:
        """Have the socket closed; also before it is served. From any thread."""
        self._stop(code, reason)

    def _offer(self, item: Frame | BadFrame | Notice) -> None:
        if self._closing is not None:
            return
        try:
            self._inbox.put_nowait(item)
        except queue.Full:
            self._stop(Close.SLOW_CONSUMER, "reads too slowly, or asks too fast")

    def _stop(self, code: Close | int, reason: str = "") -> None:
        """Have the worker close the socket once the frame that it may be sending is out. From any thread."""
        if self._closing is None:
            self._reason = reason
            self._closing = code
        if code == GONE:
            self._ws.sock.finish()  # the worker may be waiting for room to send
        self._drop_inbox()
        self._wake()

    def _drop_inbox(self) -> None:
        try:
            while True:
                self._inbox.get_nowait()
        except queue.Empty:
            return

    def _wake(self) -> None:
        try:
            self._inbox.put_nowait(None)
        except queue.Full:
            return  # then the worker is not waiting

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
            self._authenticate(credential)
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
        try:
            item = self._inbox.get(timeout=self._idle_seconds())
        except queue.Empty:
            return
        match item:
            case Live():
                self._subscriptions.live(item.event)
            case Gap():
                self._subscriptions.catch_up(item.session_id)
            case Follow():
                self._follow(item)
            case Push():
                self._send(item.text)
            case Register():
                self._presence.refresh()
            case BadFrame():
                self._refuse_bad(item)
            case None:
                return
            case _:
                self._bad_frames = 0
                self._answer(item)

    def _send(self, text: str) -> None:
        if self._closing is not None:
            raise _Closed
        self._ws.send(text)

    def _close(self, code: Close, reason: str) -> _Closed:
        self._stop(code, reason)
        return _Closed()

    # --- time

    def _idle_seconds(self) -> float:
        now = self._parts.clock.monotonic()
        until = min(self._auth_until or float("inf"), self._presence.refresh_at, self._subscriptions.due_at) - now
        if self._principal is not None and self._principal.expires_at is not None:
            until = min(until, (self._principal.expires_at - self._parts.clock.now()) / 1000)
        return max(min(until, MAX_IDLE_SECONDS), 0.0)

    def _check_times(self) -> None:
        clock = self._parts.clock
        now = clock.monotonic()
        if self._auth_until is not None and now >= self._auth_until:
            raise self._close(Close.AUTH_TIMEOUT, "not authenticated in time")
        expires_at = self._principal.expires_at if self._principal else None
        if expires_at is not None and clock.now() >= expires_at:
            raise self._close(Close.TOKEN_EXPIRED, "the token has expired")
        if now >= self._presence.refresh_at:
            self._presence.refresh()
        if now >= self._subscriptions.due_at:
            self._subscriptions.look()

    # --- who it is

    def _authenticate(self, credential: Credential) -> Principal:
        """Let the client in, or close the socket."""
        try:
            principal = credential.principal(self._parts)
            self._presence.begin(principal.user_id)
        except Unauthenticated as error:
            raise self._close(Close.BAD_TOKEN, error.detail) from error
        except Unavailable as error:  # closed: who is at a socket must be known
            raise self._close(Close.TRY_LATER, error.detail) from error
        self._principal, self._auth_until = principal, None
        return principal

    # --- frames

    def _refuse_bad(self, bad: BadFrame) -> None:
        self._bad_frames += 1
        if self._bad_frames > MAX_BAD_FRAMES:
            raise self._close(Close.BAD_FRAMES, "too many frames that cannot be read")
        self._send(refused(bad.frame_id, bad.code, bad.detail))

    def _answer(self, frame: Frame) -> None:
        try:
            answer = self._do(frame)
        except ChatappError as error:
            answer = refused(frame.id, error.code, error.detail, retryable=error.retryable)
        if answer is not None:
            self._send(answer)

    def _do(self, frame: Frame) -> str | None:
        match frame:
            case Ping():
                return write("pong", frame.id)
            case Auth() if self._principal is None:
                return _welcome(frame, self._authenticate(Bearer(frame.token)))
            case Auth() | Refresh():
                return _welcome(frame, self._refresh(frame.token))
            case Subscribe():
                self._subscribe(frame.id, frame.session_id, frame.resume, frame.log_cursor)
                return None
            case Chat() | Cancel() | Confirm():
                return self._command(frame, self._user())
            case Unsubscribe():
                self._user()
                self._subscriptions.end(frame.session_id)
                self._presence.note_end(frame.session_id)
                return write("ack", frame.id)

    def _command(self, frame: Chat | Cancel | Confirm, user: str) -> str | None:
        """Do what the HTTP call of that name does."""
        commands = self._parts.commands
        match frame:
            case Chat():
                limiter, key = self._parts.limiter, frame.idempotency_key
                self._accepted(frame, commands.chat(user, frame, allow=lambda: limiter.allow(user), key=key))
                return None
            case Cancel():
                turn, _ = commands.cancel(user, frame.job_id)
                return write("ack", frame.id, status=turn.status)
            case Confirm():
                return write("ack", frame.id, status=commands.confirm(user, frame.session_id, frame.action_id))

    def _accepted(self, frame: Chat, accepted: Accepted) -> None:
        job_id = accepted.job_id
        told = {"job_id": str(job_id), "session_id": job_id.session_id, "status": accepted.status, "position": accepted.position}
        self._send(write("ack", frame.id, **told))
        self._follow(Follow(job_id))

    def _user(self) -> str:
        if self._principal is None:
            raise Unauthenticated("authenticate first")
        return self._principal.user_id

    def _subscribe(
        self, frame_id: FrameId | None, session_id: str, resume: Resume | None, log_after: EventId | None = None
    ) -> None:
        self._subscriptions.begin(session_id, self._user(), resume, frame_id, log_after)
        self._presence.note(session_id)

    def _follow(self, order: Follow) -> None:
        """Do what the API asks: as if the client had subscribed. A session that is followed already brings the job anyway."""
        session_id = order.job_id.session_id
        if session_id in self._subscriptions:
            self._subscriptions.expect(order.job_id)
            return
        try:
            self._subscribe(None, session_id, Resume(job_id=str(order.job_id)))
        except ChatappError as error:
            log.warning("socket %s cannot follow job %s: %s", self.socket_id, order.job_id, error)

    def _refresh(self, token: str) -> Principal:
        user = self._user()
        principal = self._parts.tokens.verify(token)
        if principal.user_id != user:
            raise Forbidden("the token is another user's: open another socket")
        self._principal = principal
        return principal


def _read(data: str | bytes | None, settings: Settings) -> Frame | BadFrame:
    try:
        return read(data or "", settings)
    except BadFrame as bad:
        return bad


def _welcome(frame: Frame, principal: Principal) -> str:
    expires_at = None if principal.expires_at is None else timestamp(principal.expires_at)
    return write("ack", frame.id, user_id=principal.user_id, expires_at=expires_at)
