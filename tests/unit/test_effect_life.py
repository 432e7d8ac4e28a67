"""The life of effects under every interruption: workers die or sleep anywhere, messages come twice, answers are lost.

The real use cases run on a store, a queue and a target in memory. Wherever they touch one of these, anything may happen first.
"""

from collections import Counter, deque
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chatapp.effects import NEVER, Effect, EffectId, EffectStatus, Kind
from chatapp.errors import NotFound, QueueUnavailable, StoreUnavailable
from chatapp.flows.effect_life import MAX_ASKS, EffectLimits, asked, called, pause
from chatapp.flows.effect_relay import EffectRelay
from chatapp.flows.effects import EffectRunner
from chatapp.flows.outcomes import Outcomes, moved
from chatapp.flows.resolving import Resolving
from chatapp.ports import Called, CallOutcome
from tests.fakes import FakeClock

SESSION = "0" * 32
ACTION, REPLIED, DELIVERY = EffectId.action(SESSION, 1, 0), EffectId.action(SESSION, 2, 0), EffectId.reply(SESSION, 3)
LIMITS = EffectLimits(lease_seconds=20, call_seconds=10, max_attempts=3, retry_seconds=2)
OPEN = (EffectStatus.CONFIRMED, EffectStatus.EXECUTING)


class Died(BaseException):
    """The process ends at this instruction."""


class World:
    """Store, queue, target and the rest, in one. `fate` is what happens next wherever somebody touches any of it."""

    def __init__(self):
        self.clock = FakeClock()
        self.fate, self.depth = deque(), 0
        self.effects, self.queue, self.dead, self.sent_dead = {}, deque(), [], Counter()
        self.outcome, self.acts_anyway, self.knows = CallOutcome.DONE, True, True
        self.begun_late = False
        self.acts, self.by_hand, self.were_unknown = Counter(), set(), set()
        parts = {"effects": self, "wakeups": self, "clock": self.clock}
        self.outcomes = Outcomes(**parts, events=self, dead_letters=self)
        self.runner = EffectRunner(effects=self, caller=self, outcomes=self.outcomes, clock=self.clock, limits=LIMITS)
        self.resolving = Resolving(**parts, outcomes=self.outcomes)
        for effect_id in (ACTION, REPLIED, DELIVERY):
            now = self.clock.now()
            self.effects[effect_id] = Effect(
                id=effect_id,
                user_id="u",
                name="n",
                status=EffectStatus.CONFIRMED,
                created_at=now,
                expires_at=now,
                due=now,
                wake_at=now + 10_000,
                reply=effect_id == REPLIED,
            )

    # --- what happens in between

    def happens(self, *, lost=False):
        """Let the next thing happen. `lost`: after a write, whose answer may be lost."""
        what = self.fate.popleft() if self.fate else "nothing"
        if what == "dies":
            raise Died
        if what == "lost" and lost:
            raise StoreUnavailable("the answer was lost")
        if what == "sleeps" and self.depth < 2:
            self.clock.sleep(30)
            self.another()
        if what == "overtaken" and self.depth < 2:
            self.another()

    def another(self):
        """Let another process look at everything meanwhile."""
        self.depth += 1
        for effect_id in list(self.effects):
            self.receive(effect_id)
        self.depth -= 1

    def receive(self, effect_id):
        """Let a worker have a message; one that is not acked comes again."""
        try:
            later = self.runner(effect_id)
        except (Died, StoreUnavailable):
            later = True
        if later:
            self.queue.append(effect_id)

    # --- the store

    def get(self, effect_id):
        return self.effects.get(effect_id)

    def claim(self, effect_id, *, claim_id, now, lease_end, lapsed=None):
        self.happens()
        effect = self.effects[effect_id]
        if lapsed is None:
            free = effect.status is EffectStatus.CONFIRMED and effect.due <= now
        else:
            free = (effect.status, effect.claim_id) == (EffectStatus.EXECUTING, lapsed.claim_id)
        if not free:
            return False, effect
        self.effects[effect_id] = effect = replace(
            effect,
            status=EffectStatus.EXECUTING,
            claim_id=claim_id,
            lease_end=lease_end,
            wake_at=lease_end,
            attempts=effect.attempts + 1,
        )
        self.happens(lost=True)
        return True, effect

    def move(self, effect, move):
        self.happens()
        stands = self.effects[effect.id]
        if (stands.status, stands.claim_id) != (effect.status, effect.claim_id):
            return stands.moved_by == move.by, stands
        self.effects[effect.id] = moved(stands, move)
        if move.status is EffectStatus.UNKNOWN:
            self.were_unknown.add(effect.id)
        if move.owed is not None:
            assert move.owed.id not in self.effects
            self.effects[move.owed.id] = move.owed
        self.happens(lost=True)
        return True, self.effects[effect.id]

    def buried(self, effect_id):
        self.happens()
        if self.effects[effect_id].dlq_pending:
            self.effects[effect_id] = replace(self.effects[effect_id], dlq_pending=False, wake_at=None)

    def open_work(self, shard, *, now, limit):
        found = [(e.id, e.wake_at) for e in self.effects.values() if e.wake_at is not None and e.wake_at <= now]
        return found[:limit] if shard == 0 else []

    def postpone(self, effect_id, *, seen, wake_at):
        effect = self.effects[effect_id]
        if effect.wake_at != seen:
            return None
        self.effects[effect_id] = replace(effect, wake_at=wake_at)
        return self.effects[effect_id]

    def acquire(self, _resource, _owner):
        return 1

    # --- queue, events, dead letters

    def send_effect(self, effect_id, *, user_id):
        assert user_id == "u"
        self.send_effects([self.effects[effect_id]])

    def send_effects(self, effects):
        if self.fate and self.fate[0] == "lost":
            self.fate.popleft()
            raise QueueUnavailable
        self.queue.extend(e.id for e in effects)

    def put_effect(self, effect):
        if self.fate and self.fate[0] == "lost":
            self.fate.popleft()
            raise QueueUnavailable
        self.dead.append(effect.id)

    def tell(self, *_args, **_fields):
        self.happens()

    # --- the target

    def call(self, effect):
        self.begun_late |= effect.lease_end - self.clock.now() < LIMITS.call_seconds * 1000
        self.happens()
        outcome, acts = self.outcome, self.acts_anyway
        if outcome is CallOutcome.DONE or (outcome is CallOutcome.UNKNOWN and acts):
            self.acts[effect.id] += 1
        self.happens()
        return Called(outcome=outcome, error={"code": "c", "message": "m"}, dead_letter=True)

    def status(self, effect):
        self.happens()
        if not self.knows:
            return None
        return Called(outcome=CallOutcome.DONE if self.acts[effect.id] else CallOutcome.NOT_SENT)


