"""A worker looks at a turn: every row of the table in DESIGN's Wake-ups."""

import base64
import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from redis import Redis

from chatapp.errors import NotFound
from chatapp.flows.turn import HideUntil
from chatapp.model import JobId, Status, new_session_id
from chatapp.payloads import TERMINAL
from chatapp.services import build
from tasks.heartbeat import Heartbeat
from tests.integration.workers import until


def events(services, job_id):
    """Read a turn's log. Of a turn that has ended with its end, which is stored first, and published in a moment as a rule."""
    turn = services.turns.get(job_id)
    if turn is not None and turn.status.ended:
        until(lambda: _is_told(services, turn), 30, "the end is not published")
    return [json.loads(text) for text in services.events.read(job_id)]


def _is_told(services, turn):
    last = services.events.last(turn.job_id)
    return last is not None and json.loads(last)["id"] == str(turn.end_id)


def kinds(services, job_id):
    return [e["type"] for e in events(services, job_id)]


def text_of(found):
    return "".join(e["text"] for e in found if e["type"] == "message_delta")


def sent(services):
    """The job ids of all messages that are in the queue, taken out of it."""
    sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url=services.settings.aws_endpoint_url)
    url, found = services.settings.queue_url("chat"), []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(json.loads(base64.b64decode(message["Body"]))["headers"]["id"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_a_turn_is_answered_and_its_events_join_to_the_stored_answer(services, submit):
    """started, deltas, completed; ids without a gap."""
    job_id = submit("Tell me about queues [[delay=0]]").job_id
    assert services.answer(job_id) is None
    turn, found = services.turns.get(job_id), events(services, job_id)
    assert turn.status is Status.COMPLETED
    assert [found[0]["type"], found[-1]["type"]] == ["message_started", "message_completed"]
    assert [e["id"] for e in found] == [f"1-{i}" for i in range(len(found))]
    assert text_of(found) == turn.answer == found[-1]["text"]
    assert turn.usage.output_tokens > 0
    assert str(turn.end_id) == found[-1]["id"]


def test_the_second_turn_sees_the_first_with_and_without_the_cache(services, submit):
    """The history is the same from Redis and from DynamoDB."""
    first = submit("one [[echo=uno]]").job_id
    services.answer(first)
    second = submit("two [[echo=dos]]", session_id=first.session_id).job_id
    cached = services.answer._load(second)[1]
    services.redis.delete(f"context:{{{first.session_id}}}")
    stored = services.answer._load(second)[1]
    assert cached == stored
    assert [m.text for m in stored] == ["one [[echo=uno]]", "uno"]


def test_a_redelivered_message_of_an_ended_turn_costs_no_model_call(services, submit):
    """It publishes the end again, which Redis knows already."""
    job_id = submit().job_id
    services.answer(job_id)
    before = events(services, job_id)
    turn = services.turns.get(job_id)
    services.answer(job_id)
    assert events(services, job_id) == before
    assert services.turns.get(job_id) == turn


def test_the_end_of_a_turn_whose_log_is_gone_is_published_from_its_item(services, submit):
    """A crash between store and publish leaves the client without an end no longer than the redelivery takes."""
    job_id = submit().job_id
    services.answer(job_id)
    end = events(services, job_id)[-1]
    services.redis.delete(f"events:{{{job_id.session_id}}}.1")
    services.answer(job_id)
    assert events(services, job_id) == [end]


def test_turns_are_answered_in_order_whatever_arrives_first(services, submit):
    """Only the head is claimed; its end wakes the next."""
    first = submit().job_id
    second = submit(session_id=first.session_id).job_id
    assert services.answer(second) is None
    assert services.turns.get(second).status is Status.QUEUED
    sent(services)
    services.answer(first)
    assert sent(services) == [str(second)]
    services.answer(second)
    assert services.turns.get(second).status is Status.COMPLETED


def test_many_deliveries_at_once_make_one_answer(services, submit):
    """Twenty copies: one attempt."""
    job_id = submit("[[tokens=30]] [[delay=0.002]]").job_id
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: services.answer(job_id), range(20)))
    turn = services.turns.get(job_id)
    assert (turn.status, turn.attempt) == (Status.COMPLETED, 1)
    assert sum(kind in TERMINAL for kind in kinds(services, job_id)) == 1


