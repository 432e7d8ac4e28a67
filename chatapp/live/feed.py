"""One job's events for one reader who only listens: what it missed first, then live, each event once and in order.

The rules are those of the sockets (chatapp/live/following.py, chatapp/live/replay.py). The channel is followed first and the log
read afterwards; what is published meanwhile waits in the inbox behind the replay. An open feed asks DynamoDB nothing, except
when its turn has been silent for a while: an end may have been stored and never published.
"""

import logging
import queue
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from chatapp.errors import LiveUnavailable, NotFound, Unavailable
from chatapp.live.channel import Channel, Following
from chatapp.live.events import channel_of
from chatapp.live.following import Event, Follower
from chatapp.live.replay import Past, Replay
from chatapp.model import EventId, JobId, Principal, Session, Turn
from chatapp.ports import Clock, Sessions

log = logging.getLogger(__name__)

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Pace:
    """When a feed does what nobody asked for. Seconds."""

    heartbeat: float = 15.0
    """Without an event, until the reader is given a heartbeat: that a reader is gone is noticed when it is written to."""

    silence: float = 10.0
    """Without an event of an open turn, until its log and the turn itself are looked at; each look more waits twice as long."""

    longest_silence: float = 60.0

    retry: float = 1.0
    """Until a log is read again that could not be."""

    patience: float = 10.0
    """For a reader to come back for more. Who takes longer over one event is cut off."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What every feed of a process works with."""

    channel: Channel
    replay: Replay
    sessions: Sessions
    clock: Clock
    pace: Pace


