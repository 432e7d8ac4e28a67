"""The state machine: what may happen to the world, and how often."""

from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from chatapp.model import Status
from tests.unit.protocol.actors import FATES
from tests.unit.protocol.rest import come_to_rest
from tests.unit.protocol.wires import Message
from tests.unit.protocol.world import World, make_settings

FAILS_FAST, WAITS = make_settings(), make_settings(on_breaker_open="wait")
ANY = st.integers(0, 1_000)
STOPS = (*"transact transact update_item get_item model_begins model_ends model_ends flush send".split(), "", "the end")
HOW = st.tuples(st.sampled_from(STOPS), st.sampled_from(("ok",) * len(FATES) + FATES))
"""How far a call goes before something else has its turn, and the fate of the request that it stands before then."""
ON_BUSY = ("enqueue", "merge", "interrupt", "reject")
CLIENTS = st.sampled_from((*ON_BUSY, "enqueue", "again", "cancel", "cancel", "cancel", "retry", "delete"))
REDIS = ("away", "back", "restarted empty")
TROUBLES = st.sampled_from((*REDIS, "restarted empty", "lose", "lose", "double", "double", "model", "model"))
DRIFTS = st.sampled_from([(0, 0), (0, 0), (60_000, 0), (0, -60_000), (60_000, -60_000)])


class Protocol(RuleBasedStateMachine):
    """What may happen. Each rule picks among what there is."""

    relay = True
    reached: ClassVar[set[str]] = set()

    def __init__(self):
        super().__init__()
        self.world = None

    @initialize(waits=st.booleans(), drifts=DRIFTS, submitted=st.integers(1, 3))
    def begin(self, waits, drifts, submitted):
        self.world = World(WAITS if waits else FAILS_FAST, drifts=drifts, relay=self.relay)
        for _ in range(submitted):
            self.world.submit(0)

    @rule(n=ANY, process=ANY, how=HOW)
    @precondition(lambda self: self.work())
    def go_on(self, n, process, how):
        """Receive a message, or go on with what was begun."""
        chosen = self.pick(self.work(), n)
        if isinstance(chosen, Message):
            self.world.receive(self.pick(self.awake(), process), chosen, how)
        else:
            self.world.step(chosen)
            self.world.run(chosen, how)

    @rule(n=ANY, process=ANY, how=HOW)
    @precondition(lambda self: self.work())
    def go_on_still(self, n, process, how):
        """The same: more is done than goes wrong."""
        self.go_on(n, process, how)

    @rule(what=CLIENTS, session=st.integers(0, 1), n=ANY, process=ANY, how=HOW)
    @precondition(lambda self: self.work())
    def cross(self, what, session, n, process, how):
        """Let something else happen between what a client's call has read and what it writes."""
        before = len(self.world.actors)
        self.client(what, session, n, ("transact", "ok"))
        self.go_on(n, process, how)
        for actor in self.world.actors[before:]:
            self.world.run(actor)

    @rule(n=ANY, process=ANY, how=HOW)
    @precondition(lambda self: self.awake() and any(a.message for a in self.world.actors))
    def overtake(self, n, process, how):
        """Hold a call up until its lease has lapsed and its message is back, and give that to somebody."""
        self.world.advance(31_000)
        message = self.pick([a.message for a in self.world.actors if a.message], n)
        if message in self.world.queue.visible():
            self.world.receive(self.pick(self.awake(), process), message, how)

    @rule(ms=st.sampled_from([50, 700, 3_000, 3_000, 8_000, 8_000, 19_500, 21_000, 31_000, 62_000, 3_601_000]))
    @precondition(lambda self: self.busy())
    def advance(self, ms):
        self.world.advance(ms)

    @rule(what=st.sampled_from(["leases", "relay", "relay", "flush"]), n=ANY, how=HOW)
    @precondition(lambda self: self.busy() and self.awake())
    def background(self, what, n, how):
        """Let a process do what it does beside its turns."""
        process = self.pick(self.awake(), n)
        if what == "flush":
            self.world.flush(process)
        else:
            self.world.beat(process, what, how)

    @rule(what=CLIENTS, session=st.integers(0, 1), n=ANY, how=HOW)
    def client(self, what, session, n, how):
        """Post a message, or ask something of a turn that was posted before."""
        jobs, again = self.world.job_ids(), self.world.repeatable
        what = what if self.busy() else "enqueue"
        running = [t.job_id for t in self.world.all_turns() if t.status is Status.RUNNING]
        if what == "cancel" and jobs:
            self.world.cancel(self.pick(running if running and n % 2 else jobs, n), how)
        elif what == "retry" and jobs:
            self.world.retry(self.pick(jobs, n), how)
        elif what == "again" and again:
            self.world.submit_again(self.pick(again, n), how)
        elif what == "delete":
            self.world.bury(session, how)
        elif what in ON_BUSY and len(self.world.messages) < 12:
            self.world.submit(session, what, "fail" if n % 4 == 0 else "reset", how)

    @rule(stop=st.booleans(), n=ANY)
    @precondition(lambda self: self.world.actors)
    def process_trouble(self, stop, n):
        """Stop a process in which something runs, or let it go on, or kill it."""
        process = self.pick(self.world.actors, n).process
        if stop:
            self.world.pause(process)
        else:
            self.world.kill(process)

    @rule(n=ANY)
    @precondition(lambda self: self.listening())
    def hand_back(self, n):
        """Tell a process to stop that waits for the model."""
        self.world.hand_back(self.pick(self.listening(), n).process)

    @rule(what=TROUBLES, n=ANY)
    @precondition(lambda self: self.busy())
    def trouble(self, what, n):
        """Have the wires do what wires do."""
        messages = list(self.world.queue.messages.values())
        if what == "lose" and messages:
            self.world.lose(self.pick(messages, n))
        elif what == "double" and messages:
            self.world.double(self.pick(messages, n))
        elif what == "model":
            self.world.provider(self.pick(FATES, n))
        elif what in REDIS:
            self.world.redis_trouble(what)

    # --- what there is

    def pick(self, among, n):
        return among[n % len(among)]

    def listening(self):
        return [a for a in self.world.actors if a.waits_for.startswith("model") and not a.process.paused]

    def busy(self):
        return self.world.actors or self.world.queue.messages

    def awake(self):
        return [p for p in self.world.processes if not p.paused]

    def work(self):
        return [*self.world.runnable(), *(self.world.queue.visible() if self.awake() else ())]

    def teardown(self):
        if self.world is None:
            return
        try:
            if not self.world.broken:
                come_to_rest(self.world)
                Protocol.reached |= self.world.laws.reached
        finally:
            self.world.close()