def test_a_turn_that_is_not_due_hides_its_message(services, submit, due_in_a_minute):
    """The message is not acked: it is hidden until then."""
    job_id = submit().job_id
    due_in_a_minute(job_id)
    later = services.answer(job_id)
    assert isinstance(later, HideUntil)
    assert 55 < later.seconds <= 60


@pytest.mark.parametrize(
    ("directive", "code"),
    [
        ("[[status=401]]", "provider_misconfigured"),
        ("[[status=400]]", "model_request_invalid"),
    ],
)
def test_what_another_attempt_would_not_help_ends_the_turn_at_the_first(services, submit, directive, code):
    """With our own code, an `error` event, and the next turn woken."""
    job_id = submit(f"please {directive}").job_id
    services.answer(job_id)
    turn = services.turns.get(job_id)
    assert (turn.status, turn.error["code"]) == (Status.FAILED, code)
    assert events(services, job_id)[-1]["code"] == code
    assert services.sessions.get(job_id.session_id).open_turns == frozenset()


def test_an_attempt_that_was_interrupted_is_begun_again_with_a_reset(services, submit):
    """The second attempt's events follow the first's, under its own number."""
    job_id = submit("again [[echo=done]]").job_id
    now = services.clock.now() - 60_000
    _, stale = services.turns.claim(job_id, claim_id="dead", now=services.clock.now(), lease_end=now)
    old = services.events.open(stale)
    old.emit("message_started", model="m")
    old.delta("half an ans")
    old.settle(30)
    services.answer(job_id)
    found = events(services, job_id)
    assert [e["type"] for e in found] == [
        "message_started",
        "message_delta",
        "message_reset",
        "message_delta",
        "message_completed",
    ]
    assert [e["attempt"] for e in found] == [1, 1, 2, 2, 2]
    assert services.turns.get(job_id).answer == "done"
    old.delta("wer of a zombie")
    assert old.settle(30)
    with pytest.raises(Exception, match="later attempt"):
        old.check()
    assert events(services, job_id) == found


@pytest.mark.parametrize(("seen", "status"), [(True, Status.FAILED), (False, Status.COMPLETED)])
def test_a_client_may_want_no_restart_of_what_it_has_seen(services, submit, seen, status):
    """`restart: fail`: an interrupted answer fails if a part of it was visible, and is begun again if none was."""
    job_id = submit(restart="fail").job_id
    now = services.clock.now()
    _, dead = services.turns.claim(job_id, claim_id="dead", now=now, lease_end=now - 60_000)
    old = services.events.open(dead)
    old.emit("message_started", model="m")
    if seen:
        old.delta("half an ans")
    old.settle(30)
    services.answer(job_id)
    turn = services.turns.get(job_id)
    assert turn.status is status
    assert not seen or turn.error["code"] == "interrupted"


def test_a_turn_that_keeps_killing_its_workers_ends(services, submit):
    """After MAX_CRASHES lapsed leases it fails as `crashed`."""
    job_id = submit().job_id
    past = services.clock.now() - 60_000
    for i in range(services.settings.max_crashes + 1):
        assert services.turns.claim(job_id, claim_id=f"c{i}", now=services.clock.now(), lease_end=past + i)[0]
    services.answer(job_id)
    assert services.turns.get(job_id).error["code"] == "crashed"


def test_a_turn_that_waited_too_long_expires(settings, submit):
    """It ends as failed, without a model call."""
    impatient = build(settings.model_copy(update={"queue_deadline_seconds": 0.001}))
    job_id = submit().job_id
    impatient.answer(job_id)
    assert impatient.turns.get(job_id).error["code"] == "expired"


