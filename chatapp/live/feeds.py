"""The feeds of one process: how many there may be, and what ends them when it stops or when their readers are stuck."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chatapp.errors import LiveUnavailable, RateLimited
from chatapp.live.feed import JobFeed, Sources
from chatapp.model import EventId, Principal, Session, Turn


@dataclass(frozen=True, slots=True)
class Room:
    """What one process holds at most: feeds, those of one user, and what waits for one reader in events and bytes."""

    feeds: int = 4_000
    feeds_of_a_user: int = 100
    events: int = 1_000
    size: int = 1_048_576


class Feeds:
    """Opens feeds."""

    def __init__(self, sources: Sources, room: Room) -> None:
        self._sources = sources
        self._room = room
        self._lock = threading.Lock()
        self._open: set[JobFeed] = set()
        self._of_user: Counter[str] = Counter()
        self._released = False
        self._watching = False

    def open(
        self, session: Session, turn: Turn, cursor: EventId | None, *, caller: Principal, cut: Callable[[], None]
    ) -> JobFeed:
        """Open a feed behind `cursor` (None: from the first event) on a turn of the caller's own; `close` it.

        `session` and `turn` are as they were read just now: no other request to DynamoDB is made.

        `cut` frees a reader that does not come back for more (JobFeed); it must not wait.

        Raises: RateLimited, LiveUnavailable (also when there is no room), StoreUnavailable.
        """
        room = self._room
        feed = JobFeed(turn.job_id, caller, sources=self._sources, events=room.events, size=room.size, cut=cut)
        self._admit(feed)
        with self._unless_opened(feed):
            feed.open(session, turn, cursor)
        if self._released:
            feed.stop()
        return feed

    def close(self, feed: JobFeed) -> None:
        """Close a feed, and give its place to another. Harmless when it is closed already."""
        feed.close()
        with self._lock:
            if feed in self._open:
                self._open.remove(feed)
                self._of_user[feed.caller.user_id] -= 1
                self._of_user += Counter()  # forgets who has none

    def release(self) -> None:
        """End every feed now, and give later ones no more than their past: the process stops."""
        self._released = True
        with self._lock:
            feeds = tuple(self._open)
        for feed in feeds:
            feed.stop()

    @contextmanager
    def _unless_opened(self, feed: JobFeed) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close(feed)
            raise

    def _admit(self, feed: JobFeed) -> None:
        user_id, room, soon = feed.caller.user_id, self._room, self._sources.pace.retry
        with self._lock:
            if self._of_user[user_id] >= room.feeds_of_a_user:
                raise RateLimited(f"a user may have {room.feeds_of_a_user} streams open here", retry_after=soon)
            if len(self._open) >= room.feeds:
                raise LiveUnavailable("too many streams are open here", retry_after=soon)
            self._open.add(feed)
            self._of_user[user_id] += 1
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="feeds", daemon=True).start()

    def _watch(self) -> None:
        """Free who waits for readers that read no more, as long as there are feeds: nothing else ends a write to them."""
        while True:
            time.sleep(self._sources.pace.patience / 4)
            with self._lock:
                feeds = tuple(self._open)
                self._watching = bool(feeds)
            if not feeds:
                return
            for feed in feeds:
                feed.cut_if_stuck()
