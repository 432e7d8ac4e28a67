"""The rules of the socket: frames are read strictly, and whatever happens a client sees each event once and in order."""

import json
from collections import deque
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import ConnectionError as RedisConnectionError

from chatapp.errors import LiveUnavailable, NotFound, RateLimited
from chatapp.frames import Auth, Ping, Resume, Subscribe, Unsubscribe
from chatapp.live.following import Event, Follower, just_before
from chatapp.live.replay import MAX_TURNS, Replay, numbers_to_catch_up, numbers_to_replay
from chatapp.model import EventId, JobId, ModelOptions, Session, Status, Turn
from chatapp.payloads import encode, event
from config.settings import Settings
from ws.frames import BadFrame, read, refused, write
from ws.hub import Gap, Live
from ws.origin import may_connect
from ws.subscriptions import MAX_SUBSCRIPTIONS, Subscriptions
from ws.wire import WholeFrames

SETTINGS = Settings()
SID = "0123456789abcdef" * 2
OTHER = "f" * 32
CLOCK = SimpleNamespace(now=lambda: 1_000, monotonic=lambda: 1.0)


def made(turn: int, attempt: int, seq: int, kind: str = "message_delta") -> Event:
    """Make an event of the session under test."""
    return Event.decode(encode(event(kind, JobId(SID, turn), EventId(attempt, seq), 1_000)))


def session(count: int, open_turns: frozenset[int] = frozenset(), user: str = "ann", expires_at: int = 10_000) -> Session:
    """Make the session under test."""
    return Session(
        id=SID,
        user_id=user,
        flow="chat",
        created_at=0,
        updated_at=0,
        expires_at=expires_at,
        turn_count=count,
        open_turns=open_turns,
    )


def stored(number: int, status: Status, end_id: EventId | None = None) -> Turn:
    """Make a turn as the store has it."""
    return Turn(
        session_id=SID,
        number=number,
        user_id="ann",
        flow="chat",
        input=(),
        options=ModelOptions("m"),
        created_at=0,
        expires_at=10_000,
        status=status,
        answer="all of it" if status.ended else None,
        end_id=end_id,
        ended_at=1 if end_id else None,
    )


# --- frames


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ('{"type":"ping"}', Ping(type="ping")),
        ('{"type":"ping","id":7}', Ping(type="ping", id=7)),
        ('{"type":"auth","token":"t","id":"a"}', Auth(type="auth", token="t", id="a")),
        (f'{{"type":"unsubscribe","session_id":"{SID}"}}', Unsubscribe(type="unsubscribe", session_id=SID)),
        (
            f'{{"type":"subscribe","session_id":"{SID}","resume":{{"job_id":"{SID}.3","after":"1-4"}}}}',
            Subscribe(type="subscribe", session_id=SID, resume=Resume(job_id=f"{SID}.3", after="1-4")),
        ),
    ],
)
def test_a_frame_of_the_contract_is_read(text, frame):
    """Every frame that a client may send."""
    assert read(text, SETTINGS) == frame


@pytest.mark.parametrize(
    "data",
    [
        "",
        "hello",
        "[]",
        "null",
        "1",
        '"ping"',
        "{}",
        '{"type":null}',
        '{"type":"nope"}',
        '{"type":["ping"]}',
        '{"type":"ping","extra":1}',
        '{"type":"ping","id":true}',
        '{"type":"ping","id":1.5}',
        '{"type":"ping","id":"\\ud800"}',
        '{"type":"ping","id":NaN}',
        '{"type":"ping","id":' + "9" * 5000 + "}",
        '{"type":"auth"}',
        '{"type":"auth","token":1}',
        '{"type":"subscribe"}',
        '{"type":"subscribe","session_id":"../../x"}',
        '{"type":"subscribe","session_id":"' + SID + '\\n"}',
        '{"type":"subscribe","session_id":"' + SID.upper() + '"}',
        '{"type":"subscribe","session_id":"' + SID + '","resume":{"job_id":"' + OTHER + '.1"}}',
        '{"type":"subscribe","session_id":"' + SID + '","resume":{"job_id":"' + SID + '.0"}}',
        '{"type":"subscribe","session_id":"' + SID + '","resume":{"job_id":"' + SID + '.1","after":"1"}}',
        '{"type":"subscribe","session_id":"' + SID + '","resume":{"job_id":"' + SID + '.1","after":"01-2"}}',
        "[" * 60_000,
        '{"type":"ping","id":' + "[" * 30_000,
        '{"type":"ping"} {"type":"ping"}',
        b'{"type":"ping"}',
        b"\xff\xfe",
    ],
)
def test_any_other_frame_is_a_bad_frame(data):
    """Nothing that a client sends becomes an exception of another kind, and no cursor is guessed."""
    with pytest.raises(BadFrame) as caught:
        read(data, SETTINGS)
    json.loads(refused(caught.value.frame_id, caught.value.code, caught.value.detail))


