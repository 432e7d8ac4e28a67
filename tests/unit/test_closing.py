"""Why a worker stops receiving."""

import pytest

from tasks.closing import STORE_AWAY, StoreWatch
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
