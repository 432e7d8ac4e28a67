"""The product's flows under a scheduler that may do its worst: one end per turn, in order, and always a way to end."""

import logging
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from chatapp.flows import relay
from chatapp.model import Session, Turn
from chatapp.stores import turns
from tests.unit.protocol.actors import FATES
from tests.unit.protocol.laws import Violation
from tests.unit.protocol.world import World, make_settings
from tests.unit.protocol.wires import Message, Redis

EXAMPLES = int(os.environ.get("PROTOCOL_EXAMPLES", "250"))
"""Runs of the model. Set it to some 10,000 for a night."""

FAILS_FAST, WAITS = make_settings(), make_settings(on_breaker_open="wait")
ANY = st.integers(0, 1_000)
HOW = st.tuples(st.integers(0, 9), st.sampled_from(("ok",) * 6 + FATES))
"""How far a call goes before something else has its turn (an answer takes about nine requests), and how its last one ends."""
ON_BUSY = st.sampled_from(["enqueue", "enqueue", "merge", "interrupt", "reject"])
DRIFTS = st.sampled_from([(0, 0), (0, 0), (60_000, 0), (0, -60_000), (60_000, -60_000)])


class Protocol(RuleBasedStateMachine):
    """What may happen. Each rule picks among what there is."""

    relay = True

    def __init__(self):
        super().__init__()
        self.world = None

    @initialize(waits=st.booleans(), drifts=DRIFTS, submitted=st.integers(1, 3))
    def begin(self, waits, drifts, submitted):
        self.world = World(WAITS if waits else FAILS_FAST, drifts=drifts, relay=self.relay)
        for _ in range(submitted):
            self.world.submit(0)

    # --- what is done

    @rule(n=ANY, process=ANY, how=HOW)
    @precondition(lambda self: self.work())
    def go_on(self, n, process, how):
        """Receive a message, or go on with what was begun."""
        chosen = self.pick(self.work(), n)
        if isinstance(chosen, Message):
            self.world.receive(self.pick(self.awake(), process), chosen, how)
        else:
            self.world.run(chosen, how)

    @rule(n=ANY, process=ANY, how=HOW)
    @precondition(lambda self: self.work())
    def go_on_still(self, n, process, how):
        """The same: more is done than goes wrong."""
        self.go_on(n, process, how)

    @rule(n=ANY, what=st.sampled_from(["leases", "relay"]), how=HOW)
    @precondition(lambda self: self.awake())
    def beat(self, n, what, how):
        self.world.beat(self.pick(self.awake(), n), what, how)

    @rule(n=ANY)
    @precondition(lambda self: self.unsent())
    def flush(self, n):
        self.world.flush(self.pick(self.unsent(), n))

    @rule(session=st.integers(0, 1), on_busy=ON_BUSY, restart=st.sampled_from(["reset", "reset", "fail"]), how=HOW)
    @precondition(lambda self: len(self.world.messages) < 8)
    def submit(self, session, on_busy, restart, how):
        self.world.submit(session, on_busy, restart, how)

    @rule(n=ANY, how=HOW)
    @precondition(lambda self: self.world.job_ids() and self.within("cancel", 3))
    def cancel(self, n, how):
        self.world.cancel(self.pick(self.world.job_ids(), n), how)

    @rule(n=ANY, how=HOW)
    @precondition(lambda self: self.world.job_ids() and self.within("retry", 3))
    def retry(self, n, how):
        self.world.retry(self.pick(self.world.job_ids(), n), how)

    @rule(session=st.integers(0, 1))
    @precondition(lambda self: self.within("bury", 1))
    def bury(self, session):
        self.world.bury(session)

    @rule(ms=st.sampled_from([50, 700, 3_000, 3_000, 8_000, 8_000, 19_500, 21_000, 31_000, 62_000, 3_601_000]))
    def advance(self, ms):
        self.world.advance(ms)

    # --- what goes wrong

    @rule(n=ANY)
    @precondition(lambda self: self.world.actors)
    def kill(self, n):
        self.world.kill(self.pick(self.world.actors, n).process)

    @rule(n=ANY)
    @precondition(lambda self: self.world.actors)
    def pause(self, n):
        self.world.pause(self.pick(self.world.actors, n).process)

    @rule(n=ANY)
    @precondition(lambda self: self.answering())
    def hand_back(self, n):
        self.world.hand_back(self.pick(self.answering(), n).process)

    @rule(n=ANY, process=ANY, how=HOW)
    @precondition(lambda self: self.awake() and any(a.message for a in self.world.actors))
    def overtake(self, n, process, how):
        """Hold a call up until its lease has lapsed and its message is back, and give that to somebody."""
        self.world.advance(31_000)
        message = self.pick([a.message for a in self.world.actors if a.message], n)
        if message in self.world.queue.visible():
            self.world.receive(self.pick(self.awake(), process), message, how)

    @rule(n=ANY, lost=st.booleans())
    @precondition(lambda self: self.world.queue.messages and self.within("message", 6))
    def message_trouble(self, n, lost):
        message = self.pick(list(self.world.queue.messages.values()), n)
        if lost:
            self.world.lose(message)
        else:
            self.world.double(message)

    @rule(fate=st.sampled_from(FATES))
    def provider(self, fate):
        self.world.provider(fate)

    @rule(what=st.sampled_from(["away", "back", "restarted empty"]))
    @precondition(lambda self: self.within("redis", 3))
    def redis_trouble(self, what):
        self.world.redis_trouble(what)

    # --- what there is

    def pick(self, among, n):
        return among[n % len(among)]

    def within(self, what, times):
        """Say whether a kind of trouble may come once more in this run."""
        return self.world.troubles[what] < times

    def answering(self):
        return [a for a in self.world.actors if a.message and not a.process.paused]

    def awake(self):
        return [p for p in self.world.processes if not p.paused]

    def unsent(self):
        return [p for p in (*self.awake(), *self.world.clients) if not p.flusher.idle and not p.paused]

    def work(self):
        return [*self.world.runnable(), *(self.world.queue.visible() if self.awake() else ())]

    def teardown(self):
        if self.world is None:
            return
        try:
            if not self.world.broken:
                self.world.come_to_rest()
        finally:
            self.world.close()


