"""The relay wakes what nobody attends to, and only that."""

import pytest

from chatapp.flows.relay import Relay
from chatapp.model import Status
from tests.integration.test_answer import sent


@pytest.fixture
def relay(services):
    """Make a relay that always has the lock, and looks as if `ahead` milliseconds had passed."""

    class Later:
        def __init__(self, ahead):
            self.ahead = ahead

        def now(self):
            return services.clock.now() + self.ahead

        def monotonic(self):
            return services.clock.monotonic()

    class Lock:
        def acquire(self, _resource, _owner):
            return 1

    def relay(ahead=0):
        return Relay(
            turns=services.turns,
            sessions=services.sessions,
            endings=services.endings,
            cancel=services.cancel,
            wakeups=services.wakeups,
            locks=Lock(),
            clock=Later(ahead),
            owner="test",
            queue_seconds=services.settings.queue_deadline_seconds,
        )

    sent(services)
    return relay


def test_a_new_turn_is_left_to_its_own_message(relay, submit, services):
    """Nothing is sent before its time."""
    submit()
    sent(services)
    relay().look()
    assert sent(services) == []


def test_an_unattended_turn_is_woken_once_in_a_while(relay, submit, services):
    """One message, and no other within the next half minute."""
    job_id = submit().job_id
    sent(services)
    late = relay(21_000)
    late.look()
    late.look()
    assert sent(services).count(str(job_id)) == 1


def test_only_the_head_is_woken(relay, submit, services):
    """The others wait for it, and are not looked at again at once."""
    first = submit().job_id
    others = [submit(session_id=first.session_id).job_id for _ in range(5)]
    sent(services)
    relay(21_000).look()
    woken = sent(services)
    assert str(first) in woken
    assert not {str(o) for o in others} & set(woken)
    assert all(services.turns.get(o).wake_at > services.clock.now() + 21_000 for o in others)


def test_a_lapsed_lease_is_found_at_the_next_pass(relay, submit, services):
    """The look of a running turn is its lease's end."""
    job_id = submit().job_id
    now = services.clock.now()
    services.turns.claim(job_id, claim_id="dead", now=now, lease_end=now + 20_000)
    sent(services)
    relay(5_000).look()
    assert str(job_id) not in sent(services)
    relay(20_500).look()
    assert str(job_id) in sent(services)


def test_a_cancel_that_nobody_carried_out_is_carried_out(relay, submit, services):
    """The relay ends the turn itself."""
    job_id = submit().job_id
    services.turns.request_cancel(job_id)
    relay(21_000).look()
    assert services.turns.get(job_id).status is Status.CANCELLED


def test_turns_that_waited_too_long_are_ended_wherever_they_stand(relay, submit, services):
    """Also behind a head that still runs: nobody else looks at them."""
    first = submit().job_id
    second = submit(session_id=first.session_id).job_id
    now = services.clock.now()
    services.turns.claim(first, claim_id="alive", now=now, lease_end=now + 10_000_000)
    relay(3_700_000).look()
    assert services.turns.get(first).status is Status.RUNNING
    assert services.turns.get(second).error["code"] == "expired"


def test_one_process_of_the_fleet_looks(services):
    """The lock is a lease: its holder renews it, another must wait, and the token rises."""
    first = services.locks.acquire("test", "a")
    assert services.locks.acquire("test", "b") is None
    assert services.locks.acquire("test", "a") == first + 1


def test_an_interrupt_that_nobody_carried_out_reaches_the_turn_that_runs(relay, submit, services, monkeypatch):
    """The API died after the write: the relay finds the word in the session when it looks at the new turn."""
    first = submit().job_id
    now = services.clock.now()
    services.turns.claim(first, claim_id="alive", now=now, lease_end=now + 60_000)
    monkeypatch.setattr(services.submit, "_interrupt", lambda _job_id: None)
    submit(session_id=first.session_id, on_busy="interrupt")
    relay(21_000).look()
    assert services.turns.get(first).cancel_requested