def test_a_second_message_leaves_a_running_attempt_alone_even_if_a_cancel_was_asked_for(services, submit):
    """The attempt keeps its partial text: it finds the word at its next renewal."""
    job_id = submit().job_id
    now = services.clock.now()
    _, running = services.turns.claim(job_id, claim_id="alive", now=now, lease_end=now + 20_000)
    services.turns.request_cancel(running.job_id)
    assert services.answer(job_id) is None
    assert services.turns.get(job_id).status is Status.RUNNING


def test_a_provider_that_says_nothing_but_that_it_is_alive_runs_into_the_deadline(settings, submit):
    """Comments in the stream are no answer; the attempt looks at its own clock between them."""

    class Drip(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            with contextlib.suppress(OSError):  # until the client has had enough
                while True:
                    self.wfile.write(b": PROCESSING\n\n")
                    time.sleep(0.05)

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Drip) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        changed = {"openai_base_url": f"http://127.0.0.1:{server.server_port}/v1", "attempt_deadline_seconds": 0.5}
        job_id = submit().job_id
        slow = build(settings.model_copy(update=changed))
        slow.answer(job_id)
        server.shutdown()
    assert slow.turns.get(job_id).error["code"] == "attempt_timed_out"


def test_a_cached_history_that_cannot_be_read_is_as_good_as_none(services, submit):
    """Another version may have written it."""
    first = submit("one [[echo=uno]]").job_id
    services.answer(first)
    services.redis.set(f"context:{{{first.session_id}}}", '{"another": "shape"}')
    second = submit("two [[echo=dos]]", session_id=first.session_id).job_id
    services.answer(second)
    assert services.turns.get(second).answer == "dos"


def test_deleting_a_session_of_many_turns_wakes_nobody(services, submit, user):
    """They are ended together."""
    session_id = submit().job_id.session_id
    for _ in range(9):
        submit(session_id=session_id)
    sent(services)
    services.delete_session(session_id, user)
    assert sent(services) == []
    assert services.sessions.get(session_id).open_turns == frozenset()


def test_nothing_of_a_deleted_session_stays_in_redis(services, submit, user):
    """Neither its logs nor its cached history; only that it is nobody's, for an hour."""
    job_id = submit("[[echo=canary]]").job_id
    services.answer(job_id)
    assert len(services.redis.keys(f"*{job_id.session_id}*")) > 1
    services.delete_session(job_id.session_id, user)
    assert services.redis.keys(f"*{job_id.session_id}*") == [owner := f"owner:{{{job_id.session_id}}}"]
    assert services.redis.get(owner) == ""
    assert 0 < services.redis.ttl(owner) <= 3_600


def test_deleting_again_is_the_same(services, submit, user):
    """The answer to the first may have been lost."""
    session_id = submit().job_id.session_id
    first, second = (services.sessions.bury(session_id, user_id=user) for _ in range(2))
    assert first.deleted_at == second.deleted_at


def test_an_unknown_turn_is_reported(services):
    """Its message is poison: the caller puts it away."""
    with pytest.raises(NotFound):
        services.answer(JobId(new_session_id(), 1))


def test_a_deleted_session_has_no_open_turn(services, submit, user):
    """Queued turns are cancelled; a turn that a crash left is cancelled by whoever claims it."""
    first = submit().job_id
    second = submit(session_id=first.session_id).job_id
    services.delete_session(first.session_id, user)
    assert {services.turns.get(j).status for j in (first, second)} == {Status.CANCELLED}
    third = submit().job_id
    services.sessions.bury(third.session_id, user_id=user)
    services.answer(third)
    assert services.turns.get(third).status is Status.CANCELLED


def test_without_redis_the_answer_is_stored_all_the_same(settings, submit):
    """Events are lost, answers are not."""
    dark = build(settings.model_copy(update={"redis_url": None, "redis_port": 1}))
    job_id = submit().job_id
    dark.answer(job_id)
    assert dark.turns.get(job_id).answer == "hello"


