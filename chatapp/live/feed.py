"""One job's events for one reader who only listens: what it missed first, then live, each event once and in order.

The rules are those of the sockets (chatapp/live/following.py, chatapp/live/replay.py). The channel is followed first and the log
read afterwards; what is published meanwhile waits in the inbox behind the replay. An open feed asks DynamoDB nothing, except
when its turn has been silent for a while: an end may have been stored and never published.
"""

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from chatapp.errors import LiveUnavailable, NotFound, RateLimited, Unavailable
from chatapp.live.channel import Channel, Following
from chatapp.live.events import channel_of
from chatapp.live.following import Event, Follower
from chatapp.live.replay import Past, Replay
from chatapp.model import EventId, JobId, Principal, Session
from chatapp.ports import Clock, Sessions

log = logging.getLogger(__name__)

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Pace:
    """When a feed does what nobody asked for. Seconds."""

    heartbeat: float = 15.0
    """Without an event, until the reader is given a heartbeat: a connection that is gone is noticed when it is written to."""

    silence: float = 10.0
    """Without an event of an open turn, until its log and the turn itself are looked at."""

    retry: float = 1.0
    """Until a log is read again that could not be."""


@dataclass(frozen=True, slots=True)
class Room:
    """What one process holds at most: feeds in all and of one user; events and bytes that wait for one reader."""

    feeds: int = 4_000
    feeds_of_a_user: int = 100
    events: int = 1_000
    size: int = 1_048_576


