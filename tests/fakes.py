"""The services in memory, with the interface of `chatapp.services.Services`: for tests of what stands above them."""

# ruff: noqa: ARG002  a fake has the interface of the real one

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chatapp.auth import SharedSecret, Tokens, issue
from chatapp.commands import Commands
from chatapp.effects import Effect, EffectStatus
from chatapp.errors import IdempotencyMismatch, NotEnded, NotFound, Unauthenticated
from chatapp.flows import registry
from chatapp.flows.concluding import Concluding
from chatapp.flows.patching import Patching
from chatapp.flows.retrying import record_key
from chatapp.flows.submit import Accepted, Idempotency, Submission
from chatapp.incoming.signature import Signatures
from chatapp.live.following import Event
from chatapp.live.ratelimit import Allowance
from chatapp.live.replay import Past
from chatapp.model import EventId, JobId, Principal, Session, State, Status, Turn, new_session_id
from config.settings import Settings

SECRET = "a-secret-of-the-tests-with-enough-bytes"
HOUR_MS = 3_600_000


class FakeClock:
    """Stands still until it is told to move."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


class FakeLimiter:
    """Counts down; None means no limit."""

    def __init__(self, left: int | None = None) -> None:
        self.left = left
        self.taken = 0

    def take(self, user_id: str) -> Allowance:
        self.taken += 1
        if self.left is None:
            return Allowance()
        allowed, self.left = self.left > 0, max(self.left - 1, 0)
        return Allowance(allowed=allowed, limit=10, window=60, remaining=self.left, reset=12.3, retry_after=0 if allowed else 5.2)


class FakeSessions:
    """Sessions in a dict."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.all: dict[str, Session] = {}
        self.keys: dict[str, tuple[str, str]] = {}

    def create(self, *, user_id: str, flow: str, **more: Any) -> Session:
        now = self._clock.now()
        made = Session(
            id=new_session_id(),
            user_id=user_id,
            flow=flow,
            created_at=now,
            updated_at=now,
            expires_at=now + 24 * HOUR_MS,
            **more,
        )
        self.all[made.id] = made
        return made

    def create_once(self, once: Idempotency | None, *, user_id: str, flow: str, **more: Any) -> tuple[Session, bool]:
        if once and once.key in self.keys:
            fingerprint, session_id = self.keys[once.key]
            if fingerprint != once.fingerprint:
                raise IdempotencyMismatch
            return self.all[session_id], True
        made = self.create(user_id=user_id, flow=flow, **more)
        if once:
            self.keys[once.key] = (once.fingerprint, made.id)
        return made, False

    def get(self, session_id: str) -> Session | None:
        return self.all.get(session_id)

    def list(self, user_id: str, limit: int, cursor: str | None = None) -> tuple[list[Session], str | None]:
        mine = [s for s in reversed(self.all.values()) if s.user_id == user_id and s.alive(self._clock.now())]
        start = int(cursor or 0)
        return mine[start : start + limit], str(start + limit) if len(mine) > start + limit else None

    def change_state(self, session: Session, state: State) -> tuple[bool, Session]:
        return self._as_seen(session, state=state, version=session.version + 1)

    def conclude(self, session: Session, result: Mapping[str, Any]) -> tuple[bool, Session]:
        return self._as_seen(session, result=dict(result), deleted_at=self._clock.now())

    def _as_seen(self, session: Session, **fields: Any) -> tuple[bool, Session]:
        found = self.all[session.id]
        if found.version != session.version or found.deleted_at is not None:
            return False, found
        self.all[session.id] = replace(found, **fields)
        return True, self.all[session.id]

    def rename(self, session_id: str, *, user_id: str, title: str) -> Session:
        self.all[session_id] = replace(self.all[session_id], title=title)
        return self.all[session_id]


class FakeTurns:
    """Turns in a dict."""

    def __init__(self) -> None:
        self.all: dict[JobId, Turn] = {}
        self.records: set[str] = set()

    def record(self, key: str) -> str | None:
        return key if key in self.records else None

    def get(self, job_id: JobId) -> Turn | None:
        return self.all.get(job_id)

    def page(self, session_id: str, *, limit: int, before: int | None = None) -> list[Turn]:
        found = [t for t in self.all.values() if t.session_id == session_id and t.number < (before or 10**9)]
        return sorted(found, key=lambda t: -t.number)[:limit]