@given(st.text() | st.binary())
def test_noise_is_a_bad_frame(data):
    """Also what nobody thought of."""
    with pytest.raises(BadFrame):
        read(data, SETTINGS)


def test_the_id_of_a_frame_that_is_refused_is_echoed():
    """The client can tell which of its frames was wrong."""
    with pytest.raises(BadFrame) as caught:
        read('{"type":"subscribe","id":"q1"}', SETTINGS)
    assert caught.value.frame_id == "q1"


def test_answers_echo_the_id_only_if_there_was_one():
    """`id` is optional."""
    assert json.loads(write("pong")) == {"type": "pong"}
    assert json.loads(write("pong", 0)) == {"type": "pong", "id": 0}
    assert json.loads(refused(None, "x", "y"))["id"] is None


@pytest.mark.parametrize(
    ("origin", "env", "allowed", "welcome"),
    [
        (None, "test", (), True),
        ("https://app.example", "test", ("https://app.example",), True),
        ("https://app.example.evil", "test", ("https://app.example",), False),
        ("http://localhost:5173", "development", (), True),
        ("https://127.0.0.1", "development", (), True),
        ("http://localhost.evil:80", "development", (), False),
        ("http://localhost:5173", "development", ("https://app.example",), False),
        ("http://localhost:5173", "test", (), False),
        ("null", "development", (), False),
        ("", "development", (), False),
    ],
)
def test_only_known_pages_may_connect(origin, env, allowed, welcome):
    """A browser says which page it is; a program says nothing."""
    assert may_connect(origin, Settings(env=env, cors_origins=allowed)) is welcome


# --- events and cursors


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"job_id":"x","id":"1-0","type":"a"}', f'{{"job_id":"{SID}.0","id":"1-0","type":"a"}}']
)
def test_what_is_not_an_event_of_a_turn_is_not_decoded(text):
    """A stray message on a channel harms nobody."""
    with pytest.raises(ValueError, match="not an event"):
        Event.decode(text)


@pytest.mark.parametrize(("cursor", "before"), [("1-5", "1-4"), ("2-0", "1-9999999999"), ("1-0", "0-9999999999")])
def test_a_log_is_read_from_just_before_a_cursor(cursor, before):
    """So that the cursor's own event comes first if the log still holds it."""
    assert str(just_before(EventId.parse(cursor))) == before


def test_only_the_next_event_has_no_gap_before_it():
    """Within an attempt the number rises by one; how an attempt ended only the log knows."""
    follower = Follower(highest=0)
    assert not follower.gap_before(made(1, 1, 0))
    assert follower.gap_before(made(1, 1, 1))
    assert follower.accept(made(1, 1, 0))
    assert not follower.gap_before(made(1, 1, 1))
    assert follower.gap_before(made(1, 1, 2))
    assert follower.gap_before(made(1, 2, 0))


def test_what_was_passed_on_is_not_passed_on_again():
    """Events arrive from the log and live."""
    follower = Follower(highest=0)
    assert follower.accept(made(1, 1, 0))
    assert not follower.accept(made(1, 1, 0))
    assert follower.accept(made(1, 1, 1, "message_completed"))
    assert not follower.accept(made(1, 1, 1, "message_completed"))
    assert not follower.gap_before(made(1, 1, 1, "message_completed"))
    assert follower.unfinished() == []


def test_turns_before_the_one_resumed_are_not_followed():
    """Their ends may be published again at any time."""
    follower = Follower(highest=5)
    assert not follower.accept(made(3, 1, 9, "message_completed"))


