"""The table in memory, on which the model of the protocol runs, answers what the emulator of DynamoDB answers.

The same sequences of calls of the stores, with the same ids and times, are made on both: what each call returns and what
is stored in the end must be the same. Where the two differ the model would prove something about another database.
"""

import secrets
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from chatapp.errors import ChatappError
from chatapp.model import Ending, EventId, IdempotencyRecord, JobId, ModelOptions, Session, Status, Turn, text_part
from chatapp.services import Services
from chatapp.stores.dynamo import from_item
from config.resources import IDEMPOTENCY, LOCKS, SESSIONS, TURNS
from tests.fakes import FakeClock
from tests.unit.protocol.table import Table

LEASE = 20_000
DAY = 86_400_000
CALLS = 14
SHARDS = range(16)
NUMBERS = st.integers(1, 3)
KEYS = st.sampled_from([None, None, "k1", "k2"])
CLAIMS = st.sampled_from(["c1", "c2"])
LATER = st.sampled_from([0, 0, 1_000, LEASE + 1])
PARTS = st.sampled_from(["a", "b" * 5_000])


class Side:
    """The stores on one of the two databases, with what the calls before have returned."""

    def __init__(self, made: Services, clock: FakeClock, session_id: str) -> None:
        made.__dict__["clock"] = clock
        self.turns, self.sessions, self.locks = made.turns, made.sessions, made.locks
        self.clock = clock
        self.session_id = session_id
        self.seen: dict[int, Turn] = {}

    def keep(self, turn):
        if turn is not None:
            self.seen[turn.number] = turn
        return turn

    def held(self, number):
        """Give a turn as an attempt has it, if it was claimed."""
        turn = self.seen.get(number)
        return turn if turn and turn.claim_id else None

    def job(self, number):
        return JobId(self.session_id, number)

    def session(self):
        return self.sessions.get(self.session_id)

    # --- the calls; each is named in CALL

    def add(self, known, key, text, exclusive, interrupts):
        """Submit, with a session read now, or one that is stale by a turn."""
        session, now = self.session(), self.clock.now()
        new = session is None
        if session is None:
            begun = {"created_at": now, "updated_at": now, "expires_at": now + DAY}
            session = Session(id=self.session_id, user_id="ada", flow="chat", title="t", **begun)
        if not known and session.turn_count:
            session = replace(session, turn_count=session.turn_count - 1)
        number = session.turn_count + 1
        session = replace(session, updated_at=now, cancel_before=number if interrupts and not new else session.cancel_before)
        turn = Turn(
            session_id=self.session_id,
            number=number,
            user_id="ada",
            flow="chat",
            input=(text_part(text),),
            options=ModelOptions("m", temperature=0.5),
            created_at=now,
            expires_at=now + 7 * DAY,
            wake_at=now + 1_000,
            metadata={"a": "b"},
        )
        outcome = self.turns.add(turn, session, new=new, exclusive=exclusive, record=self._record(key, number))
        if outcome is None:
            self.seen[number] = turn
        return outcome

    def _record(self, key, number):
        now = self.clock.now()
        return key and IdempotencyRecord(self.session_id + key, "same", self.job(number), 0, now, now + DAY)

    def merge(self, number, key, text):
        session, turn = self.session(), self.seen.get(number)
        if session is None or turn is None:
            return None
        return self.turns.merge(turn, session, [text_part(text)], record=self._record(key, number))

    def get(self, number):
        return self.keep(self.turns.get(self.job(number)))

    def claim(self, number, claim_id, later):
        now = self.clock.now() + later
        won, turn = self.turns.claim(self.job(number), claim_id=claim_id, now=now, lease_end=now + LEASE)
        return won, self.keep(turn)

    def renew(self, number):
        turn = self.held(number)
        return turn and self.turns.renew(turn, lease_end=self.clock.now() + 2 * LEASE)

    def requeue(self, number, counted, later):
        turn = self.held(number)
        due = self.clock.now() + later
        error = {"code": "provider_unavailable", "message": "m", "retryable": True} if counted == "failures" else None
        return turn and self.turns.requeue(turn, due=due, wake_at=due + 1, counted=counted, error=error)

    def end(self, number, holder, dead):
        turn = self.held(number) if holder else self.seen.get(number)
        if turn is None:
            return None
        status = Status.FAILED if dead else Status.COMPLETED if holder else Status.CANCELLED
        error = {"code": "crashed", "message": "m", "retryable": False} if dead else None
        end_id = EventId(turn.attempt, 3) if holder else EventId(turn.attempt + 1, 0)
        by = (turn.claim_id or "") if holder else "other"
        fields = {"answer": None if dead else "said", "error": error, "dlq_pending": dead}
        return self.turns.end(turn, Ending(status=status, end_id=end_id, at=self.clock.now(), by=by, holder=holder, **fields))

    def postpone(self, number, known):
        turn = self.seen.get(number)
        seen = (turn.wake_at or 0) if turn and known else 1
        return self.turns.postpone(self.job(number), seen=seen, wake_at=self.clock.now() + 30_000)

    def wake_now(self, number):
        return self.turns.wake_now(self.job(number), self.clock.now())

    def request_cancel(self, number):
        return self.keep(self.turns.request_cancel(self.job(number)))

    def buried(self, number):
        return self.turns.buried(self.job(number))

    def close_gap(self, number):
        return self.turns.close_gap(self.job(number))

    def record(self, key):
        return key and self.turns.record(self.session_id + key)

    def open_work(self):
        now = self.clock.now() + 10 * DAY
        found = [one for shard in SHARDS for one in self.turns.open_work(shard, now=now, limit=100)]
        return [(job_id, wake_at) for job_id, wake_at in found if job_id.session_id == self.session_id]

    def page(self, limit):
        return self.turns.page(self.session_id, limit=limit)

    def load(self):
        return self.sessions.load(self.session_id, range(1, 4))

    def rename(self):
        return self.sessions.rename(self.session_id, user_id="ada", title="other")

    def bury(self):
        return self.sessions.bury(self.session_id, user_id="ada")

    def lock(self, owner, later):
        self.clock.ms += later
        return self.locks.acquire(self.session_id, owner)