class FakeSubmit:
    """Keeps what it is given. `failure` is raised instead, when set."""

    def __init__(self, clock: FakeClock, sessions: FakeSessions, turns: FakeTurns) -> None:
        self._clock, self._sessions, self._turns = clock, sessions, turns
        self.seen: list[Submission] = []
        self.failure: Exception | None = None
        self.merge_into: str | None = None
        self._known: dict[str, tuple[str, Accepted]] = {}

    def __call__(self, submission: Submission) -> Accepted:
        if self.failure:
            raise self.failure
        if (key := submission.idempotency) and key.key in self._known:
            fingerprint, accepted = self._known[key.key]
            if fingerprint != key.fingerprint:
                raise IdempotencyMismatch
            return replace(accepted, replayed=True)
        self.seen.append(submission)
        if self.merge_into and submission.on_busy == "merge" and (job_id := JobId.parse(self.merge_into)):
            return Accepted(job_id, Status.QUEUED, 0, self._turns.all[job_id].created_at, merged=True)
        accepted = self._keep(submission)
        if key:
            self._known[key.key] = (key.fingerprint, accepted)
            self._turns.records.add(key.key)
        return accepted

    def _keep(self, submission: Submission) -> Accepted:
        now = self._clock.now()
        if submission.session_id is None:
            session = self._sessions.create(user_id=submission.user_id, flow=submission.flow or "chat")
        else:
            session = self._sessions.all.get(submission.session_id)  # type: ignore[assignment]
            if session is None or session.user_id != submission.user_id or not session.alive(now):
                raise NotFound("this text must not reach the client")
        turn = Turn(
            session_id=session.id,
            number=session.turn_count + 1,
            user_id=submission.user_id,
            flow=session.flow,
            input=submission.input,
            options=submission.options,
            created_at=now,
            expires_at=now + 7 * 24 * HOUR_MS,
            metadata=submission.metadata,
        )
        position = len(session.open_turns)
        self._turns.all[turn.job_id] = turn
        self._sessions.all[session.id] = replace(
            session, turn_count=turn.number, open_turns=session.open_turns | {turn.number}, updated_at=now
        )
        return Accepted(turn.job_id, Status.QUEUED, position, now)


class FakeCancel:
    """Ends a queued turn, and leaves word for a running one."""

    def __init__(self, clock: FakeClock, turns: FakeTurns) -> None:
        self._clock, self._turns = clock, turns

    def __call__(self, turn: Turn) -> Turn | None:
        if turn.status is Status.QUEUED:
            end_id, now = EventId(turn.attempt + 1, 0), self._clock.now()
            turn = replace(turn, status=Status.CANCELLED, attempt=end_id.attempt, end_id=end_id, ended_at=now, answer="")
        elif not turn.status.ended:
            turn = replace(turn, cancel_requested=True)
        self._turns.all[turn.job_id] = turn
        return turn

    def before(self, session: Session, number: int) -> None:
        for turn in [t for t in self._turns.all.values() if t.session_id == session.id and t.number < number]:
            self(turn)


class FakeRetry:
    """Submits an ended turn's input again, once."""

    def __init__(self, submit: FakeSubmit, turns: FakeTurns) -> None:
        self._submit, self._turns = submit, turns
        self.seen: list[str | None] = []
        self._known: dict[JobId, Accepted] = {}

    def __call__(self, turn: Turn, *, traceparent: str | None = None) -> Accepted:
        if not turn.status.ended:
            raise NotEnded
        self.seen.append(traceparent)
        if turn.job_id in self._known:
            return replace(self._known[turn.job_id], replayed=True)
        again = Submission(user_id=turn.user_id, session_id=turn.session_id, input=turn.input, options=turn.options)
        accepted = self._known[turn.job_id] = replace(self._submit(again), retry_of=turn.number)
        self._turns.all[accepted.job_id] = replace(self._turns.all[accepted.job_id], retry_of=turn.number)
        self._turns.records.add(record_key(turn.job_id))
        return accepted