WHAT = st.sampled_from(["dies", "lost", "sleeps", "overtaken"])
HAPPENS = st.builds(lambda quiet, what: ["nothing"] * quiet + [what], st.integers(0, 8), WHAT)
FATES = st.lists(HAPPENS, max_size=3).map(lambda parts: [what for part in parts for what in part])
"""What happens at the next places, one after the other."""


class Lives(RuleBasedStateMachine):
    """Everything that can be done to three effects, in any order."""

    @initialize()
    def begin(self):
        """Make a world in which everything is confirmed, and no message was sent."""
        self.world = World()

    @rule(fate=FATES, effect_id=st.sampled_from([ACTION, REPLIED, DELIVERY]), copies=st.integers(1, 3))
    def message(self, fate, effect_id, copies):
        """A message comes, perhaps several times."""
        self.world.fate = deque(fate)
        for _ in range(copies):
            self.world.receive(effect_id)

    @rule(fate=FATES)
    def queue(self, fate):
        """What waits in the queue comes."""
        self.world.fate = deque(fate)
        for _ in range(len(self.world.queue)):
            self.world.receive(self.world.queue.popleft())

    @rule(seconds=st.sampled_from([1, 3, 11, 21, 61, 901]))
    def time(self, seconds):
        """Time passes."""
        self.world.clock.sleep(seconds)

    @rule(outcome=st.sampled_from(list(CallOutcome)), acts=st.booleans(), knows=st.booleans())
    def target(self, outcome, acts, knows):
        """The target changes its ways."""
        self.world.outcome, self.world.acts_anyway, self.world.knows = outcome, acts, knows

    @rule(fate=FATES)
    def relay(self, fate):
        """A relay makes a pass."""
        self.world.fate = deque(fate)
        self._look()

    def _look(self):
        world = self.world
        relay = EffectRelay(effects=world, outcomes=world.outcomes, wakeups=world, locks=world, clock=world.clock, owner="r")
        with suppress(Died, StoreUnavailable):
            for effect_id, wake_at in world.open_work(0, now=world.clock.now(), limit=9):
                relay._chunk([[(effect_id, wake_at)]], _Stop(), waking=True)

    @rule(effect_id=st.sampled_from([ACTION, REPLIED]), executed=st.booleans())
    def by_hand(self, effect_id, executed):
        """An operator looks what became of an unknown action, and says so."""
        if self.world.effects[effect_id].status is EffectStatus.UNKNOWN:
            self.world.fate.clear()
            self.world.resolving.resolve(effect_id, executed=executed)
            self.world.by_hand.add(effect_id)

    @rule(fate=FATES, effect_id=st.sampled_from([ACTION, REPLIED, DELIVERY]))
    def redrive(self, fate, effect_id):
        """An operator has it tried anew."""
        self.world.fate = deque(fate)
        with suppress(Died, StoreUnavailable):
            self.world.resolving.revive(effect_id)

    @invariant()
    def once(self):
        """No action is carried out twice, what is said of it is so, and no call begins that could outlive its lease."""
        assert not self.world.begun_late
        for effect in self.world.effects.values():
            acts = self.world.acts[effect.id]
            if effect.id.kind is Kind.ACTION:
                assert acts <= 1
                if effect.untouched:
                    assert acts == 0
                if effect.id in self.world.were_unknown:
                    assert effect.status not in OPEN
                if effect.status is EffectStatus.EXECUTED and effect.id not in self.world.by_hand:
                    assert acts == 1
            else:
                assert effect.status is not EffectStatus.UNKNOWN
                if effect.status is EffectStatus.EXECUTED:
                    assert acts >= 1
            if effect.status in OPEN:
                assert effect.wake_at is not None

    def teardown(self):
        """When nothing fails any more, everything comes to an end, or is unknown where nobody can be asked."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.fate.clear()
        for _ in range(60):
            world.clock.sleep(61)
            self._look()
            for _ in range(len(world.queue)):
                world.receive(world.queue.popleft())
        for effect in world.effects.values():
            assert effect.status.final, effect
            assert not effect.dlq_pending
            assert effect.wake_at in (None, NEVER) or effect.status is EffectStatus.UNKNOWN
        self.once()


class _Stop:
    """An event that nobody else waits for."""

    def __init__(self):
        self.stopped = False

    def is_set(self):
        return self.stopped

    def set(self):
        self.stopped = True


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=200, stateful_step_count=25)


def test_questions_about_an_unknown_action_come_to_an_end():
    """After a while it is left to people, and stays where they find it."""
    effect = replace(World().effects[ACTION], status=EffectStatus.UNKNOWN, error={"code": "outcome_unknown"}, ended_at=1)
    asks = 0
    while effect.due != NEVER:
        move = asked(effect, Called(outcome=CallOutcome.UNKNOWN), LIMITS, by="x", now=0)
        effect, asks = moved(effect, move), asks + 1
        assert (effect.status, effect.error["code"], effect.ended_at) == (EffectStatus.UNKNOWN, "outcome_unknown", 1)
    assert asks == MAX_ASKS


@pytest.mark.parametrize(
    ("number", "least", "seconds"), [(1, None, 2), (2, None, 4), (3, 30, 30), (60, None, 900), (1, 9_999, 900)]
)
def test_pauses_double_and_have_a_limit(number, least, seconds):
    """A target's own word counts, within reason."""
    assert pause(number, LIMITS, least=least) == seconds


def test_what_failed_together_is_not_tried_again_together():
    """Each effect waits as long as it should and up to a quarter more, and the quarter is its own."""
    effect = replace(World().effects[ACTION], status=EffectStatus.EXECUTING, attempts=1)
    effects = [replace(effect, id=EffectId.action(f"{number:032x}", 1, 0)) for number in range(100)]
    dues = [called(each, Called(outcome=CallOutcome.NOT_SENT), LIMITS, by="x", now=0).due for each in effects]
    assert all(2_000 <= due <= 2_500 for due in dues)
    assert max(dues) - min(dues) > 300
    assert [called(each, Called(outcome=CallOutcome.NOT_SENT), LIMITS, by="x", now=0).due for each in effects] == dues


def test_an_effect_that_nobody_knows_is_none():
    """The caller makes poison of it."""
    world = World()
    world.effects.clear()
    with pytest.raises(NotFound):
        world.resolving.revive(ACTION)
