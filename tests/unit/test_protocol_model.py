"""The product's flows under a scheduler that may do its worst: one end per turn, in order, and always a way to end."""

import secrets

import pytest

from chatapp.clock import AnchoredClock
from chatapp.flows.ending import Endings
from chatapp.model import Session
from chatapp.payloads import DELTA, RESET, RETRYING, STARTED, TERMINAL
from chatapp.stores import turns
from tests.unit.protocol.exploring import BATCH, EXAMPLES, explore, stepped  # noqa: F401  the last is a fixture
from tests.unit.protocol.laws import Violation
from tests.unit.protocol.live import Redis
from tests.unit.protocol.machine import FAILS_FAST, Protocol
from tests.unit.protocol.rest import come_to_rest
from tests.unit.protocol.table import Table
from tests.unit.protocol.world import World

REACHED = {
    *("completed by its holder", "failed by its holder", "failed by somebody else", "cancelled by its holder"),
    *("cancelled by somebody else", "Failures", "Crashes", "HandBacks", "DlqPending", "CancelRequested"),
    *("retried", "merged", "replayed", STARTED, DELTA, RETRYING, RESET, *TERMINAL),
}


@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_whatever_happens_every_turn_ends_once_and_in_order():
    """Messages lost and doubled; workers killed, held up, stopped; store, queue, Redis, model failing; clocks drifting."""
    Protocol.reached.clear()
    explore(Protocol, 500, shrink=True)
    for start in range(1_000, 3_000, 5):  # what is rare may take some more
        if Protocol.reached >= REACHED:
            break
        explore(Protocol, runs=5 * BATCH, start=start)
    assert Protocol.reached >= REACHED


def claim_twice_by_clocks_that_differ(after):
    """Have two processes claim a turn, the second `after` ms: one thinks it earlier, the other one later than it is."""
    world = World(FAILS_FAST, drifts=(60_000, -60_000))
    world.submit(0)
    world.advance(950)
    (message,) = world.queue.visible()
    world.receive(world.processes[1], message, ("model_begins", "ok"))
    world.advance(after)
    world.double(message)
    world.receive(world.processes[0], world.queue.visible()[0])
    come_to_rest(world)


def test_clocks_a_minute_apart_steal_no_lease():
    """Not even in the second that a Date header leaves open, when the lease has run out by one clock only."""
    claim_twice_by_clocks_that_differ(19_060)


def test_the_model_finds_clocks_that_are_not_corrected(monkeypatch):
    """A machine that goes by its own clock takes what another one holds."""
    monkeypatch.setattr(AnchoredClock, "anchor", lambda *_, **__: None)
    with pytest.raises(Violation, match="stolen"):
        claim_twice_by_clocks_that_differ(1_000)


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


def a_log_without_a_fence(patch):
    """Let Redis take the events of an attempt that has lost its turn."""
    patch.setattr(Redis, "append", _append_without_a_fence)


def _append_without_a_fence(redis, key, attempt, opens, pairs):
    for seq, event in pairs:
        redis.streams.setdefault(key, []).append(((attempt, seq), event))
        redis.watch(key, event)
    return "OK"


def dead_letters_that_are_forgotten(patch):
    """Let nobody see to the dead-letter queue."""
    patch.setattr(Endings, "bury", lambda *_: None)


def submits_that_do_not_know_their_own(patch):
    """Send a transaction whose answer was lost once more as if it were another one."""
    patch.setattr(Table, "transact_write_items", _without_token)


def _without_token(table, *, TransactItems, ClientRequestToken, transact=Table.transact_write_items):  # noqa: N803
    return transact(table, TransactItems=TransactItems, ClientRequestToken=secrets.token_hex(8))


BROKEN = [
    claims_behind_the_head,
    ends_that_nobody_fences,
    ends_by_others_unseen,
    a_log_without_a_fence,
    dead_letters_that_are_forgotten,
    submits_that_do_not_know_their_own,
]


NEAR = 10_380
"""Runs that find each of them soon. From elsewhere each is found as well, the rarest after a minute."""


@pytest.mark.parametrize("break_it", BROKEN)
def test_the_model_finds_a_protocol_that_is_broken(break_it, monkeypatch):
    """Each condition that guards the protocol is missed by the model when it is gone."""
    break_it(monkeypatch)
    with pytest.raises(Violation):
        explore(Protocol, runs=5_000, start=NEAR)  # it ends with the first that is found


def test_the_model_finds_that_the_relay_is_missing():
    """Without it a turn whose message is lost is never looked at again."""
    with pytest.raises(Violation, match="there is still open work"):
        explore(NoRelay, 500)