CALL = st.one_of(
    st.tuples(st.just("add"), st.booleans(), KEYS, PARTS, st.booleans(), st.booleans()),
    st.tuples(st.just("merge"), NUMBERS, KEYS, PARTS),
    st.tuples(st.just("get"), NUMBERS),
    st.tuples(st.just("claim"), NUMBERS, CLAIMS, LATER),
    st.tuples(st.just("claim"), st.just(1), CLAIMS, LATER),
    st.tuples(st.just("renew"), NUMBERS),
    st.tuples(st.just("requeue"), NUMBERS, st.sampled_from([None, "failures", "hand_backs"]), LATER),
    st.tuples(st.just("end"), NUMBERS, st.booleans(), st.booleans()),
    st.tuples(st.just("postpone"), NUMBERS, st.booleans()),
    st.tuples(st.sampled_from(["wake_now", "request_cancel", "buried", "close_gap"]), NUMBERS),
    st.tuples(st.just("record"), KEYS),
    st.tuples(st.just("page"), NUMBERS),
    st.tuples(st.sampled_from(["open_work", "load", "rename", "bury"])),
    st.tuples(st.just("lock"), st.sampled_from(["a", "b"]), st.sampled_from([0, 9_000, 11_000])),
)


def answer_of(side, call):
    """Make a call. Returns: what it returned, or which error of ours it raised."""
    name, *given_ = call
    try:
        return getattr(side, name)(*given_)
    except ChatappError as error:
        return type(error)


def stored(client, configured, session_id):
    """Read all that is stored of a session."""
    out = {}
    for table, key in ((SESSIONS, "SessionId"), (TURNS, "SessionId"), (LOCKS, "Resource"), (IDEMPOTENCY, "IdempotencyKey")):
        name = configured.table_name(table.name)
        items = list(client.items[name].values()) if isinstance(client, Table) else client.scan(TableName=name)["Items"]
        plain = [from_item(item) for item in items if item[key]["S"].startswith(session_id)]
        out[table.name] = sorted(plain, key=lambda item: (str(item[key]), item.get("Turn", 0)))
    return out


@pytest.fixture(scope="module")
def emulated(settings):
    """The services on the emulator."""
    return Services(settings)


FIRST = ("add", True, None, "a", False, False)


def test_the_table_in_memory_answers_like_the_emulator(emulated):
    """Call by call, and in what is stored at the end."""
    configured = emulated.settings

    @profile(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=120,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(calls=st.lists(CALL, min_size=CALLS // 2, max_size=CALLS))
    def same(calls):
        session_id = secrets.token_hex(16)
        in_memory = Services(configured)
        table = in_memory.__dict__["dynamodb"] = Table(configured.dynamodb_table_prefix)
        ours, theirs = Side(in_memory, FakeClock(), session_id), Side(_fresh(emulated), FakeClock(), session_id)
        for call in (FIRST, *calls):
            assert answer_of(ours, call) == answer_of(theirs, call), call
        assert stored(table, configured, session_id) == stored(emulated.dynamodb, configured, session_id)

    same()


def _fresh(made):
    """Give services of their own clock on the same connection."""
    other = Services(made.settings)
    other.__dict__["dynamodb"] = made.dynamodb
    return other
