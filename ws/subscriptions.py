"""What one socket follows: replay first, then live, each event once and in order. Used by the connection's worker alone.

A client that resumes is served from Redis where that suffices: thousands that come back at once cost the table nothing. What
Redis alone cannot tell (a turn whose events never got there) is looked up once all is quiet: silence is checked.
"""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatapp.errors import ChatappError, NotFound, RateLimited, Unavailable
from chatapp.frames import FrameId, Resume
from chatapp.live.following import OWN_LOG, Event, Follower
from chatapp.live.replay import OwnPast, Past, Replay, numbers_to_catch_up, numbers_to_replay
from chatapp.model import EventId, JobId, Session
from chatapp.ports import Clock, Sessions
from ws.frames import write
from ws.hub import Hub, Recipient

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Longest pause before events are read again that could not be."""

SILENCE_SECONDS = 10.0
"""How long an open turn may say nothing before its log and then the table are looked at; each look more waits twice as long."""

LONGEST_SILENCE_SECONDS = 60.0

LATER_SECONDS = (1.0, 5.0)
"""Pause before a look that this process has no room for now (ws/looks.py)."""

SPREAD_SECONDS = 20.0
"""Over which the sockets spread what none of them is in a hurry for, so that thousands do not ask the table at once."""

NEVER = float("inf")


@dataclass(slots=True)
class _Followed:
    """A session that is followed. `behind`: its logs must be read before anything of it is passed on.

    `sure`: the table has told which turns there are; else only Redis has.
    """

    follower: Follower
    sure: bool
    behind: bool = False
    look_at: float = NEVER
    pause: float = SILENCE_SECONDS


class Subscriptions:
    """The sessions that one socket follows, `limit` at most. `may_look` says whether silence can be looked into now."""

    def __init__(
        self,
        socket: Recipient,
        *,
        hub: Hub,
        sessions: Sessions,
        replay: Replay,
        clock: Clock,
        send: Callable[[str], None],
        limit: int,
        may_look: Callable[[], bool] = lambda: True,
    ) -> None:
        self._socket = socket
        self._hub = hub
        self._sessions = sessions
        self._replay = replay
        self._clock = clock
        self._send = send
        self._limit = limit
        self._may_look = may_look
        self._followed: dict[str, _Followed] = {}
        self._user = ""
        self.due_at = NEVER
        """When `look` is due at the earliest, on the monotonic clock."""

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._followed

    def begin(
        self, session_id: str, user_id: str, resume: Resume | None, frame_id: FrameId | None, log_after: EventId | None = None
    ) -> None:
        """Follow a session: answer `subscribed`, then what the client missed. Again for a session that is followed already.

        Raises: NotFound, also for another user's; RateLimited; Unavailable. Nothing has changed then.
        """
        known = session_id in self._followed
        if not known and len(self._followed) >= self._limit:
            raise RateLimited(f"a socket follows {self._limit} sessions at most")
        if not known:  # a try that fails would detach what is attached
            # Attached first and read afterwards: what is published from here on waits in the inbox behind the replay.
            self._hub.attach(session_id, self._socket)
        elif log_after is None:  # then it goes on from where it is
            log_after = self._followed[session_id].follower.cursor(OWN_LOG)
        try:
            followed, pasts = self._open(session_id, user_id, resume)
            own = self._replay.own(session_id, log_after)
        except ChatappError:
            if not known:
                self._hub.detach(session_id, self._socket)
            raise
        self._followed[session_id], self._user = followed, user_id
        self._send(write("subscribed", frame_id, session_id=session_id, turns=[past.shown for past in pasts], log=own.shown))
        self._pass_on(followed, pasts, own)

    def expect(self, job_id: JobId) -> None:
        """Count a turn of a followed session as open, though it has not spoken yet."""
        if followed := self._followed.get(job_id.session_id):
            followed.follower.expect(job_id.turn)
            if not followed.behind:  # else it is looked at sooner
                self._listen(followed)

    def bring(self, job_id: JobId) -> None:
        """Pass on a turn of a followed session from its first event, though it may have ended before the session was followed."""
        followed = self._followed.get(job_id.session_id)
        if followed is not None and job_id.turn not in followed.follower.unfinished():
            followed.follower.open(job_id.turn, None)
            self.catch_up(job_id.session_id)

    def end(self, session_id: str) -> None:
        """Follow a session no longer. Harmless when it is not followed."""
        if self._followed.pop(session_id, None) is not None:
            self._hub.detach(session_id, self._socket)

    def live(self, event: Event) -> None:
        """Pass on an event that was published, after those before it that did not arrive."""
        followed = self._followed.get(event.job_id.session_id)
        if followed is None or followed.behind:
            return
        follower, events = followed.follower, [event]
        if follower.gap_before(event):
            try:
                missed = self._replay.after(event.job_id, follower.cursor(event.job_id.turn))
            except Unavailable as error:
                self._fall_behind(event.job_id.session_id, followed, error)
                return
            # Of a session's own log only what is in it: an event of one that was lost may have been passed on before.
            events = missed if event.job_id.turn == OWN_LOG else [*missed, event]
        head = follower.head
        passed_on = self._deliver(follower, events)
        if passed_on and (event.job_id.turn == head or follower.head != head):
            self._listen(followed)  # nothing else breaks the silence of the turn that should speak

    def catch_up(self, session_id: str) -> None:
        """Events may have been lost: read what was missed of the turns that were not done, and of those that began meanwhile."""
        followed = self._followed.get(session_id)
        if followed is None:
            return
        if not followed.behind and not followed.follower.unfinished():
            followed.sure = False
            self._listen(followed)
            return
        try:
            self._read_missed(session_id, followed)
        except Unavailable as error:
            self._fall_behind(session_id, followed, error)
        except NotFound:
            self._rest(followed)

    def look(self) -> None:
        """Read again what could not be read, and look into silence, where that is due.

        Ends at the first that fails: what is away for one session is away for all, and the client's frames wait meanwhile.
        """
        now = self._clock.monotonic()
        due = sorted((followed.look_at, session_id) for session_id, followed in self._followed.items())
        for look_at, session_id in due:
            if look_at > now:
                break
            if not self._looked_at(session_id, self._followed[session_id]):
                self.due_at = self._clock.monotonic() + RETRY_SECONDS  # those that were not reached come first then
                return
        self.due_at = min((followed.look_at for followed in self._followed.values()), default=NEVER)

    def _looked_at(self, session_id: str, followed: _Followed) -> bool:
        if followed.behind:
            self.catch_up(session_id)
            return not followed.behind
        if not self._may_look():
            self._look_in(followed, random.uniform(*LATER_SECONDS))  # noqa: S311  guards nothing
            return True
        return self._look_into(session_id, followed)

    # --- reading

    def _open(self, session_id: str, user_id: str, resume: Resume | None) -> tuple[_Followed, list[Past]]:
        if resume is not None:
            job = resume.job
            pasts = self._replay.from_logs(session_id, user_id, job.turn, {job.turn: resume.cursor})
            if pasts is not None:
                return _Followed(_follower(pasts[-1].job_id.turn, pasts), sure=False), pasts
        session = self._owned(session_id, user_id)
        pasts = []
        for number in numbers_to_replay(session, resume.job if resume else None):
            cursor = resume.cursor if resume and resume.job.turn == number else None
            pasts.append(self._replay.past(session, number, cursor))
        return _Followed(_follower(session.turn_count, pasts), sure=True), pasts

    def _owned(self, session_id: str, user_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None or session.user_id != user_id or not session.alive(self._clock.now()):
            raise NotFound("There is no such session")
        return session

    def _read_missed(self, session_id: str, followed: _Followed) -> int:
        follower = followed.follower
        unfinished = follower.unfinished()
        cursors = {number: follower.cursor(number) for number in unfinished}
        own = self._replay.own(session_id, follower.cursor(OWN_LOG))
        pasts = self._replay.from_logs(session_id, self._user, unfinished[0], cursors) if unfinished else None
        if pasts is None:
            pasts, followed.sure = self._from_table(session_id, follower), True
        else:
            followed.sure = False
        followed.behind = False
        return self._pass_on(followed, pasts, own)

    def _from_table(self, session_id: str, follower: Follower) -> list[Past]:
        session = self._owned(session_id, self._user)
        numbers = numbers_to_catch_up(session, follower.unfinished(), follower.highest)
        pasts = []
        for number in numbers:
            try:
                pasts.append(self._replay.past(session, number, follower.cursor(number)))
            except NotFound:  # its item is gone, and with it all there was to tell
                follower.close(number)
        return pasts

    def _look_into(self, session_id: str, followed: _Followed) -> bool:
        """Nothing was heard for a while: look at the log of the turn that should speak, then at the table. False if it cannot."""
        follower = followed.follower
        followed.pause = min(followed.pause * 2, LONGEST_SILENCE_SECONDS)
        pause = followed.pause
        try:
            if unfinished := follower.unfinished():
                missed = self._replay.after(JobId(session_id, unfinished[0]), follower.cursor(unfinished[0]))
                if missed and (count := self._read_missed(session_id, followed)):
                    log.info("socket %s was not told %d events of session %s", self._socket.socket_id, count, session_id)
                    return True
            own = self._replay.own(session_id, follower.cursor(OWN_LOG))
            pasts, followed.sure = self._from_table(session_id, follower), True
        except Unavailable as error:
            log.info("socket %s looks at session %s again later: %s", self._socket.socket_id, session_id, error)
            self._listen(followed, pause)
            return False
        except NotFound:
            self._rest(followed)
            return True
        self._pass_on(followed, pasts, own)
        self._listen(followed, pause)
        return True

    # --- passing on

    def _pass_on(self, followed: _Followed, pasts: list[Past], own: OwnPast) -> int:
        follower = followed.follower
        follower.open(OWN_LOG, own.cursor)
        count = self._deliver(follower, own.events)
        for past in pasts:
            follower.expect(past.job_id.turn)
            count += self._deliver(follower, past.events)
            if past.status.ended:
                follower.close(past.job_id.turn)
        self._listen(followed)
        return count

    def _deliver(self, follower: Follower, events: Sequence[Event]) -> int:
        """Send what may be passed on. Returns: how many events that were."""
        passed_on = [event for event in events if follower.accept(event)]
        for event in passed_on:
            self._send(event.text)
        return len(passed_on)

    # --- time

    def _listen(self, followed: _Followed, pause: float = SILENCE_SECONDS) -> None:
        """Say when to look if nothing more is heard: soon while a turn is open, some time if only Redis was asked, else never."""
        followed.pause = pause
        if followed.follower.unfinished():
            self._look_in(followed, pause)
        elif not followed.sure:
            self._look_in(followed, pause + random.uniform(0, SPREAD_SECONDS))  # noqa: S311  guards nothing
        else:
            followed.look_at = NEVER

    def _rest(self, followed: _Followed) -> None:
        """Look no more: the session was deleted. It stays followed, since what still ran will say how it ended."""
        followed.behind, followed.sure, followed.look_at = False, True, NEVER

    def _look_in(self, followed: _Followed, seconds: float) -> None:
        followed.look_at = self._clock.monotonic() + seconds
        self.due_at = min(self.due_at, followed.look_at)

    def _fall_behind(self, session_id: str, followed: _Followed, error: Unavailable) -> None:
        log.info("socket %s waits to read the events of session %s: %s", self._socket.socket_id, session_id, error)
        followed.behind = True
        self._look_in(followed, RETRY_SECONDS * random.uniform(0.5, 1))  # noqa: S311  guards nothing


def _follower(highest: int, pasts: list[Past]) -> Follower:
    follower = Follower(highest)
    for past in pasts:
        follower.open(past.job_id.turn, past.cursor)
    return follower
