"""Claims, leases and ends: who holds a turn may write, and nobody else."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from chatapp.model import Ending, EventId, Status

LEASE = 20_000


@pytest.fixture
def claim(services):
    """Claim a job at a time of the test's choosing."""

    def claim(job_id, claim_id="c1", now=None):
        now = services.clock.now() if now is None else now
        return services.turns.claim(job_id, claim_id=claim_id, now=now, lease_end=now + LEASE)

    return claim


def end_of(turn, services, status=Status.COMPLETED):
    return Ending(
        status=status, end_id=EventId(turn.attempt, 3), at=services.clock.now(), by=turn.claim_id, holder=True, answer="a"
    )


def test_ten_claims_at_once_have_one_winner(submit, claim):
    """The condition decides, not the order of arrival."""
    job_id = submit().job_id
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda i: claim(job_id, f"c{i}"), range(10)))
    assert sum(won for won, _ in results) == 1
    assert all(turn.attempt == 1 for _, turn in results)


def test_a_claim_whose_answer_was_lost_is_recognised(submit, claim):
    """The same claim id finds the turn its own."""
    job_id = submit().job_id
    assert claim(job_id)[0]
    won, turn = claim(job_id)
    assert won
    assert turn.attempt == 1


def test_a_lapsed_lease_is_taken_over_and_counted_as_a_crash(services, submit, claim):
    """The next attempt has the next number; the old one can write nothing any more."""
    job_id = submit().job_id
    now = services.clock.now()
    _, first = claim(job_id, "c1", now)
    assert claim(job_id, "c2", now + LEASE - 1)[0] is False
    won, second = claim(job_id, "c2", now + LEASE + 1)
    assert (won, second.attempt, second.crashes, second.failures) == (True, 2, 1, 0)
    assert services.turns.renew(first, lease_end=now + 2 * LEASE) is None
    assert services.turns.end(first, end_of(first, services))[0] is False
    assert services.turns.end(second, end_of(second, services))[0] is True


def test_a_renewal_moves_the_lease_on(services, submit, claim):
    """And the relay's look with it."""
    _, turn = claim(submit().job_id)
    renewed = services.turns.renew(turn, lease_end=turn.lease_end + 8_000)
    assert (renewed.lease_end, renewed.wake_at) == (turn.lease_end + 8_000,) * 2


def test_a_turn_that_is_not_due_is_not_claimed(submit, claim, due_in_a_minute):
    """Due is a time of the turn's own."""
    job_id = submit().job_id
    due_in_a_minute(job_id)
    won, turn = claim(job_id)
    assert not won
    assert turn.status is Status.QUEUED


def test_an_ended_turn_never_changes(services, submit, claim):
    """Not by its holder, not by somebody else, not by a claim."""
    job_id = submit().job_id
    _, turn = claim(job_id)
    assert services.turns.end(turn, end_of(turn, services))[0]
    stored = services.turns.get(job_id)
    other = Ending(status=Status.CANCELLED, end_id=EventId(2, 0), at=1, by="other", holder=False)
    assert services.turns.end(turn, other)[0] is False
    assert claim(job_id, "c9")[0] is False
    services.turns.request_cancel(turn.job_id)
    assert services.turns.get(job_id) == stored


def test_an_end_whose_answer_was_lost_is_recognised(services, submit, claim):
    """The same end once more says that it is stored."""
    _, turn = claim(submit().job_id)
    ending = end_of(turn, services)
    assert services.turns.end(turn, ending)[0]
    won, found = services.turns.end(turn, ending)
    assert won
    assert found.answer == "a"


def test_an_end_whose_answer_was_lost_has_a_big_input_still(services, submit, claim):
    """It stands in an item of its own; without it the cached history would lack the question."""
    _, turn = claim(submit("x" * 5_000).job_id)
    assert turn.input_apart
    ending = end_of(turn, services)
    services.turns.end(turn, ending)
    won, again = services.turns.end(turn, ending)
    assert (won, again.input) == (True, turn.input)


def test_an_end_takes_the_turn_out_of_the_open_ones_and_out_of_the_index(services, submit, claim):
    """In the same transaction."""
    job_id = submit().job_id
    _, turn = claim(job_id)
    services.turns.end(turn, end_of(turn, services))
    assert services.sessions.get(job_id.session_id).open_turns == frozenset()
    far = services.clock.now() + 10**9
    assert all(job_id != found for shard in range(16) for found, _ in services.turns.open_work(shard, now=far, limit=100))


def test_an_end_by_another_fences_the_old_worker(services, submit, claim):
    """It raises the attempt: the worker's renewal and its own end are refused."""
    _, turn = claim(submit().job_id)
    ending = Ending(status=Status.CANCELLED, end_id=EventId(turn.attempt + 1, 0), at=1, by="canceller", holder=False)
    won, ended = services.turns.end(turn, ending)
    assert won
    assert ended.attempt == 2
    assert services.turns.renew(turn, lease_end=1) is None
    assert services.turns.end(turn, end_of(turn, services))[0] is False


def test_a_turn_asked_to_be_cancelled_is_not_claimed(services, submit, claim):
    """The claimer finds the word and ends the turn instead."""
    job_id = submit().job_id
    services.turns.request_cancel(job_id)
    won, turn = claim(job_id)
    assert not won
    assert turn.cancel_requested
    services.answer(job_id)
    assert services.turns.get(job_id).status is Status.CANCELLED


def test_two_relays_cannot_both_move_a_look_on(services, submit):
    """The second sees that the first was there."""
    job_id = submit().job_id
    seen = services.turns.get(job_id).wake_at
    assert services.turns.postpone(job_id, seen=seen, wake_at=seen + 1)
    assert services.turns.postpone(job_id, seen=seen, wake_at=seen + 1), "one's own write, whose answer was lost, is known again"
    assert services.turns.postpone(job_id, seen=seen, wake_at=seen + 2) is None


def test_the_relay_is_told_of_what_nobody_runs_and_not_of_what_somebody_does(services, submit, claim):
    """A send that failed: for a queued turn and one whose lease has lapsed the look is now, else it stays."""
    queued, running, lapsed = submit().job_id, submit().job_id, submit().job_id
    claim(running)
    now = services.clock.now()
    services.turns.claim(lapsed, claim_id="dead", now=now, lease_end=now - 1)
    services.turns.postpone(lapsed, seen=now - 1, wake_at=now + 40_000)
    for job_id in (queued, running, lapsed):
        services.turns.wake_now(job_id, now)
    assert services.turns.get(queued).wake_at == services.turns.get(lapsed).wake_at == now
    assert services.turns.get(running).wake_at > now
