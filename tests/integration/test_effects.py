"""An effect is looked at, claimed, called and ended, on the real store, queue and log, with a way out that does as it is told."""

from collections import Counter
from dataclasses import replace

import pytest

from chatapp.effects import NEVER, OUTBOUND, EffectId, EffectStatus
from chatapp.errors import ActionNotOpen, NotFound
from chatapp.flows.effect_life import EffectLimits, called
from chatapp.flows.effects import EffectRunner
from chatapp.model import JobId, new_session_id
from chatapp.ports import Called, CallOutcome
from chatapp.stores.dynamo import to_item
from chatapp.stores.effect_records import effect_key
from config.resources import EFFECTS
from tests.integration.effects_kit import owed, put, staged
from tests.integration.test_answer import events

DONE = Called(outcome=CallOutcome.DONE, result={"reference": "r-1"})
NO = Called(outcome=CallOutcome.REFUSED, error={"code": "refused", "message": "no"})
MISPLACED = replace(NO, error={"code": "no_target", "message": "there is none"}, dead_letter=True)
NOT_SENT = Called(outcome=CallOutcome.NOT_SENT, error={"code": "not_reachable", "message": "refused"})
LATER = Called(outcome=CallOutcome.RETRY_LATER, error={"code": "busy", "message": "later"}, retry_after=30)
UNKNOWN = Called(outcome=CallOutcome.UNKNOWN, error={"code": "no_answer", "message": "cut"})


class Way:
    """The port `Caller`, scripted: says what it is told to say, and counts."""

    def __init__(self):
        self.calls, self.says, self.knows = Counter(), DONE, None

    def call(self, effect):
        self.calls[effect.id] += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def status(self, effect):
        return self.knows if effect.status is EffectStatus.UNKNOWN else UNKNOWN


@pytest.fixture
def way():
    return Way()


@pytest.fixture
def later(services):
    """A clock that can be told how far it is ahead, in seconds."""

    class Later:
        ahead = 0

        def now(self):
            return services.clock.now() + self.ahead * 1000

        def monotonic(self):
            return services.clock.monotonic() + self.ahead

        def sleep(self, seconds):
            services.clock.sleep(seconds)

    return Later()


@pytest.fixture
def run(services, way, later):
    """Look at an effect, as a worker that received its message."""
    limits = EffectLimits(lease_seconds=20, call_seconds=10, max_attempts=3, retry_seconds=2)
    services.outcomes._clock = later
    return EffectRunner(effects=services.effects, caller=way, outcomes=services.outcomes, clock=later, limits=limits)


def stands(services, effect):
    return services.effects.get(effect.id)


def told(services, effect):
    """What followers of the session were told: (type, status) each."""
    return [(e["type"], e["status"]) for e in events(services, JobId(effect.id.session_id, 0))]


def dead(services):
    """Take what is in the dead-letter queue of effects: {effect id: reason}."""
    with services.dead_letters.hold(EFFECTS.name) as hold:
        letters = list(hold)
        for letter in letters:
            hold.delete(letter)
    return {letter.effect_id: letter.reason for letter in letters}


def test_a_confirmed_action_is_called_once_however_often_its_message_comes(services, run, way):
    """Its result is stored, its session is told, nothing is left open."""
    action = staged(services)
    assert [run(action.id) for _ in range(3)] == [None] * 3
    ended = stands(services, action)
    assert (ended.status, ended.result, ended.attempts) == (EffectStatus.EXECUTED, {"reference": "r-1"}, 1)
    assert (ended.wake_at, way.calls[action.id]) == (None, 1)
    assert told(services, action) == [("action_updated", "executing"), ("action_executed", "executed")]


@pytest.mark.parametrize("state", ["staged", "cancelled", "expired"])
def test_what_nobody_has_confirmed_is_never_called(services, run, way, state):
    """Whatever message there is."""
    fields = {"expires_at": services.clock.now() - 1} if state == "expired" else {}
    action = staged(services, confirmed=False, **fields)
    if state == "cancelled":
        services.effects.cancel(action.id)
    assert run(action.id) is None
    assert not way.calls


def test_a_refusal_is_final(services, run, way):
    """It is not called again, and no operator can mend it."""
    way.says = NO
    action = staged(services)
    assert run(action.id) is None
    assert (stands(services, action).status, stands(services, action).error["code"]) == (EffectStatus.FAILED, "refused")
    assert action.id not in dead(services)


def test_an_action_without_a_target_goes_to_the_dead_letters_and_can_be_tried_anew(services, run, way):
    """Once ACTION_URLS is right: it certainly was not carried out."""
    way.says = MISPLACED
    action = staged(services)
    run(action.id)
    assert dead(services)[action.id] == "no_target"
    assert (stands(services, action).wake_at, stands(services, action).dlq_pending) == (None, False)
    way.says = DONE
    assert services.resolving.revive(action.id)
    assert not services.resolving.revive(action.id)
    run(action.id)
    assert (stands(services, action).status, stands(services, action).attempts) == (EffectStatus.EXECUTED, 1)