def test_turns_passed_over_are_expected():
    """A turn that was cancelled while it waited ends before those in front of it."""
    follower = Follower(highest=1)
    assert follower.accept(made(3, 1, 0, "message_cancelled"))
    assert follower.unfinished() == [2]


def test_the_turns_to_replay_are_the_open_ones_or_all_from_the_resumed_one_on():
    """Bounded, but never without the resumed and the open ones."""
    assert numbers_to_replay(session(9, frozenset({8, 9})), None) == [8, 9]
    assert numbers_to_replay(session(9, frozenset({9})), JobId(SID, 7)) == [7, 8, 9]
    many = numbers_to_replay(session(1000, frozenset({400, 1000})), JobId(SID, 2))
    assert many[:2] == [2, 400]
    assert len(many) == MAX_TURNS + 2
    with pytest.raises(NotFound):
        numbers_to_replay(session(9), JobId(SID, 10))
    assert numbers_to_catch_up(session(7), [3], highest=5) == [3, 6, 7]


# --- replay


class Log:
    """Logs of turns in memory. `before_read` runs before each read; `away` is Redis down."""

    def __init__(self):
        self.events: dict[int, list[Event]] = {}
        self.before_read = lambda: None
        self.away = False

    def read(self, job_id, after=None):
        self.before_read()
        if self.away:
            raise RedisConnectionError
        return [e.text for e in self.events.get(job_id.turn, []) if after is None or e.id > after]


class Store(dict):
    """Turns by number."""

    def get(self, job_id):
        return super().get(job_id.turn)


def past(log, store, of, number, after=None):
    """Read one turn."""
    return Replay(log, store).past(of, number, EventId.parse(after) if after else None)


def ids(events):
    """The ids of events."""
    return [str(e.id) for e in events]


def test_a_turn_is_replayed_from_behind_the_cursor():
    """The log holds the cursor, so all after it follows without a gap."""
    log = Log()
    log.events[1] = [made(1, 1, 0, "message_started"), made(1, 1, 1), made(1, 1, 2)]
    found = past(log, Store(), session(1, frozenset({1})), 1, "1-0")
    assert (ids(found.events), found.recovered, found.status) == (["1-1", "1-2"], True, "running")


def test_a_log_that_does_not_hold_the_cursor_is_replayed_whole():
    """It was lost and began anew: the client must forget what it has."""
    log = Log()
    log.events[1] = [made(1, 1, 7, "message_snapshot"), made(1, 1, 8)]
    found = past(log, Store(), session(1, frozenset({1})), 1, "1-3")
    assert (ids(found.events), found.recovered, found.cursor) == (["1-7", "1-8"], False, None)


def test_an_ended_turn_without_a_log_is_told_by_its_end():
    """Made again from the item; `recovered` false says that this is all there is."""
    store = Store({1: stored(1, Status.COMPLETED, EventId(1, 5))})
    found = past(Log(), store, session(1), 1)
    assert (ids(found.events), found.recovered, found.status) == (["1-5"], False, "completed")
    assert json.loads(found.events[0].text)["text"] == "all of it"


def test_who_has_seen_the_end_is_told_nothing_more():
    """Neither from the log nor, when that is gone, from the item."""
    log, store = Log(), Store({1: stored(1, Status.COMPLETED, EventId(1, 5))})
    assert past(log, store, session(1), 1, "1-5").events == []
    log.events[1] = [made(1, 1, 4), made(1, 1, 5, "message_completed")]
    found = past(log, store, session(1), 1, "1-5")
    assert (found.events, found.recovered, found.status) == ([], True, "completed")


def test_an_end_that_was_stored_but_not_yet_published_is_added():
    """The worker may have died between the two."""
    log, store = Log(), Store({1: stored(1, Status.COMPLETED, EventId(1, 1))})
    log.events[1] = [made(1, 1, 0, "message_started")]
    assert ids(past(log, store, session(1), 1).events) == ["1-0", "1-1"]


def test_waiting_turns_are_queued_at_their_position():
    """Only the head may run, so the store is asked about no other."""
    found = past(Log(), Store(), session(3, frozenset({1, 2, 3})), 3)
    assert (found.status, found.position, found.recovered) == ("queued", 2, True)
    head = past(Log(), Store({1: stored(1, Status.QUEUED)}), session(3, frozenset({1, 2, 3})), 1)
    assert (head.status, head.position, head.events) == ("queued", 0, [])


