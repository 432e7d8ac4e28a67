"""What one socket follows: replay first, then live, each event once and in order. Used by the connection's worker alone."""

import logging
from collections.abc import Callable

from chatapp.errors import ChatappError, NotFound, RateLimited, Unavailable
from chatapp.frames import FrameId, Resume
from chatapp.live.following import Event, Follower
from chatapp.live.replay import Past, Replay, numbers_to_catch_up, numbers_to_replay
from chatapp.model import Session
from chatapp.ports import Clock, Sessions
from ws.frames import write
from ws.hub import Hub, Recipient

log = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS = 100
"""Sessions that one socket may follow."""

RETRY_SECONDS = 1.0
"""Pause before events are read again that could not be."""

NEVER = float("inf")


class Subscriptions:
    """The sessions that one socket follows."""

    def __init__(
        self, socket: Recipient, *, hub: Hub, sessions: Sessions, replay: Replay, clock: Clock, send: Callable[[str], None]
    ) -> None:
        self._socket = socket
        self._hub = hub
        self._sessions = sessions
        self._replay = replay
        self._clock = clock
        self._send = send
        self._followers: dict[str, Follower] = {}
        self._owner = ""
        self._behind: set[str] = set()  # sessions whose logs must be read before anything of them is passed on
        self.retry_at = NEVER
        """When `retry` is due, on the monotonic clock."""

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._followers

    def begin(self, session_id: str, user_id: str, resume: Resume | None, frame_id: FrameId | None) -> None:
        """Follow a session: answer `subscribed`, then what the client missed. Again for a session that is followed already.

        Raises: NotFound, also for another user's; RateLimited; Unavailable. Nothing has changed then.
        """
        known = session_id in self._followers
        if not known and len(self._followers) >= MAX_SUBSCRIPTIONS:
            raise RateLimited(f"a socket follows {MAX_SUBSCRIPTIONS} sessions at most")
        # Attached first and read afterwards: what is published from here on waits in the inbox behind the replay.
        self._hub.attach(session_id, self._socket)
        try:
            follower, pasts = self._open(self._owned(session_id, user_id), resume)
        except ChatappError:
            if not known:
                self._hub.detach(session_id, self._socket)
            raise
        self._followers[session_id], self._owner = follower, user_id
        self._behind.discard(session_id)
        self._send(write("subscribed", frame_id, session_id=session_id, turns=[past.shown for past in pasts]))
        self._pass_on(follower, pasts)

    def end(self, session_id: str) -> None:
        """Follow a session no longer. Harmless when it is not followed."""
        if self._followers.pop(session_id, None) is not None:
            self._behind.discard(session_id)
            self._hub.detach(session_id, self._socket)

    def live(self, event: Event) -> None:
        """Pass on an event that was published, after those before it that did not arrive."""
        session_id = event.job_id.session_id
        follower = self._followers.get(session_id)
        if follower is None or session_id in self._behind:
            return
        if follower.gap_before(event):
            try:
                missed = self._replay.after(event.job_id, follower.cursor(event.job_id.turn))
            except Unavailable as error:
                self._fall_behind(session_id, error)
                return
            for earlier in missed:
                self._deliver(follower, earlier)
        self._deliver(follower, event)

    def catch_up(self, session_id: str) -> None:
        """Events may have been lost: look at every turn that was not done, and at those that began meanwhile."""
        follower = self._followers.get(session_id)
        if follower is None:
            return
        try:
            session = self._owned(session_id, self._owner)
            numbers = numbers_to_catch_up(session, follower.unfinished(), follower.highest)
            pasts = [self._replay.past(session, n, follower.cursor(n)) for n in numbers]
        except Unavailable as error:
            self._fall_behind(session_id, error)
            return
        except NotFound:  # deleted meanwhile
            self.end(session_id)
            return
        self._behind.discard(session_id)
        self._pass_on(follower, pasts)

    def retry(self) -> None:
        """Try again what could not be read."""
        self.retry_at = NEVER
        for session_id in tuple(self._behind):
            self.catch_up(session_id)

    def _owned(self, session_id: str, user_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None or session.user_id != user_id or not session.alive(self._clock.now()):
            raise NotFound("There is no such session")
        return session

    def _open(self, session: Session, resume: Resume | None) -> tuple[Follower, list[Past]]:
        follower, pasts = Follower(session.turn_count), []
        for number in numbers_to_replay(session, resume.job if resume else None):
            cursor = resume.cursor if resume and resume.job.turn == number else None
            past = self._replay.past(session, number, cursor)
            follower.open(number, past.cursor)
            pasts.append(past)
        return follower, pasts

    def _pass_on(self, follower: Follower, pasts: list[Past]) -> None:
        for past in pasts:
            for event in past.events:
                self._deliver(follower, event)
            if past.status.ended:
                follower.close(past.job_id.turn)

    def _deliver(self, follower: Follower, event: Event) -> None:
        if follower.accept(event):
            self._send(event.text)

    def _fall_behind(self, session_id: str, error: Unavailable) -> None:
        log.info("socket %s waits to read the events of session %s: %s", self._socket.socket_id, session_id, error)
        self._behind.add(session_id)
        self.retry_at = self._clock.monotonic() + RETRY_SECONDS