@pytest.mark.parametrize(("says", "seconds"), [(NOT_SENT, 2), (LATER, 30)])
def test_what_certainly_was_not_done_is_tried_again_later_and_not_for_ever(services, run, way, *, later, says, seconds):
    """With growing pauses, at least as long as the target asks for; then it is an operator's."""
    way.says = says
    action = staged(services)
    hidden = run(action.id)
    assert seconds - 1 < hidden.seconds <= seconds * 1.25
    assert run(action.id).seconds > 0  # a second message waits as well
    assert way.calls[action.id] == 1
    later.ahead += 40
    assert run(action.id).seconds > 3
    later.ahead += 40
    assert run(action.id) is None
    assert (stands(services, action).status, way.calls[action.id]) == (EffectStatus.FAILED, 3)
    assert dead(services)[action.id] == says.error["code"]


@pytest.mark.parametrize("says", [UNKNOWN, RuntimeError("a fault of ours")])
def test_an_action_without_a_readable_answer_is_unknown_and_never_called_again(services, run, way, later, says):
    """It stays until somebody knows, and has no end of life."""
    way.says = says
    action = staged(services)
    run(action.id)
    later.ahead += 3_600
    run(action.id)  # asked about: this target cannot be asked
    assert (stands(services, action).status, way.calls[action.id]) == (EffectStatus.UNKNOWN, 1)
    assert stands(services, action).wake_at == NEVER
    assert action.id in services.effects.all_open()
    item = services.dynamodb.get_item(
        TableName=services.settings.table_name("pending-actions"),
        Key=to_item(effect_key(action.id)),
    )["Item"]
    assert "ExpiresAt" not in item


def crashed(services, effect, seconds=20):
    """Claim an effect as a worker that dies right after."""
    now = services.clock.now()
    claimed, effect = services.effects.claim(effect.id, claim_id="dead", now=now, lease_end=now + seconds * 1000)
    assert claimed
    return effect


def test_an_action_whose_caller_has_died_is_unknown_once_its_lease_has_lapsed(services, run, way, later):
    """Not before, and it is called by nobody."""
    action = crashed(services, staged(services))
    assert run(action.id) is None
    assert stands(services, action).status is EffectStatus.EXECUTING
    later.ahead += 21
    run(action.id)
    assert (stands(services, action).status, way.calls[action.id]) == (EffectStatus.UNKNOWN, 0)
    assert told(services, action)[-1] == ("action_updated", "unknown")


@pytest.mark.parametrize(
    ("knows", "status", "code"),
    [
        (DONE, EffectStatus.EXECUTED, None),
        (NO, EffectStatus.FAILED, "refused"),
        (NOT_SENT, EffectStatus.FAILED, "not_executed"),
        (LATER, EffectStatus.UNKNOWN, "outcome_unknown"),
        (UNKNOWN, EffectStatus.UNKNOWN, "outcome_unknown"),
    ],
)
def test_an_unknown_action_is_what_its_target_says_it_is(services, run, way, *, later, knows, status, code):
    """Or it stays unknown, and is asked about again, later."""
    action = crashed(services, staged(services))
    later.ahead += 21
    run(action.id)
    way.knows = knows
    run(action.id)
    assert stands(services, action).asks == 0  # it is not asked about at once
    later.ahead += 3
    run(action.id)
    now = stands(services, action)
    assert (now.status, now.error and now.error["code"], way.calls[action.id]) == (status, code, 0)
    assert (now.wake_at is not None) == (status is EffectStatus.UNKNOWN)
    assert now.asks == (status is EffectStatus.UNKNOWN)
    assert not services.resolving.revive(action.id)


def test_who_comes_back_late_and_knows_is_believed(services, run, way, later):
    """Its lease lapsed in mid-call, the action was taken for unknown, then the answer came after all."""
    action = staged(services)

    def call(effect):
        way.calls[effect.id] += 1
        later.ahead += 21
        run(effect.id)  # another worker
        assert stands(services, effect).status is EffectStatus.UNKNOWN
        return DONE

    way.call = call
    run(action.id)
    assert (stands(services, action).status, way.calls[action.id]) == (EffectStatus.EXECUTED, 1)
    assert [status for _, status in told(services, action)] == ["executing", "unknown", "executed"]


def test_a_worker_that_was_held_up_after_its_claim_does_not_begin_the_call(services, run, way, later):
    """The lease might not outlive it. What was not begun is tried again, unless it was taken for unknown meanwhile."""
    first, second = staged(services), staged(services)
    tell = services.outcomes.tell

    def slow(effect):
        services.outcomes.tell = tell
        later.ahead += 9
        tell(effect)

    services.outcomes.tell = slow
    assert run(first.id).seconds > 0
    assert stands(services, first).status is EffectStatus.CONFIRMED

    def stopped(effect):
        services.outcomes.tell = tell
        later.ahead += 30
        run(effect.id)

    services.outcomes.tell = stopped
    assert run(second.id) is None
    assert (stands(services, second).status, stands(services, second).error["code"]) == (EffectStatus.FAILED, "not_executed")
    assert not way.calls
    assert not services.resolving.revive(second.id)


