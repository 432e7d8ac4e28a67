"""Why a worker stops receiving."""

import pytest

from tasks.closing import PAUSED, STORE_AWAY, PauseWatch, StoreWatch
from tasks.gate import Gate


@pytest.mark.parametrize("answers", [True, False])
def test_one_item_that_is_contended_is_not_an_outage(answers):
    """DynamoDB is asked itself before nothing is received any more."""
    gate = Gate()
    StoreWatch(lambda: answers, gate).away()
    assert gate.is_open is answers


def test_the_gate_opens_when_dynamodb_is_back():
    """And not before."""
    gate, answers = Gate(), [False, False, True]
    watch = StoreWatch(lambda: answers.pop(0), gate)
    watch.away()
    watch.look()
    assert gate.reasons == {STORE_AWAY}
    watch.look()
    assert gate.is_open


def test_a_worker_stops_for_the_pause_of_its_own_queue_only():
    """And knows of the others', whose relay it runs."""

    class Pauses:
        on = frozenset({"chat"})

        def paused(self, queue):
            return 1 if queue in self.on else None

    gate, pauses = Gate(), Pauses()
    watch = PauseWatch(pauses, gate, ["chat", "effects"])
    watch.own = "effects"
    watch.look()
    assert (gate.is_open, watch.is_paused("chat"), watch.is_paused("effects")) == (True, True, False)
    pauses.on = frozenset({"effects"})
    watch.look()
    assert (gate.reasons, watch.is_paused("chat")) == ({PAUSED}, False)
    pauses.on = frozenset()
    watch.look()
    assert gate.is_open
