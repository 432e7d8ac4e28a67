"""Coming back: from Redis alone where that suffices, with a look into silence, and with the session's own log."""

import secrets

import pytest

from chatapp.model import Ending, EventId, Status
from tests.faults.kinds import status
from tests.integration.ws_kit import ids, signed_in, ws_server

READ = "DynamoDB_20120810.*"


@pytest.fixture(scope="module")
def url(settings, proxy, tmp_path_factory):
    """A server whose way to DynamoDB leads through the proxy."""
    with ws_server(settings, tmp_path_factory.mktemp("ws"), AWS_ENDPOINT_URL=proxy.url) as address:
        yield address


@pytest.fixture
def running(services, submit):
    """A turn that is being answered: claimed, with a log that the product's own writer writes."""
    job_id = submit().job_id
    turn = services.turns.claim(job_id, claim_id=secrets.token_hex(8), now=services.clock.now(), lease_end=2**42)[1]
    log = services.events.open(turn)
    log.emit("message_started", model="m")
    return turn, log


def say(log, *pieces):
    """Each piece an event of its own."""
    for piece in pieces:
        log.delta(piece)
        log.settle(30)


def test_who_comes_back_in_mid_answer_needs_no_table(url, user, proxy, running):
    """Thousands may come at once, also while DynamoDB is away; what is said afterwards comes too."""
    turn, log = running
    say(log, "one", "two", "three")
    with proxy.fault(READ, status(503)) as asked, signed_in(url, user) as client:
        resume = {"job_id": str(turn.job_id), "after": "1-1"}
        answer = client.ask("subscribe", session_id=turn.session_id, resume=resume)
        assert answer["turns"] == [{"job_id": str(turn.job_id), "status": "running", "position": 0, "recovered": True}]
        assert ids([client.recv(), client.recv()]) == ["1-2", "1-3"]
        say(log, "four")
        assert client.recv()["text"] == "four"
        assert asked.hits == 0


def test_nobody_comes_back_to_anothers_answer(url, running):
    """What Redis says of the owner counts as much as the table's word."""
    turn, log = running
    say(log, "mine")
    with signed_in(url, "somebody-else") as client:
        for after in (None, "1-0"):
            resume = {"job_id": str(turn.job_id), "after": after}
            answer = client.ask("subscribe", session_id=turn.session_id, resume=resume)
            assert (answer["type"], answer["code"]) == ("refused", "not_found")


def test_an_end_that_nobody_published_is_found_in_the_silence(url, user, services, running):
    """The worker was killed between storing the end and saying so: the client does not wait for its message to come back."""
    turn, log = running
    with signed_in(url, user) as client:
        client.ask("subscribe", session_id=turn.session_id, resume={"job_id": str(turn.job_id), "after": None})
        say(log, "all of it")
        assert ids([client.recv(), client.recv()]) == ["1-0", "1-1"]
        end_stored(services, turn, EventId(1, 2), "all of it")
        client.ws.settimeout(20)
        end = client.expect("message_completed")
        assert (end["id"], end["text"]) == ("1-2", "all of it")


def end_stored(services, turn, end_id, answer):
    """Store an end as the worker does, and say nothing."""
    ending = Ending(status=Status.COMPLETED, end_id=end_id, at=services.clock.now(), by=turn.claim_id, holder=True, answer=answer)
    assert services.turns.end(turn, ending)[0]


def test_the_sessions_own_log_resumes_by_its_own_cursor(url, user, services, running):
    """Notices that came while the client was away come first, then those that come now."""
    turn, _ = running
    session_id = turn.session_id
    with signed_in(url, user) as client:
        start = client.ask("subscribe", session_id=session_id)["log"]
        assert start == {"after": "0-0", "recovered": True}
        assert client.recv()["type"] == "message_started"
        services.session_log.append(session_id, "notice", text="first")
        first = client.expect("notice")
    services.session_log.append(session_id, "notice", text="second")
    with signed_in(url, user) as client:
        client.send("subscribe", session_id=session_id, log_after=first["id"])
        assert client.expect("subscribed")["log"] == {"after": first["id"], "recovered": True}
        assert client.expect("notice")["text"] == "second"
        assert client.recv()["type"] == "message_started"
        services.session_log.append(session_id, "notice", text="third")
        assert client.expect("notice")["text"] == "third"
        services.redis.delete(f"events:{{{session_id}}}.0")
        client.send("subscribe", session_id=session_id, log_after=first["id"])
        assert client.expect("subscribed")["log"]["recovered"] is False


def test_several_sockets_of_a_user_see_the_same(url, user, running):
    """Tabs and devices, whenever they came."""
    turn, log = running
    say(log, "one")
    resume = {"job_id": str(turn.job_id), "after": None}
    with signed_in(url, user) as early, signed_in(url, user) as late:
        early.ask("subscribe", session_id=turn.session_id, resume=resume)
        say(log, "two")
        late.ask("subscribe", session_id=turn.session_id, resume=resume)
        say(log, "three")
        log.emit("message_completed", text="onetwothree")
        assert early.events(turn.job_id) == late.events(turn.job_id)