def test_a_delivery_is_tried_again_whatever_became_of_a_try_and_then_dead_lettered(services, run, way, later):
    """The receiver knows repeats by their id. Redriven it begins anew."""
    way.says = UNKNOWN
    delivery = owed(services, "http://127.0.0.1:1/")
    for _ in range(2):
        assert run(delivery.id).seconds > 1
        later.ahead += 60
    assert run(delivery.id) is None
    assert (way.calls[delivery.id], stands(services, delivery).status) == (3, EffectStatus.FAILED)
    assert dead(services) == {delivery.id: "no_answer"}
    way.says = DONE
    assert services.resolving.revive(delivery.id)
    assert run(delivery.id) is None
    assert stands(services, delivery).status is EffectStatus.EXECUTED


def test_a_delivery_whose_sender_died_is_sent_again_and_not_for_ever(services, run, way, later):
    """A lapsed lease counts as a try."""
    delivery = owed(services, "http://127.0.0.1:1/")
    crashed(services, delivery)
    later.ahead += 21
    run(delivery.id)
    assert (way.calls[delivery.id], stands(services, delivery).attempts) == (1, 2)
    other = owed(services, "http://127.0.0.1:1/", attempts=2)
    crashed(services, other, seconds=-1)
    run(other.id)
    assert (stands(services, other).error["code"], way.calls[other.id]) == ("crashed", 0)
    assert dead(services) == {other.id: "crashed"}


def test_the_outcome_of_a_webhooks_action_is_owed_to_it_each_time_it_changes(services, run, way, later):
    """Stored with the outcome, sent at once; an unknown one that is resolved is told again, under a new id."""
    way.says = UNKNOWN
    action = staged(services, reply=True)
    run(action.id)
    first = services.effects.get(action.id.outcome())
    assert (first.target, first.payload) == (OUTBOUND, {"action_id": action.id.id, "status": "unknown"})
    services.resolving.resolve(action.id, executed=True, note="seen in their books")
    second = services.effects.get(EffectId(action.id.session_id, f"d-{action.id.id}-2"))
    assert second.payload["status"] == "executed"
    assert stands(services, action).result == {"note": "seen in their books"}
    assert told(services, action)[-1] == ("action_executed", "executed")


def test_only_an_unknown_action_is_resolved_by_hand(services, run):
    """And only once."""
    action = crashed(services, staged(services), seconds=-1)
    with pytest.raises(ActionNotOpen):
        services.resolving.resolve(action.id, executed=False)
    run(action.id)
    assert services.resolving.resolve(action.id, executed=False).error["code"] == "not_executed"
    with pytest.raises(ActionNotOpen):
        services.resolving.resolve(action.id, executed=True)
    with pytest.raises(NotFound):
        services.resolving.resolve(EffectId.action(new_session_id(), 1, 0), executed=True)


def test_a_message_that_names_no_effect_is_nothing_to_work_on(run):
    """The task makes poison of it."""
    with pytest.raises(NotFound):
        run(EffectId.action(new_session_id(), 1, 0))


def test_writes_whose_answer_was_lost_are_recognised(services):
    """A claim by its claim, an end by its mark: each sent twice is done once, also with a delivery owed."""
    action = staged(services, reply=True)
    now = services.clock.now()
    claims = [services.effects.claim(action.id, claim_id="mine", now=now, lease_end=now + 1_000) for _ in range(2)]
    assert [claimed for claimed, _ in claims] == [True, True]
    assert claims[1][1].attempts == 1
    _, other = services.effects.claim(action.id, claim_id="other", now=now, lease_end=now + 1_000)
    assert other.claim_id == "mine"
    limits = EffectLimits(lease_seconds=20, call_seconds=10, max_attempts=3, retry_seconds=2)
    move = called(claims[0][1], DONE, limits, by="m", now=now)
    assert [services.effects.move(claims[0][1], move)[0] for _ in range(2)] == [True, True]
    assert services.effects.move(claims[0][1], replace(move, by="x"))[0] is False


def test_the_newest_actions_are_found_however_many_there_are(services):
    """DynamoDB reads 1 MB at a time, in the order of names: `a10-0` comes before `a2-0`."""
    session_id, expires_at = new_session_id(), services.clock.now() + 3_600_000
    for turn in (1, 2, 10, 3, 4):
        action = EffectId.action(session_id, turn, 0)
        put(services, id=action, name="book", status=EffectStatus.STAGED, expires_at=expires_at, payload={"text": "x" * 300_000})
    assert [action.id.id for action in services.effects.actions(session_id, limit=3)] == ["a4-0", "a3-0", "a10-0"]