def test_a_turn_that_waits_for_its_next_attempt_is_queued():
    """The log says so."""
    log = Log()
    log.events[1] = [made(1, 1, 0, "message_started"), made(1, 1, 1, "message_retrying")]
    assert past(log, Store(), session(1, frozenset({1})), 1).status == "queued"


def test_redis_away_is_said_so():
    """The caller can then wait or refuse."""
    log = Log()
    log.away = True
    with pytest.raises(LiveUnavailable):
        past(log, Store(), session(1, frozenset({1})), 1)


# --- subscriptions: the rules together


class World:
    """A session, its log and its channel; one socket's subscriptions; and the client at the other end."""

    def __init__(self):
        self.log = Log()
        self.turns = 0
        self.open: set[int] = set()
        self.next: dict[int, tuple[int, int]] = {}
        self.attached = False
        self.lossy = False
        self.cut = False
        self.unsure = False
        self.inbox: deque[Live | Gap] = deque()
        self.client: dict[int, list[Event]] = {}
        self.promised: set[int] = set()
        self.above = 0
        self.connect()

    # what the subscriptions use
    socket_id = "socket"

    def attach(self, _session_id, _socket):
        self.attached = True

    def detach(self, _session_id, _socket):
        self.attached = False

    def get(self, key):
        if isinstance(key, JobId):
            log, ended = self.log.events.get(key.turn, []), key.turn not in self.open
            return stored(key.turn, Status.COMPLETED if ended else Status.QUEUED, log[-1].id if ended else None)
        self.log.before_read()
        return session(self.turns, frozenset(self.open))

    def send(self, text):
        frame = json.loads(text)
        if frame["type"] == "subscribed":
            highest = self.subscriptions._followers[frame["session_id"]].highest
            self.promised, self.above = {JobId.parse(t["job_id"]).turn for t in frame["turns"]}, highest
            return
        received = Event.decode(text)
        self.client.setdefault(received.job_id.turn, []).append(received)

    # what happens
    def connect(self):
        self.inbox.clear()
        self.attached = False
        self.subscriptions = Subscriptions(
            self, hub=self, sessions=self, replay=Replay(self.log, self), clock=CLOCK, send=self.send
        )

    def submit(self):
        self.turns += 1
        self.open.add(self.turns)
        self.next[self.turns] = (1, 0)

    def say(self, kind, turn=None):
        """The worker writes an event: to the log always, to the channel while that works."""
        turn = turn or min(self.open, default=None)
        if turn is None:
            return
        attempt, seq = self.next[turn]
        if kind == "message_delta" and seq == 0:
            kind = "message_started" if attempt == 1 else "message_reset"
        said = made(turn, attempt, seq, kind)
        self.log.events.setdefault(turn, []).append(said)
        self.next[turn] = (attempt + 1, 0) if kind == "message_retrying" else (attempt, seq + 1)
        if said.terminal:
            self.open.discard(turn)
        if self.attached and not self.cut and not self.lossy:
            self.inbox.append(Live(said))

    def subscribe(self, *, resume):
        """The client comes, for the first time or from its cursor."""
        self.connect()
        done = {n for n, events in self.client.items() if events[-1].terminal}
        wanted = sorted({*self.promised, *range(self.above + 1, self.turns + 1)} - done)
        if not resume or not wanted:
            self.client.clear()
            at = None
        else:
            seen = self.client.get(wanted[0])
            at = Resume(job_id=f"{SID}.{wanted[0]}", after=str(seen[-1].id) if seen else None)
            self.client = {n: events for n, events in self.client.items() if n <= wanted[0]}
        self.subscriptions.begin(SID, "ann", at, None)

    def step(self):
        """The worker of the socket takes one item."""
        if not self.inbox:
            return
        match self.inbox.popleft():
            case Live(event=live):
                self.subscriptions.live(live)
            case Gap():
                self.subscriptions.catch_up(SID)

    def lose(self):
        """One event goes to the log only, and nobody is told."""
        self.lossy = self.unsure = True
        self.say("message_delta")
        self.lossy = False

    def fall(self):
        self.cut = self.unsure = True

    def reconnected(self):
        self.cut = False
        if self.attached:
            self.inbox.append(Gap(SID))

    def check(self):
        """No gap, no duplicate, in order: what the client has of a turn is how its log begins."""
        for turn, events in self.client.items():
            assert ids(events) == ids(self.log.events[turn][: len(events)])