class Inbox(queue.Queue[str | None]):
    """What was heard and not passed on yet, and the `size` of it in bytes of memory; None stands for a gap."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.size = 0

    def _put(self, item: str | None) -> None:
        self.size += sys.getsizeof(item)
        super()._put(item)

    def _get(self) -> str | None:
        item: str | None = super()._get()
        self.size -= sys.getsizeof(item)
        return item


class JobFeed:
    """The events of one job behind a cursor. Iterate over it once; close it, whether it was iterated over or not.

    Gives what the log had (`past`), then events, that one's first, and None when a heartbeat is due. It ends with the job, with
    its session, with the caller's token, when the process stops, and when the reader is too slow. `cut` is called, from any
    thread, to free a reader that does not come back for more.
    """

    past: Past

    def __init__(
        self, job_id: JobId, caller: Principal, *, sources: Sources, events: int, size: int, cut: Callable[[], None]
    ) -> None:
        self.job_id = job_id
        self.caller = caller
        self._sources = sources
        self._clock = sources.clock
        self._pace = sources.pace
        self._inbox = Inbox(events)
        self._size = size
        self._cut = cut
        self._follower = Follower(job_id.turn)
        self._following: Following | None = None
        self._stopped = False
        self._busy_since: float | None = None  # with what it was given, the reader is
        self._behind = False  # the log could not be read: nothing is passed on before it was
        self._silence = sources.pace.silence
        self._quiet_since = self._beat_at = self._look_at = 0.0

    def open(self, session: Session, turn: Turn, cursor: EventId | None) -> None:
        """Follow first, read then. Raises: LiveUnavailable, StoreUnavailable."""
        self._following = self._sources.channel.follow(channel_of(self.job_id.session_id), self._hear)
        # The turn was read before: what has happened to it since is in its log, or silence will tell.
        self.past = self._sources.replay.past(session, self.job_id.turn, cursor, read=turn)
        self._follower.open(self.job_id.turn, self.past.cursor)
        self._beat_at = self._clock.monotonic() + self._pace.heartbeat
        self._wait_for(self._pace.silence)

    def close(self) -> None:
        """Follow no longer. Harmless when it is closed already."""
        if self._following is not None:
            self._following.close()

    def __iter__(self) -> Iterator[Past | Event | None]:
        for item in self._items():
            self._busy_since = self._clock.monotonic()
            yield item
            self._busy_since = None
            self._beat_at = self._clock.monotonic() + self._pace.heartbeat

    # --- from other threads

    def stop(self) -> None:
        """End the feed; at once also for a reader that is busy with what it was given."""
        self._stopped = True
        try:
            self._inbox.put_nowait(None)
        except queue.Full:
            log.debug("%s: the reader has enough to wake up for", self.job_id)
        if self._busy_since is not None:
            self._cut()

    def cut_if_stuck(self) -> None:
        """End the feed of a reader that does not come back for more."""
        since = self._busy_since
        if since is not None and self._clock.monotonic() - since > self._pace.patience:
            log.info("%s: the reader is stuck, it may come back with its cursor", self.job_id)
            self.stop()

    def _hear(self, text: str | None) -> None:
        if self._stopped:
            return
        try:
            self._inbox.put_nowait(text)
        except queue.Full:
            full = True
        else:
            full = self._inbox.size > self._size
        if full:
            log.info("%s: the reader is too slow, it may come back with its cursor", self.job_id)
            self.stop()

    # --- the reader

    def _items(self) -> Iterator[Past | Event | None]:
        yield self.past
        yield from self._pass_on(self.past)
        while not self._over():
            now = self._clock.monotonic()
            if now >= self._beat_at:
                yield None
            elif now >= self._look_at:
                yield from self._look()
            else:
                yield from self._take(min(self._beat_at - now, self._look_at - now, self._token_seconds()))

    def _over(self) -> bool:
        return self._stopped or not self._follower.unfinished() or self._token_seconds() <= 0

    def _token_seconds(self) -> float:
        return NEVER if self.caller.expires_at is None else (self.caller.expires_at - self._clock.now()) / 1000

    def _take(self, seconds: float) -> Iterator[Event]:
        try:
            text = self._inbox.get(timeout=max(seconds, 0))
        except queue.Empty:
            return
        if self._stopped or self._behind:  # then the log is read before anything else
            return
        if text is None:
            yield from self._read_on()
        else:
            yield from self._live(text)

    def _live(self, text: str) -> Iterator[Event]:
        try:
            event = Event.decode(text)
        except ValueError:
            return  # the session's own log has the same channel
        if event.job_id != self.job_id:
            return
        if self._follower.gap_before(event):
            yield from self._read_on()
            if self._behind:
                return
        yield from self._deliver([event])

    def _deliver(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            if self._follower.accept(event):
                self._wait_for(self._pace.silence)
                yield event

    def _pass_on(self, past: Past) -> Iterator[Event]:
        yield from self._deliver(past.events)
        if past.status.ended:
            self._follower.close(self.job_id.turn)

    def _read_on(self) -> Iterator[Event]:
        """Read the log from the cursor; if it cannot be read, try again soon."""
        try:
            missed = self._sources.replay.after(self.job_id, self._cursor)
        except LiveUnavailable as error:
            log.info("the events of %s wait: %s", self.job_id, error)
            self._behind, self._look_at = True, self._clock.monotonic() + self._pace.retry
            return
        self._behind, self._look_at = False, self._quiet_since + self._silence
        yield from self._deliver(missed)

    def _look(self) -> Iterator[Event]:
        """Nothing was heard for a while, or the log could not be read: read it; if it is as silent, ask the turn."""
        yield from self._read_on()
        if self._behind or self._clock.monotonic() < self._look_at:
            return
        self._wait_for(min(2 * self._silence, self._pace.longest_silence))
        try:
            past = self._ask()
        except Unavailable as error:
            log.info("%s is silent and cannot be looked at: %s", self.job_id, error)
            return
        except NotFound:  # deleted meanwhile
            self._stopped = True
            return
        yield from self._pass_on(past)

    def _wait_for(self, silence: float) -> None:
        self._silence, self._quiet_since = silence, self._clock.monotonic()
        self._look_at = self._quiet_since + silence

    def _ask(self) -> Past:
        session = self._sources.sessions.get(self.job_id.session_id)
        if session is None or session.deleted_at is not None:
            raise NotFound
        return self._sources.replay.past(session, self.job_id.turn, self._cursor)

    @property
    def _cursor(self) -> EventId | None:
        return self._follower.cursor(self.job_id.turn)
