"""One-time tickets: against a real Redis, and at the API that gives and takes them."""

import threading
from urllib.parse import quote

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chatapp.clock import AnchoredClock
from chatapp.dev.ports import free_port
from chatapp.errors import LiveUnavailable, Unauthenticated
from chatapp.live.tickets import TICKET_SECONDS, Tickets
from chatapp.model import Principal
from tests.integration.sse_kit import api_server
from tests.integration.ws_kit import Hand, ids


@pytest.fixture(scope="module")
def api(settings, tmp_path_factory):
    """The API."""
    with api_server(settings, tmp_path_factory.mktemp("api")) as running:
        yield running


def nowhere():
    """A Redis that is not there."""
    return Redis(port=free_port(), retry=Retry(NoBackoff(), 0))


def in_ms(services, milliseconds):
    """Ada, with a token that expires so soon."""
    return Principal("ada", frozenset({"admin"}), services.clock.now() + milliseconds)


def test_a_ticket_stands_for_its_user_and_no_longer_than_the_token(services):
    """It carries no scope; what it opens ends with the token."""
    caller = in_ms(services, 600_000)
    ticket = services.tickets.issue(caller)
    left = services.redis.pttl(f"ws_ticket:{ticket}")
    assert 0 < left <= TICKET_SECONDS * 1_000
    assert services.tickets.redeem(ticket) == Principal("ada", frozenset(), caller.expires_at)
    short = services.tickets.issue(in_ms(services, 5_000))
    assert 0 < services.redis.pttl(f"ws_ticket:{short}") <= 5_000
    with pytest.raises(Unauthenticated):
        services.tickets.issue(in_ms(services, -1))


def test_a_ticket_that_has_expired_is_as_good_as_none(services):
    """Redis forgets it."""
    ticket = services.tickets.issue(in_ms(services, 500))
    while services.redis.exists(f"ws_ticket:{ticket}"):
        pass
    with pytest.raises(Unauthenticated):
        services.tickets.redeem(ticket)


def test_of_many_who_come_with_one_ticket_one_is_let_in(services):
    """However close together they are."""
    ticket, found, barrier = services.tickets.issue(Principal("ada")), [], threading.Barrier(16)

    def redeem():
        barrier.wait()
        try:
            found.append(services.tickets.redeem(ticket))
        except Unauthenticated:
            found.append(None)

    threads = [threading.Thread(target=redeem) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, found)) == [False] * 15 + [True]


def test_without_redis_nobody_is_let_in():
    """Neither given nor taken: who is calling must be known."""
    with nowhere() as redis:
        tickets = Tickets(redis, AnchoredClock())
        with pytest.raises(LiveUnavailable):
            tickets.issue(Principal("ada"))
        with pytest.raises(LiveUnavailable):
            tickets.redeem("x" * 43)


def test_what_cannot_be_a_ticket_never_reaches_redis():
    """It would become a key."""
    with nowhere() as redis:
        for text in ("", "x", "x" * 44, "x" * 42 + "\n", "x" * 43 + "\n", "é" * 43, "*" * 43):
            with pytest.raises(Unauthenticated):
                Tickets(redis, AnchoredClock()).redeem(text)


def test_a_browser_reads_by_a_ticket_what_its_user_may_read(api, user, submit, services):
    """Once; somebody else's opens nothing of mine, and is used up by the attempt."""
    job_id = submit().job_id
    Hand(services.redis, job_id).answer(2)
    mine, theirs = api.ticket(user), api.ticket("mallory")
    with api.read(job_id, None, query=f"?ticket={mine}&after=1-0") as reading:
        assert ids(reading.events()) == ["1-1", "1-2", "1-3"]
    foreign = api.get(f"/jobs/{job_id}/events?ticket={theirs}")
    unknown = api.get(f"/jobs/{job_id.session_id}.2/events?ticket={api.ticket('mallory')}")
    assert foreign.status == unknown.status == 404
    assert {**foreign.json, "request_id": ""} == {**unknown.json, "request_id": ""}
    for used in (mine, theirs):
        again = api.get(f"/jobs/{job_id}/events?ticket={used}")
        assert (again.status, again.json["code"]) == (401, "unauthenticated")


def test_a_ticket_is_shown_to_nobody_but_its_user(api, user, submit, services):
    """Not in the log, not in an error, and no page that the answer is taken for passes it on."""
    job_id = submit().job_id
    Hand(services.redis, job_id).answer(1)
    tickets = [api.ticket(user) for _ in range(3)]
    good = api.get(f"/jobs/{job_id}/events?ticket={tickets[0]}")
    assert (good.status, good.headers["Referrer-Policy"], good.headers["Cache-Control"]) == (200, "no-referrer", "no-store")
    wrong = [
        api.get(f"/jobs/{job_id}/events?ticket={tickets[0]}"),
        api.get(f"/jobs/{job_id}/events?ticket={tickets[1]}&after=nonsense"),
        api.get(f"/jobs/x/events?ticket={tickets[2]}"),
        api.get(f"/jobs/{job_id}?ticket={tickets[2]}", user),
        api.get(f"/nowhere?ticket={tickets[2]}"),
        api.get(f"/jobs/{job_id}/events?ticket={quote(tickets[2] + chr(0))}"),
    ]
    assert [answer.status for answer in wrong] == [401, 422, 404, 422, 404, 401]
    seen = api.log.read_text() + "".join(answer.body.decode() + str(answer.headers) for answer in (good, *wrong))
    assert [ticket for ticket in tickets if ticket in seen] == []