class FakeEvents:
    """The logs of turns, as lists of JSON texts; `forgotten` are the sessions whose logs were deleted."""

    def __init__(self) -> None:
        self.logs: dict[JobId, list[str]] = {}
        self.forgotten: list[str] = []
        self.failure: Exception | None = None

    def forget(self, session_id: str) -> None:
        self.forgotten.append(session_id)

    def read(self, job_id: JobId, after: object = None) -> list[str]:
        if self.failure:
            raise self.failure
        return self.logs.get(job_id, [])


class FakeSockets:
    """Knows no socket but `known`."""

    def __init__(self) -> None:
        self.known = ""
        self.failure: Exception | None = None

    def follow(self, socket_id: str, user_id: str, session_id: str, job_id: JobId) -> bool:
        if self.failure:
            raise self.failure
        return socket_id == self.known


class FakeHealth:
    """Says what it is told to say."""

    def __init__(self) -> None:
        self.parts = {"dynamodb": True, "sqs": True, "redis": True}

    def ready(self) -> dict[str, bool]:
        return self.parts

    def redis(self) -> bool:
        return self.parts["redis"]


class FakeBreakers:
    """All closed, until `open_seconds` is set."""

    def __init__(self) -> None:
        self.open_seconds: float | None = None

    def wait(self, model: str) -> float | None:
        return self.open_seconds

    def states(self) -> dict[str, dict[str, Any]]:
        return {"llm.example.com/m": {"state": "closed"} if self.open_seconds is None else {"state": "open", "retry_after": 12}}


class FakeWaiting:
    """Waits for nothing. `on_wait` is what happens meanwhile."""

    def __init__(self, turns: FakeTurns) -> None:
        self._turns = turns
        self.on_wait: Any = lambda: None

    def __call__(self, job_id: JobId, seconds: float) -> Turn | None:
        self.on_wait()
        return self._turns.get(job_id)

    def release(self) -> None:
        raise NotImplementedError