class _Inbox(queue.Queue[str | None]):
    """What was heard and not passed on yet; None stands for a gap."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.size = 0

    def _put(self, item: str | None) -> None:
        self.size += len(item or "")
        super()._put(item)

    def _get(self) -> str | None:
        item: str | None = super()._get()
        self.size -= len(item or "")
        return item


class JobFeed:
    """The events of one job behind a cursor. Iterate over it once; close it, whether it was iterated over or not.

    Gives events, and None when a heartbeat is due. It ends with the job, with its session, with the caller's token, when the
    process stops, and when the reader is too slow; but for the first, the reader comes back with its cursor.
    """

    past: Past
    """What the log held when the feed was opened."""

    def __init__(self, feeds: "Feeds", job_id: JobId, caller: Principal, cut: Callable[[], None]) -> None:
        self.job_id = job_id
        self.caller = caller
        self._feeds = feeds
        self._cut = cut
        self._clock = feeds.clock
        self._inbox = _Inbox(feeds.room.events)
        self._follower = Follower(job_id.turn)
        self._following: Following | None = None
        self._stopped = False
        self._handed_over: float | None = None  # when the reader took what it is busy with
        self._behind = False  # the log could not be read: nothing is passed on before it was
        self._heard_at = self._beat_at = self._look_at = 0.0

    def open(self, session: Session, cursor: EventId | None) -> None:
        """Follow first, read then. Raises: NotFound, LiveUnavailable, StoreUnavailable."""
        self._following = self._feeds.channel.follow(channel_of(self.job_id.session_id), self._hear)
        self.past = self._feeds.replay.past(session, self.job_id.turn, cursor)
        self._follower.open(self.job_id.turn, self.past.cursor)
        now = self._clock.monotonic()
        self._heard_at, self._beat_at, self._look_at = now, now + self._feeds.pace.heartbeat, now + self._feeds.pace.silence

    def close(self) -> None:
        """Follow no longer. Harmless when it is closed already."""
        if self._following is not None:
            self._following.close()
        self._feeds.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event | None]:
        for item in self._items():
            self._handed_over = self._clock.monotonic()
            yield item
            self._handed_over = None
            self._beat_at = self._clock.monotonic() + self._feeds.pace.heartbeat

    # --- from other threads

    def stop(self) -> None:
        """End the feed; at once also for a reader that is busy with what it was given."""
        self._stopped = True
        try:
            self._inbox.put_nowait(None)
        except queue.Full:
            log.debug("%s: the reader has enough to wake up for", self.job_id)
        if self._handed_over is not None:
            self._cut()

    def stuck_since(self, then: float) -> bool:
        """Say whether the reader is busy with one event since before `then`, on the monotonic clock."""
        return self._handed_over is not None and self._handed_over < then

    def _hear(self, text: str | None) -> None:
        if self._stopped:
            return
        try:
            self._inbox.put_nowait(text)
        except queue.Full:
            full = True
        else:
            full = self._inbox.size > self._feeds.room.size
        if full:
            log.info("%s: the reader is too slow, it may come back with its cursor", self.job_id)
            self.stop()

    # --- the reader

    def _items(self) -> Iterator[Event | None]:
        yield from self._pass_on(self.past)
        while not self._over():
            now = self._clock.monotonic()
            if now >= self._beat_at:
                yield None
            elif now >= self._look_at:
                yield from self._look()
            else:
                yield from self._take(min(self._beat_at, self._look_at, now + self._token_seconds()) - now)

    def _over(self) -> bool:
        return self._stopped or not self._follower.unfinished() or self._token_seconds() <= 0

    def _token_seconds(self) -> float:
        return NEVER if self.caller.expires_at is None else (self.caller.expires_at - self._clock.now()) / 1000

    def _take(self, seconds: float) -> Iterator[Event]:
        try:
            text = self._inbox.get(timeout=max(seconds, 0))
        except queue.Empty:
            return
        if self._stopped or self._behind:
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
                self._heard_at = self._clock.monotonic()
                self._look_at = self._heard_at + self._feeds.pace.silence
                yield event

    def _pass_on(self, past: Past) -> Iterator[Event]:
        yield from self._deliver(past.events)
        if past.status.ended:
            self._follower.close(self.job_id.turn)

    def _read_on(self) -> Iterator[Event]:
        """Read the log from the cursor; if it cannot be read, try again soon."""
        now = self._clock.monotonic()
        try:
            missed = self._feeds.replay.after(self.job_id, self._cursor)
        except LiveUnavailable as error:
            log.info("the events of %s wait: %s", self.job_id, error)
            self._behind, self._look_at = True, now + self._feeds.pace.retry
            return
        self._behind, self._look_at = False, self._heard_at + self._feeds.pace.silence
        yield from self._deliver(missed)

    def _look(self) -> Iterator[Event]:
        """Nothing was heard for a while, or the log could not be read: read it, and if that says nothing ask the turn."""
        yield from self._read_on()
        now = self._clock.monotonic()
        if self._behind or now < self._look_at:
            return
        self._look_at = now + self._feeds.pace.silence
        try:
            past = self._ask()
        except Unavailable as error:
            log.info("%s is silent and cannot be looked at: %s", self.job_id, error)
            return
        except NotFound:  # deleted meanwhile
            self._stopped = True
            return
        yield from self._pass_on(past)

    def _ask(self) -> Past:
        session = self._feeds.sessions.get(self.job_id.session_id)
        if session is None or session.deleted_at is not None:
            raise NotFound
        return self._feeds.replay.past(session, self.job_id.turn, self._cursor)

    @property
    def _cursor(self) -> EventId | None:
        return self._follower.cursor(self.job_id.turn)


class Feeds:
    """Opens the feeds of one process, counts them, and ends them when it stops."""

    def __init__(
        self, *, channel: Channel, replay: Replay, sessions: Sessions, clock: Clock, pace: Pace = Pace(), room: Room = Room()
    ) -> None:
        self.channel = channel
        self.replay = replay
        self.sessions = sessions
        self.clock = clock
        self.pace = pace
        self.room = room
        self._lock = threading.Lock()
        self._open: set[JobFeed] = set()
        self._of_user: Counter[str] = Counter()
        self._released = False

    def open(
        self, session: Session, job_id: JobId, cursor: EventId | None, *, caller: Principal, cut: Callable[[], None]
    ) -> JobFeed:
        """Open a feed behind `cursor` (None: from the first event) on a turn of the caller's own session.

        `cut` is called, from any thread, to free a reader that does not come back for more; it must not wait.

        Raises: RateLimited, LiveUnavailable (also when the process has no room), StoreUnavailable, NotFound.
        """
        feed = JobFeed(self, job_id, caller, cut)
        self._admit(feed)
        try:
            feed.open(session, cursor)
        except BaseException:
            feed.close()
            raise
        if self._released:
            feed.stop()
        return feed

    def release(self) -> None:
        """End every feed now, and give later ones no more than their past: the process stops."""
        self._released = True
        for feed in self._all():
            feed.stop()

    def forget(self, feed: JobFeed) -> None:
        """Give a feed's place to another."""
        with self._lock:
            if feed in self._open:
                self._open.remove(feed)
                self._of_user[feed.caller.user_id] -= 1
                self._of_user += Counter()  # drops who has none

    def _admit(self, feed: JobFeed) -> None:
        user_id = feed.caller.user_id
        with self._lock:
            if self._of_user[user_id] >= self.room.feeds_of_a_user:
                raise RateLimited(f"a user may have {self.room.feeds_of_a_user} streams open here", retry_after=self.pace.retry)
            if len(self._open) >= self.room.feeds:
                raise LiveUnavailable("too many streams are open here", retry_after=self.pace.retry)
            self._open.add(feed)
            self._of_user[user_id] += 1

    def _all(self) -> list[JobFeed]:
        with self._lock:
            return list(self._open)
