"""The sockets of this process in the registry: one thread writes for all of them, as much as has come together at a time.

So a thousand clients that come back at once are a few round trips over one connection, and who is alone still pays for one and
waits for nothing else. The same thread shows that the process lives, clears away what others left behind, and writes all
entries again when Redis may have forgotten them.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from chatapp.errors import LiveUnavailable, RateLimited, Unavailable
from chatapp.live.sockets import PROCESS_SECONDS, SocketAuth, SocketRegistry
from chatapp.ports import Clock

log = logging.getLogger(__name__)

BEAT_SECONDS = PROCESS_SECONDS / 3
RETRY_SECONDS = 1.0
"""Pause after Redis failed."""

BATCH = 500
"""Entries in one round trip."""

WAIT_SECONDS = 3.0
"""Longest wait of a socket for its entry to be written or erased. Redis' own time-outs are shorter."""


@dataclass(slots=True, eq=False)
class _Errand:
    """One entry to be written, or erased, and the word for who waits for that."""

    entry: SocketAuth
    done: threading.Event = field(default_factory=threading.Event)
    refused: bool = False
    failure: Unavailable | None = None


class Registrar:
    """Keeps the registry of what is connected to this process. From any thread."""

    def __init__(self, registry: SocketRegistry, clock: Clock, process: str, limit: int) -> None:
        self._registry = registry
        self._clock = clock
        self._process = process
        self._limit = limit
        self._entries: dict[str, SocketAuth] = {}
        self._lock = threading.Lock()  # guards all below
        self._arrivals: list[_Errand] = []
        self._departures: list[_Errand] = []
        self._sessions: dict[str, str | None] = {}
        self._forgotten = False
        self._work = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat_at = 0.0
        self._rewrite_at = 0.0

    def admit(self, socket_id: str, user_id: str) -> None:
        """Write a socket's entry.

        Raises: RateLimited when the user has too many sockets; LiveUnavailable: nobody is let in who cannot be reached.
        """
        now = self._clock.now()
        errand = _Errand(SocketAuth(socket_id, user_id, self._process, connected_at=now, last_activity=now))
        self._ask(self._arrivals, errand)
        if errand.failure is not None:
            raise errand.failure
        if errand.refused:
            raise RateLimited(f"you have {self._limit} sockets open already")

    def dismiss(self, socket_id: str) -> None:
        """Take a socket's entry away. Without Redis that is made up for later."""
        with self._lock:
            entry = self._entries.pop(socket_id, None)
            self._sessions.pop(socket_id, None)
        if entry is not None:
            self._ask(self._departures, _Errand(entry))

    def note(self, socket_id: str, session_id: str) -> None:
        """Note which session a socket followed last, soon: nobody waits for it."""
        self._note_now(socket_id, lambda _: session_id)

    def note_end(self, socket_id: str, session_id: str) -> None:
        """Note that a socket does not follow a session any more, if that is the one that was noted."""
        self._note_now(socket_id, lambda noted: None if noted == session_id else noted)

    def _note_now(self, socket_id: str, change: Callable[[str | None], str | None]) -> None:
        with self._lock:
            entry = self._entries.get(socket_id)
            if entry is None or (session_id := change(entry.session_id)) == entry.session_id:
                return
            self._entries[socket_id] = replace(entry, session_id=session_id)
            self._sessions[socket_id] = session_id
        self._work.set()

    def restore(self) -> None:
        """Redis was away and may have forgotten everything: write it again."""
        self._forgotten = True
        self._beat_at = 0.0
        self._work.set()

    def _ask(self, errands: list[_Errand], errand: _Errand) -> None:
        with self._lock:
            errands.append(errand)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)
                self._thread.start()
        self._work.set()
        errand.done.wait(WAIT_SECONDS)
        with self._lock:
            if not errand.done.is_set():
                errand.failure = LiveUnavailable("the registry of sockets is not available", retry_after=1)

    # --- the thread

    def _run(self) -> None:
        while True:
            self._work.wait(max(self._beat_at - self._clock.monotonic(), 0.0))
            self._work.clear()
            try:
                self._turn()
            except Unavailable as error:
                log.info("entries of sockets wait to be written: %s", error.__cause__ or error)
                self._fail(error)
                time.sleep(RETRY_SECONDS)
                self._work.set()
            except Exception:  # every socket of the process hangs on this thread
                log.exception("the registrar failed")
                self._fail(LiveUnavailable("the registry of sockets failed", retry_after=1))
                time.sleep(RETRY_SECONDS)

    def _turn(self) -> None:
        """Do what there is to do."""
        now = self._clock.monotonic()
        if now >= self._beat_at:
            self._beat()
        self._serve()
        if self._forgotten or now >= self._rewrite_at:
            self._rewrite()

    def _serve(self) -> None:
        self._erase()
        self._write()
        self._note()

    def _beat(self) -> None:
        known = self._registry.beat(self._process)
        self._forgotten = self._forgotten or not known
        self._beat_at = self._clock.monotonic() + BEAT_SECONDS
        if cleared := self._registry.clean_up():
            log.info("cleared away %d sockets of processes that are gone", cleared)

    def _rewrite(self) -> None:
        self._forgotten = False
        try:
            with self._lock:
                ids = list(self._entries)
            for start in range(0, len(ids), BATCH):
                now = self._clock.now()
                with self._lock:
                    entries = [
                        replace(self._entries[i], last_activity=now) for i in ids[start : start + BATCH] if i in self._entries
                    ]
                self._registry.write(entries)
                self._serve()  # nobody waits for the rest of this
        except Unavailable:
            self._forgotten = True
            raise
        self._rewrite_at = self._clock.monotonic() + self._registry.ttl / 3

    def _erase(self) -> None:
        while batch := self._departures[:BATCH]:
            self._registry.erase([errand.entry for errand in batch])
            self._settle(self._departures, batch)

    def _write(self) -> None:
        while batch := self._arrivals[:BATCH]:
            refused = self._registry.write([errand.entry for errand in batch], self._limit)
            with self._lock:
                for errand in batch:
                    errand.refused = errand.entry in refused
                    if errand.failure is not None:  # it came too late: nobody waits for it any more
                        self._departures.append(_Errand(errand.entry))
                        self._work.set()
                    elif not errand.refused:
                        self._entries[errand.entry.socket_id] = errand.entry
                    errand.done.set()
            self._settle(self._arrivals, batch)

    def _note(self) -> None:
        with self._lock:
            sessions, self._sessions = self._sessions, {}
        if not sessions:
            return
        try:
            self._registry.note_sessions(sessions)
        except Unavailable:
            with self._lock:
                self._sessions = {**sessions, **self._sessions}
            raise

    def _settle(self, errands: list[_Errand], done: list[_Errand]) -> None:
        with self._lock:
            del errands[: len(done)]
        for errand in done:
            errand.done.set()

    def _fail(self, error: Unavailable) -> None:
        """Tell all who wait. What was to be erased still is: as long as this process lives, its entries count."""
        with self._lock:
            arrivals, self._arrivals[:] = list(self._arrivals), []
            waiting = [*arrivals, *self._departures]
        for errand in arrivals:
            errand.failure = error
        for errand in waiting:
            errand.done.set()