class FakeTickets:
    """Tickets in a dict. `failure` is raised instead, when set."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.all: dict[str, Principal] = {}
        self.failure: Exception | None = None

    def life_ms(self, principal: Principal) -> int:
        return 30_000

    def issue(self, principal: Principal) -> str:
        if self.failure:
            raise self.failure
        ticket = f"ticket-{len(self.all)}"
        self.all[ticket] = Principal(principal.user_id, expires_at=principal.expires_at)
        return ticket

    def redeem(self, ticket: str) -> Principal:
        if self.failure:
            raise self.failure
        if ticket not in self.all:
            raise Unauthenticated("the ticket is unknown, has expired or was used")
        return self.all.pop(ticket)


class FakePushes:
    """Keeps what is pushed: (user or None for all, frame). `failure` is raised instead, when set."""

    def __init__(self) -> None:
        self.pushed: list[tuple[str | None, dict[str, Any]]] = []
        self.failure: Exception | None = None

    def to_user(self, user_id: str, frame: dict[str, Any]) -> int:
        return self._push(user_id, frame)

    def to_all(self, frame: dict[str, Any]) -> int:
        return self._push(None, frame)

    def _push(self, user_id: str | None, frame: dict[str, Any]) -> int:
        if self.failure:
            raise self.failure
        self.pushed.append((user_id, frame))
        return 2


class FakeSessionLog:
    """Keeps what is appended: (session, kind, fields)."""

    def __init__(self) -> None:
        self.appended: list[tuple[str, str, dict[str, Any]]] = []

    def tell(self, session_id: str, kind: str, /, **fields: Any) -> None:
        self.append(session_id, kind, **fields)

    def append(self, session_id: str, kind: str, /, **fields: Any) -> EventId:
        self.appended.append((session_id, kind, fields))
        return EventId(1_800_000_000, len(self.appended) - 1)


class FakeActions:
    """Actions in a dict, by (session, action)."""

    def __init__(self) -> None:
        self.all: dict[tuple[str, str], Effect] = {}

    def of(self, session: Session) -> list[Effect]:
        return [e for (session_id, _), e in self.all.items() if session_id == session.id]

    def confirm(self, session: Session, action_id: str, *, by: str) -> Effect:
        return self._move(session, action_id, EffectStatus.CONFIRMED, by)

    def cancel(self, session: Session, action_id: str) -> Effect:
        return self._move(session, action_id, EffectStatus.CANCELLED, None)

    def _move(self, session: Session, action_id: str, status: EffectStatus, by: str | None) -> Effect:
        found = self.all.get((session.id, action_id))
        if found is None:
            raise NotFound
        if found.status is EffectStatus.STAGED:
            found = self.all[session.id, action_id] = replace(found, status=status, confirmed_by=by)
        return found


class FakeFeeds:
    """Gives `items` to every reader, then ends. `failure` is raised instead, when set; `broken` in mid-stream."""

    def __init__(self) -> None:
        self.items: list[Past | Event | None] = []
        self.opened: list[tuple[JobId, EventId | None, Principal]] = []
        self.closed = 0
        self.failure: Exception | None = None
        self.broken: Exception | None = None

    def open(self, session: Session, turn: Turn, cursor: EventId | None, *, caller: Principal, cut: Any) -> Any:
        if self.failure:
            raise self.failure
        self.opened.append((turn.job_id, cursor, caller))
        return FakeFeed(self, turn.job_id)

    def close(self, feed: Any) -> None:
        self.closed += 1

    def release(self) -> None:
        raise NotImplementedError


class FakeFeed:
    """One of them."""

    def __init__(self, feeds: FakeFeeds, job_id: JobId) -> None:
        self._feeds = feeds
        self.job_id = job_id
        events = [item for item in feeds.items if isinstance(item, Event)]
        self.past = Past(job_id, Status.RUNNING, 0, True, None, events)

    def __iter__(self) -> Iterator[Past | Event | None]:
        yield self.past
        yield from self._feeds.items
        if self._feeds.broken:
            raise self._feeds.broken


@dataclass
class FakeServices:
    """All of them."""

    settings: Settings
    clock: FakeClock = field(default_factory=FakeClock)
    limiter: FakeLimiter = field(default_factory=FakeLimiter)
    events: FakeEvents = field(default_factory=FakeEvents)
    sockets: FakeSockets = field(default_factory=FakeSockets)
    health: FakeHealth = field(default_factory=FakeHealth)
    breakers: FakeBreakers = field(default_factory=FakeBreakers)
    turns: FakeTurns = field(default_factory=FakeTurns)

    def __post_init__(self) -> None:
        self.sessions = FakeSessions(self.clock)
        self.submit = FakeSubmit(self.clock, self.sessions, self.turns)
        self.cancel = FakeCancel(self.clock, self.turns)
        self.retry = FakeRetry(self.submit, self.turns)
        self.tokens = Tokens(SharedSecret(SECRET))
        self.until_ended = FakeWaiting(self.turns)
        self.tickets = FakeTickets(self.clock)
        self.pushes = FakePushes()
        self.session_log = FakeSessionLog()
        self.feeds = FakeFeeds()
        self.actions = FakeActions()
        self.signatures = Signatures(["a-secret-of-the-tests"])
        self.flows = registry.load(self.settings.flows)
        self.patch_state = Patching(sessions=self.sessions, flows=self.flows, events=self.session_log)

    @property
    def commands(self) -> Commands:
        """The real ones, over whatever the fakes are now."""
        return Commands(
            self.settings,
            submit=self.submit,
            cancel=self.cancel,
            retry=self.retry,
            turns=self.turns,
            sessions=self.sessions,
            actions=self.actions,
            conclude=Concluding(sessions=self.sessions, flows=self.flows, events=self.events, cancel=self.cancel),
            flows=self.flows,
            breakers=self.breakers,
            clock=self.clock,
        )

    def delete_session(self, session_id: str, *, user_id: str) -> None:
        self.sessions.all[session_id] = replace(self.sessions.all[session_id], deleted_at=self.clock.now())


def fake_services(**settings: Any) -> FakeServices:
    """Make the services with these settings over the defaults."""
    return FakeServices(Settings(**{"jwt_secret": SECRET, **settings}))


def bearer(user_id: str = "ada", **more: Any) -> dict[str, str]:
    """Make the Authorization header of a user."""
    return {"Authorization": f"Bearer {issue(SECRET, user_id, **{'seconds': 600, **more})}"}