class Inline:
    """An executor that does at once, in the caller, what it is given."""

    def __init__(self, _threads, thread_name_prefix):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def map(self, work, given):
        return [work(one) for one in given]


@pytest.fixture(autouse=True)
def _stepped(monkeypatch):
    """Run the relay's threads in their caller, where they can be stepped; nobody reads a million warnings of staged faults."""
    monkeypatch.setattr(relay, "ThreadPoolExecutor", Inline)
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def explore(machine, examples, **more):
    run_state_machine_as_test(
        machine,
        settings=settings(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=examples,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
            **({"phases": (Phase.generate, Phase.shrink)} | more),
        ),
    )


@pytest.mark.timeout(0)
def test_whatever_happens_every_turn_ends_once_and_in_order():
    """Messages lost and doubled, workers killed and paused, stores and queues that fail, clocks that drift."""
    explore(Protocol, EXAMPLES)


class NoRelay(Protocol):
    """A fleet without the relay."""

    relay = False


def claims_behind_the_head(patch):
    """Give the last open turn the head's right."""
    patch.setattr(Session, "head", property(lambda session: max(session.open_turns, default=None)))


def ends_that_nobody_fences(patch):
    """Let any attempt store its end, and renew its lease, whoever holds the turn by now."""
    patch.setattr(turns, "MINE", "Status = :running AND :attempt = :attempt AND :claim = :claim")


def ends_by_others_unseen(patch):
    """Let who cancels a turn end it whatever has become of it meanwhile."""
    patch.setattr(turns, "OPEN_AS_SEEN", "Status IN (:queued, :running) AND :attempt = :attempt")


def leases_that_do_not_count(patch):
    """Let a running turn be claimed whatever its lease says."""
    patch.setattr(Turn, "lease_end", 0)


def a_log_without_a_fence(patch):
    """Let Redis take the events of an attempt that has lost its turn."""
    patch.setattr(Redis, "append", _append_without_a_fence)


def _append_without_a_fence(redis, key, attempt, opens, pairs):
    for seq, event in pairs:
        redis.streams.setdefault(key, []).append(((attempt, seq), event))
        redis.watch(key, event)
    return "OK"


BROKEN = [claims_behind_the_head, ends_that_nobody_fences, ends_by_others_unseen, a_log_without_a_fence]


@pytest.mark.parametrize("break_it", BROKEN)
def test_the_model_finds_a_protocol_that_is_broken(break_it, monkeypatch):
    """Each condition that guards the protocol is missed by the model when it is gone."""
    break_it(monkeypatch)
    with pytest.raises(Violation):
        explore(Protocol, 500, phases=(Phase.generate,))


def test_the_model_finds_that_the_relay_is_missing():
    """Without it a turn whose message is lost is never looked at again."""
    with pytest.raises(Violation, match="there is still open work"):
        explore(NoRelay, 500, phases=(Phase.generate,))
