"""Hop 7 of 8: every event of a turn goes to its log (a Redis Stream) and to the session's channel, in one Lua call.

The log is what a client resumes from; the channel is only the fast way to the sockets. One flusher per process sends
what all turns have to say in one pipeline per tick, so Redis calls are bounded by time and not by tokens.
"""

import logging
import threading
from collections.abc import Sequence
from importlib.resources import files
from time import monotonic, sleep
from typing import Any, cast

from redis import Redis
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from chatapp.errors import LogLost, StaleAttempt
from chatapp.live.cache import context_key
from chatapp.live.following import OWN_LOG
from chatapp.model import EventId, JobId, Turn
from chatapp.payloads import DELTA, MAX_EVENT_TEXT, OPENING, SNAPSHOT, encode, event, terminal_event, text_so_far
from chatapp.ports import Clock

log = logging.getLogger(__name__)

TICK_SECONDS = 0.04
"""The longest that a delta waits for company. The first one of a turn does not wait."""

RUNNING_LIFE_SECONDS = 3_600
ENDED_LIFE_SECONDS = 600
NOBODY = ""
"""The owner of a deleted session: a late end that is published all the same does not make it anybody's again (append.lua)."""

AWAY_SECONDS = 0.25
"""Pause between tries while Redis is away."""

GIVE_UP_SECONDS = 60
"""How long the events of an ended turn are kept for a Redis that is away."""

_APPEND = files("chatapp.live").joinpath("append.lua").read_text()


def key_of(job_id: JobId) -> str:
    """Name the stream of a turn's log."""
    return f"events:{{{job_id.session_id}}}.{job_id.turn}"


def channel_of(session_id: str) -> str:
    """Name the channel on which a session's events are pushed."""
    return f"live:{{{session_id}}}"


def turns_key(session_id: str) -> str:
    """Name the sorted set of a session's turns that have a log."""
    return f"turns:{{{session_id}}}"


def owner_key(session_id: str) -> str:
    """Name the key that holds a session's owner."""
    return f"owner:{{{session_id}}}"


class TurnLog:
    """What one attempt has to say. Written by one thread, sent by the flusher.

    Writing never raises and never waits for Redis: `check` tells what the flusher has learnt meanwhile.
    """

    def __init__(self, turn: Turn, clock: Clock, flusher: "Flusher") -> None:
        self.turn = turn
        self._clock = clock
        self._flusher = flusher
        self._lock = threading.Lock()
        self._text: list[str] = []  # the answer so far, for a re-seed
        self._deltas: list[tuple[str, str]] = []  # (kind, text), not yet an event
        self._seq = 0
        self.unsent: list[tuple[int, str, bool]] = []  # (seq, JSON, may it begin a log)
        self.refusal: StaleAttempt | LogLost | None = None
        self._spoke = False
        self.closed_at: float | None = None
        self.flushed = threading.Condition(self._lock)

    def check(self) -> None:
        """Raise StaleAttempt or LogLost if Redis refused what was sent."""
        if self.refusal is not None:
            raise self.refusal

    def emit(self, kind: str, /, **fields: Any) -> None:
        """Write an event. It is sent at once."""
        with self._lock:
            self._freeze()
            self._add(kind, fields)
        self._flusher.kick(self, now=True)

    def delta(self, text: str, kind: str = "text") -> None:
        """Write a piece of the answer. Pieces within a tick become one event; the first is sent at once."""
        with self._lock:
            if kind == "text":
                self._text.append(text)
            self._deltas.append((kind, text))
            first, self._spoke = not self._spoke, True
        self._flusher.kick(self, now=first)

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._text)

    def settle(self, wait: float = 0.25) -> EventId:
        """Send what is left, before the end is stored: a crash between the two then leaves no gap before the end.

        Returns: the id that the terminal event will have. Nothing but `finish` or `abandon` may follow.
        """
        self._flusher.kick(self, now=True)
        with self._lock:
            self._freeze()
            self.flushed.wait_for(lambda: not self.unsent or self.refusal is not None, wait)
            return EventId(self.turn.attempt, self._seq)

    def resume_at(self, ended: Turn) -> None:
        """Stand where the terminal event of an ended turn belongs."""
        if ended.end_id is None:
            raise ValueError(f"{ended.job_id} has not ended")
        self._seq = ended.end_id.seq

    def finish(self, ended: Turn, wait: float = 1.0) -> bool:
        """Publish the end that was stored. Waits for Redis a moment; what it could not send goes out when Redis is back.

        Returns: whether the end is out, or was already.
        """
        with self._lock:
            self.unsent.append((self._seq, encode(terminal_event(ended)), True))
            self.turn, self.closed_at = ended, monotonic()
            self._flusher.kick(self, now=True)
            return self.flushed.wait_for(lambda: not self.unsent, wait)

    def abandon(self) -> None:
        """Drop what was not sent: the turn belongs to somebody else, or goes back to the queue."""
        with self._lock:
            self.unsent.clear()
            self._deltas.clear()

    def reseed(self) -> None:
        """Begin a lost log anew with all the text so far. Only for who still holds the lease."""
        with self._lock:
            self.unsent.clear()
            self._deltas.clear()
            self.refusal = None
            head, *rest = _split("".join(self._text)) or [""]
            self._add(SNAPSHOT, {"text": head, "through": str(EventId(self.turn.attempt, max(self._seq - 1, 0)))})
            for piece in rest:
                self._add(DELTA, {"part": 0, "kind": "text", "text": piece})
        self._flusher.kick(self, now=True)

    def take(self) -> list[tuple[int, str, bool]]:
        """Give what is to be sent now; it stays until `sent` says that it arrived. For the flusher."""
        with self._lock:
            self._freeze()
            return list(self.unsent)

    def sent(self, answer: str, events: Sequence[tuple[int, str, bool]]) -> None:
        """Take Redis' word about the first unsent events, which `take` gave. For the flusher."""
        with self._lock:
            if answer != "STALE" and (not self.unsent or self.unsent[0][0] != events[0][0]):
                return  # the log was begun anew meanwhile: the answer is not about that
            if answer == "OK":
                del self.unsent[: len(events)]
            elif answer == "LOST" and self.closed_at is not None:
                # The end carries the whole text, so it may stand alone; the pieces before it are of no use any more.
                del self.unsent[:-1]
                return
            else:
                self.refusal = LogLost() if answer == "LOST" else StaleAttempt("a later attempt has written")
                self.unsent.clear()
            self.flushed.notify_all()

    def _freeze(self) -> None:
        merged: list[tuple[str, list[str]]] = []
        for kind, text in self._deltas:
            if merged and merged[-1][0] == kind:
                merged[-1][1].append(text)
            else:
                merged.append((kind, [text]))
        self._deltas.clear()
        for kind, texts in merged:
            for piece in _split("".join(texts)):
                self._add(DELTA, {"part": 0, "kind": kind, "text": piece})

    def _add(self, kind: str, fields: dict[str, Any]) -> None:
        made = event(kind, self.turn.job_id, EventId(self.turn.attempt, self._seq), self._clock.now(), **fields)
        self.unsent.append((self._seq, encode(made), kind in OPENING))
        self._seq += 1