def test_a_log_that_is_lost_in_mid_answer_begins_anew_with_the_text_so_far(services, submit, valkey):
    """Redis restarted empty: the holder renews its lease and writes a snapshot."""
    job_id = submit("lost [[tokens=200]] [[delay=0.01]]").job_id
    with ThreadPoolExecutor(1) as pool, Redis.from_url(valkey, decode_responses=True) as redis:
        key, channel = f"events:{{{job_id.session_id}}}.1", redis.pubsub()
        channel.subscribe(f"live:{{{job_id.session_id}}}")
        running = pool.submit(services.answer, job_id)
        while (message := channel.get_message(timeout=5)) is not None:
            if message["type"] == "message" and json.loads(message["data"])["type"] == "message_delta":
                break
        redis.delete(key)
        running.result()
        channel.close()
    found, turn = events(services, job_id), services.turns.get(job_id)
    assert found[0]["type"] == "message_snapshot"
    assert found[0]["text"] + text_of(found[1:]) == turn.answer


def test_a_turn_that_outlasts_its_lease_is_renewed(settings, submit):
    """The heartbeat keeps it: one attempt, whatever the length."""
    services = build(settings.model_copy(update={"lease_seconds": 3.0, "lease_renew_seconds": 0.3}))
    heartbeat = Heartbeat("test", 0.1, services.leases.beat)
    heartbeat.start()
    job_id = submit("long [[tokens=100]] [[delay=0.035]]").job_id
    services.answer(job_id)
    heartbeat.stop()
    turn = services.turns.get(job_id)
    assert (turn.status, turn.attempt) == (Status.COMPLETED, 1)
    assert turn.ended_at - turn.started_at > 3_000


def test_an_attempt_whose_lease_has_run_out_stops_by_its_own_clock(settings, submit):
    """Without renewals it writes nothing more, and the turn is free for the next attempt."""
    services = build(settings.model_copy(update={"lease_seconds": 3.0}))
    job_id = submit("long [[tokens=100]] [[delay=0.04]]").job_id
    services.answer(job_id)
    stopped_at = services.clock.now()
    turn = services.turns.get(job_id)
    assert (turn.status, turn.answer) == (Status.RUNNING, None)
    assert not any(kind in TERMINAL for kind in kinds(services, job_id))
    assert stopped_at <= turn.lease_end  # before anybody could take the turn
    services.clock.sleep(max(0, turn.lease_end - services.clock.now()) / 1000 + 0.01)
    build(settings).answer(job_id)
    assert services.turns.get(job_id).attempt == 2
    assert services.turns.get(job_id).status is Status.COMPLETED


def test_a_running_turn_of_a_deleted_session_is_cancelled_with_what_it_said(settings, submit, user):
    """The word is left on the turn, and found at the next renewal: the provider's stream is closed."""
    services = build(settings.model_copy(update={"lease_renew_seconds": 0.2}))
    heartbeat = Heartbeat("test", 0.1, services.leases.beat)
    heartbeat.start()
    job_id = submit("long [[tokens=400]] [[delay=0.02]]").job_id
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(services.answer, job_id)
        while "message_delta" not in kinds(services, job_id):
            assert not running.done()
        services.delete_session(job_id.session_id, user)
        running.result()
    heartbeat.stop()
    turn = services.turns.get(job_id)
    assert turn.status is Status.CANCELLED
    assert turn.answer
    assert events(services, job_id)[-1]["text"] == turn.answer
    assert turn.usage.estimated


@pytest.mark.parametrize("drift", [-60_000, 60_000])
def test_a_machine_whose_clock_is_a_minute_off_steals_no_lease(settings, submit, drift):
    """Its time is DynamoDB's from the first answer on: a live lease is left alone, a lapsed one is taken."""
    services, drifting = build(settings), build(settings)
    drifting.clock.machine = lambda: services.clock.machine() + drift
    job_id = submit().job_id
    now = services.clock.now()
    services.turns.claim(job_id, claim_id="alive", now=now, lease_end=now + 20_000)
    assert drifting.answer(job_id) is None
    assert services.turns.get(job_id).claim_id == "alive"
    other = submit("[[echo=mine]]").job_id
    services.turns.claim(other, claim_id="dead", now=now, lease_end=now - 3_000)
    drifting.answer(other)
    turn = services.turns.get(other)
    assert turn.answer == "mine"
    assert abs(turn.ended_at - services.clock.now()) < 5_000
