"""The state machine: what may happen to effects, and how often."""

from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from chatapp.effects import EffectStatus
from tests.unit.effects_model.world import EffectsWorld, Message
from tests.unit.protocol.actors import FATES

ANY = st.integers(0, 1_000)
STOPS = (*"update_item update_item transact get_item tell call call call status send dead".split(), "", "the end", "the end")
HOW = st.tuples(st.sampled_from(STOPS), st.sampled_from(("ok",) * len(FATES) + FATES))
"""How far a call goes before something else has its turn, and the fate of the request that it stands before then.

Of a call's target: `ok` it does it; `lost` it does it, and no answer comes; `breaker` it does not, and no answer comes; `fail`
it is not reached; `conflict` it refuses; `limited` it says later.
"""
PEOPLE = st.sampled_from(("confirm", "confirm", "confirm", "cancel", "resolve", "resolve", "revive", "redrive", "redrive"))
TROUBLES = st.sampled_from(("lose", "double", "double", "target", "target", "target"))
DRIFTS = st.sampled_from([(0, 0), (0, 0), (60_000, 0), (0, -60_000), (60_000, -60_000)])


class Effects(RuleBasedStateMachine):
    """What may happen. Each rule picks among what there is."""

    relay = True
    reached: ClassVar[set[str]] = set()

    def __init__(self):
        super().__init__()
        self.world = None

    @initialize(drifts=DRIFTS, confirmed=st.integers(1, 3))
    def begin(self, drifts, confirmed):
        self.world = EffectsWorld(drifts=drifts, relay=self.relay)
        for n, action in enumerate(self.world.actions):
            if confirmed & n + 1:
                self.world.ask("confirm", action)

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

    @rule(n=ANY, process=ANY, ms=st.sampled_from([9_000, 17_000, 21_000, 31_000]), how=HOW)
    @precondition(lambda self: self.awake() and any(a.message for a in self.world.actors))
    def overtake(self, n, process, ms, how):
        """Hold a call up until its lease has lapsed, perhaps, and give its message to somebody else."""
        message = self.pick([a.message for a in self.world.actors if a.message], n)
        self.world.advance(ms)
        self.world.double(message)
        self.world.receive(self.pick(self.awake(), process), list(self.world.queue.messages.values())[-1], how)

    @rule(ms=st.sampled_from([50, 700, 3_000, 3_000, 8_000, 8_000, 11_000, 19_500, 21_000, 31_000, 62_000, 3_601_000]))
    def advance(self, ms):
        self.world.advance(ms)

    @rule(n=ANY, how=HOW)
    @precondition(lambda self: self.awake())
    def relays(self, n, how):
        """Let a process look at open work."""
        self.world.look(self.pick(self.awake(), n), how)

    @rule(what=PEOPLE, n=ANY, how=HOW)
    def people(self, what, n, how):
        """Say yes or no, or have an operator do what operators do."""
        found = self.world.effects()
        unknown = [e.id for e in found if e.status is EffectStatus.UNKNOWN]
        if what == "redrive":
            if self.world.letters.there:
                self.world.redrive(self.pick(self.world.letters.there, n))
        elif what == "resolve":
            if unknown:
                self.world.ask("resolve", self.pick(unknown, n), how)
        elif what == "revive":
            self.world.ask("revive", self.pick([e.id for e in found], n), how)
        else:
            self.world.ask(what, self.pick(self.world.actions, n), how)

    @rule(stop=st.booleans(), n=ANY)
    @precondition(lambda self: self.world.actors)
    def process_trouble(self, stop, n):
        """Stop a process in which something runs, or let it go on, or kill it."""
        process = self.pick(self.world.actors, n).process
        if stop:
            self.world.pause(process)
        else:
            self.world.kill(process)

    @rule(what=TROUBLES, n=ANY)
    def trouble(self, what, n):
        """Have the wires and the targets do what they do."""
        messages = list(self.world.queue.messages.values())
        if what == "target":
            self.world.mood = self.pick(FATES, n)
        elif messages and what == "lose":
            self.world.lose(self.pick(messages, n))
        elif messages:
            self.world.double(self.pick(messages, n))

    # --- what there is

    def pick(self, among, n):
        return among[n % len(among)]

    def awake(self):
        return [p for p in self.world.processes if not p.paused]

    def work(self):
        return [*self.world.runnable(), *(self.world.queue.visible() if self.awake() else ())]

    def teardown(self):
        if self.world is None:
            return
        try:
            if not self.world.broken:
                self.world.come_to_rest()
                Effects.reached |= self.world.laws.reached
        finally:
            self.world.close()