class Flusher:
    """Sends what all the turn logs of this process have to say, in one pipeline per tick."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._sha = redis.register_script(_APPEND).sha
        self._dirty: dict[int, TurnLog] = {}
        self._work = threading.Event()
        self._now = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._away = False

    def kick(self, turn_log: TurnLog, *, now: bool) -> None:
        """Ask for a flush: at the next tick, or now."""
        with self._lock:
            self._dirty[id(turn_log)] = turn_log
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)
                self._thread.start()
        if now:
            self._now.set()
        self._work.set()

    def _run(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            self._now.clear()
            with self._lock:
                batch, self._dirty = list(self._dirty.values()), {}
            try:
                self.flush(batch)
            except Exception as error:  # noqa: BLE001  the flusher serves every turn of the process: it must not die of one
                self._keep(batch, error)
                sleep(AWAY_SECONDS)
            else:
                if self._away:
                    self._away = False
                    log.warning("events flow again")
                self._now.wait(TICK_SECONDS)

    def _keep(self, batch: Sequence[TurnLog], error: Exception) -> None:
        if not self._away:
            self._away = True
            ours = not isinstance(error, RedisError)
            log.warning("events wait, redis does not take them: %s", error, exc_info=error if ours else None)
        for turn_log in batch:
            if not turn_log.unsent:
                continue
            if turn_log.closed_at is not None and monotonic() - turn_log.closed_at > GIVE_UP_SECONDS:
                turn_log.abandon()
            else:
                self.kick(turn_log, now=False)

    def flush(self, batch: Sequence[TurnLog]) -> None:
        """Send what `batch` has to say, in one round trip (a second one teaches a restarted Redis the script).

        Raises: redis.exceptions.RedisError, for what stays unsent.
        """
        calls = [(turn_log, unsent) for turn_log in batch if (unsent := turn_log.take())]
        if not calls:
            return
        answers = self._send([_arguments(turn_log.turn, unsent) for turn_log, unsent in calls])
        failures = [answer for answer in answers if isinstance(answer, Exception)]
        for (turn_log, unsent), answer in zip(calls, answers, strict=True):
            if isinstance(answer, Exception):
                continue
            turn_log.sent(answer, unsent)
            if answer == "LOST" and turn_log.unsent:
                self.kick(turn_log, now=True)
        if failures:  # of one log, say; what belongs to the others has been told to them
            raise failures[0]

    def _send(self, calls: Sequence[list[str]]) -> list[Any]:
        answers = self._execute(calls)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            self._redis.script_load(_APPEND)
            answers = self._execute(calls)
        if any(isinstance(answer, ReadOnlyError) for answer in answers):
            # A replica now: another server has taken over under the same name, which only a new connection looks up. Those in
            # use are left to who reads from them; they come back to the pool, and go the next time.
            self._redis.connection_pool.disconnect(inuse_connections=False)
        return answers

    def _execute(self, calls: Sequence[list[str]]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for call in calls:
            pipeline.evalsha(self._sha, 3, *call)
        return pipeline.execute(raise_on_error=False)


def _arguments(turn: Turn, events: Sequence[tuple[int, str, bool]]) -> list[str]:
    job_id = turn.job_id
    keys = [key_of(job_id), turns_key(job_id.session_id), owner_key(job_id.session_id)]
    life = ENDED_LIFE_SECONDS if turn.status.ended else RUNNING_LIFE_SECONDS
    head = [
        channel_of(job_id.session_id),
        str(job_id.turn),
        turn.user_id,
        str(turn.attempt),
        "1" if events[0][2] else "0",
        str(life),
    ]
    return keys + head + [word for seq, text, _ in events for word in (str(seq), text)]


def _split(text: str) -> list[str]:
    step = MAX_EVENT_TEXT // 6  # JSON writes a control character as six bytes, any other as four at most
    return [text[i : i + step] for i in range(0, len(text), step)]


class EventLog:
    """The logs of turns: opened by the attempt that writes one, read by whoever follows or resumes."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock
        self._flusher = Flusher(redis)

    def open(self, turn: Turn) -> TurnLog:
        """Begin to write the log of a claimed turn."""
        return TurnLog(turn, self._clock, self._flusher)

    def publish_end(self, turn: Turn, wait: float = 1.0) -> bool:
        """Publish the end of a turn from its item, for who does not hold its log. Harmless when it is out already.

        Returns: whether the end is out.
        """
        turn_log = TurnLog(turn, self._clock, self._flusher)
        turn_log.resume_at(turn)
        return turn_log.finish(turn, wait)

    def read(self, job_id: JobId, after: EventId | None = None) -> list[str]:
        """Read the events after a cursor, as JSON texts; empty when there are none, or no log.

        Raises: redis.exceptions.RedisError.
        """
        first = f"({after}" if after else "-"
        entries = cast("list[tuple[str, dict[str, str]]]", self._redis.xrange(key_of(job_id), min=first))
        return [fields["e"] for _, fields in entries]

    def read_many(self, session_id: str, cursors: Sequence[tuple[int, EventId | None]]) -> list[list[str]]:
        """Read the events of several turns of a session, each after a cursor, in one round trip. Raises: RedisError."""
        pipeline = self._redis.pipeline(transaction=False)
        for turn, after in cursors:
            pipeline.xrange(key_of(JobId(session_id, turn)), min=f"({after}" if after else "-")
        return [[fields["e"] for _, fields in entries] for entries in pipeline.execute()]

    def known(self, session_id: str, first: int) -> tuple[str | None, list[int]]:
        """Say whose session it is, and which turns from `first` on have or had a log, if Redis knows. Raises: RedisError."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(owner_key(session_id))
        pipeline.zrangebyscore(turns_key(session_id), first, "+inf")
        owner, turns = pipeline.execute()
        return owner, [int(turn) for turn in turns]

    def last(self, job_id: JobId) -> str | None:
        """Read the last event of a log; None when there is no log. Raises: RedisError."""
        entries = cast("list[tuple[str, dict[str, str]]]", self._redis.xrevrange(key_of(job_id), count=1))
        return entries[0][1]["e"] if entries else None

    def forget(self, session_id: str) -> None:
        """Delete what is kept of a session, its cached history included. Fails open: all of it has an end of its own."""
        try:
            turns = cast("list[str]", self._redis.zrange(turns_key(session_id), 0, -1))
            logs = [key_of(JobId(session_id, turn)) for turn in (OWN_LOG, *map(int, turns))]
            self._redis.delete(*logs, turns_key(session_id), context_key(session_id))
            self._redis.set(owner_key(session_id), NOBODY, ex=RUNNING_LIFE_SECONDS)
        except RedisError as error:
            log.warning("what Redis keeps of %s is left to lapse: %s", session_id, error)

    def said(self, job_id: JobId) -> str:
        """Give the text that clients have seen of an answer so far. Fails open: a log that cannot be read has shown nothing."""
        try:
            return text_so_far(self.read(job_id))
        except RedisError as error:
            log.warning("the log of %s cannot be read: %s", job_id, error)
            return ""