ACTS = {
    "submit": World.submit,
    "delta": lambda w: w.say("message_delta"),
    "retry": lambda w: w.say("message_retrying"),
    "end": lambda w: w.say("message_completed"),
    "cancel the last": lambda w: w.say("message_cancelled", max(w.open, default=None)),
    "step": World.step,
    "subscribe": lambda w: w.subscribe(resume=False),
    "resume": lambda w: w.subscribe(resume=True),
    "lose": lambda w: w.lose(),
    "cut": lambda w: w.fall(),
    "back": World.reconnected,
}
OFTEN = sorted(ACTS) + ["delta", "step"] * 4
MEANWHILE = ("submit", "delta", "retry", "end", "cancel the last")


@settings(max_examples=400, deadline=None)
@given(
    acts=st.lists(st.sampled_from(OFTEN), min_size=5, max_size=60),
    meanwhile=st.lists(st.lists(st.sampled_from(MEANWHILE), max_size=3), max_size=30),
)
def test_no_interleaving_makes_a_gap_or_a_duplicate(acts, meanwhile):
    """Publish, subscribe, read, disconnect, resume, messages lost with and without notice: prefix + resume == log."""
    world = World()
    pending = deque(meanwhile)

    def between_reads():
        for act in pending.popleft() if pending else ():
            ACTS[act](world)

    world.log.before_read = between_reads
    world.submit()
    world.subscribe(resume=False)
    for act in acts:
        ACTS[act](world)
        world.check()
    pending.clear()
    if world.unsure:  # else nothing was lost, and all must be there without being told to look
        world.reconnected()
    while world.inbox:
        world.step()
    world.check()
    for turn in (*world.promised, *range(world.above + 1, world.turns + 1)):
        assert ids(world.client.get(turn, [])) == ids(world.log.events.get(turn, [])), turn


def test_redis_away_in_a_gap_passes_on_nothing_until_it_was_read():
    """Rather late than wrong: the events wait in the log, and are read again a second later."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.say("message_delta")
    world.step()
    world.lossy = True
    world.say("message_delta")
    world.lossy, world.log.away = False, True
    world.say("message_delta")
    world.step()
    world.say("message_delta")
    world.step()
    assert ids(world.client[1]) == ["1-0"]
    assert world.subscriptions.retry_at == 2.0
    world.log.away = False
    world.subscriptions.retry()
    assert ids(world.client[1]) == ["1-0", "1-1", "1-2", "1-3"]


@pytest.mark.parametrize("found", [None, session(1, user="bob"), session(1, expires_at=1_000)])
def test_a_session_that_is_not_yours_is_not_there(found):
    """Unknown, another user's, and expired are told apart by nobody; nothing stays attached."""
    world = World()
    subscriptions = Subscriptions(
        world,
        hub=world,
        sessions=SimpleNamespace(get=lambda _id: found),
        replay=Replay(world.log, world),
        clock=CLOCK,
        send=world.send,
    )
    with pytest.raises(NotFound) as caught:
        subscriptions.begin(SID, "ann", None, None)
    assert caught.value.detail == "There is no such session"
    assert not world.attached
    assert SID not in subscriptions


def test_a_socket_follows_a_bounded_number_of_sessions():
    """One more is refused; the others are not disturbed."""
    world = World()
    for n in range(MAX_SUBSCRIPTIONS):
        world.subscriptions.begin(f"{n:032x}", "ann", None, None)
    with pytest.raises(RateLimited):
        world.subscriptions.begin(OTHER, "ann", None, None)
    world.subscriptions.end(f"{0:032x}")
    world.subscriptions.begin(OTHER, "ann", None, None)


def test_a_frame_goes_out_whole_or_the_connection_is_dead(monkeypatch):
    """A peer that does not read makes `send` fail, and nothing is sent after half a frame."""
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = WholeFrames(ours)
        monkeypatch.setattr("ws.wire.SEND_SECONDS", 0.05)
        with pytest.raises(TimeoutError):
            wire.send(b"x" * 50_000_000)
        with pytest.raises(BrokenPipeError):
            wire.send(b"next")
