"""One message, from the post to the last event, through the processes that production runs."""

import itertools
import json
import os
import secrets
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from websocket import create_connection

from tests.e2e.client import ChatClient, text_of
from tests.stack import started_stack


@pytest.fixture
def client(stack):
    """A client of the shared stack, as a user of its own: limits are per user."""
    made = ChatClient(stack, f"user-{secrets.token_hex(4)}")
    yield made
    made.close()


def test_a_message_is_answered_live_and_kept(client):
    """202, then started, deltas and completed in order, whose texts join to the stored answer."""
    job = client.post("Tell me about queues")
    events = list(client.events(job))
    kinds = [e["type"] for e in events]
    assert kinds[0] == "message_started"
    assert kinds[-1] == "message_completed"
    assert set(kinds[1:-1]) == {"message_delta"}
    assert [e["id"] for e in events] == [f"1-{n}" for n in range(len(events))]
    stored = client.job(job["job_id"])
    assert stored["status"] == "completed"
    assert text_of(events) == events[-1]["text"] == stored["answer"]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_the_library_follows_over_either_transport(client, transport):
    """The same events as the bare socket brings, once and in order, and the stored answer."""
    with client.connected(transport=transport) as library, library.chat("Tell me about queues [[tokens=40]]") as answer:
        events = [event.as_dict() for event in answer]
    assert events == list(client.events({"job_id": answer.job_id, "session_id": answer.session_id}))
    assert answer.text == client.job(answer.job_id)["answer"]


def test_the_library_cancels_and_tries_again(client):
    """What was said stays; the retry is a job of its own, in the same session."""
    answer = client.library.chat("long [[tokens=2000]] [[delay=0.01]]")
    for event in answer:
        if event.delta:
            answer.cancel()
            break
    assert answer.text
    assert answer.end.type == "message_cancelled"
    again = client.library.retry(answer.job_id)
    assert again.session_id == answer.session_id
    assert client.library.cancel(again.job_id)["retry_of"] == answer.job_id
    assert again.text == client.ended(again.job_id).get("answer", "")


def test_the_202_says_where_to_go_on(client, stack):
    """Location, links, position, ids."""
    answer = client.http.post("/chat", json={"message": "hi"})
    told = answer.json()
    assert answer.headers["Location"] == told["links"]["self"] == f"/jobs/{told['job_id']}"
    assert told["links"]["websocket"] == stack.ws
    assert (told["status"], told["position"]) == ("queued", 0)
    assert client.ended(told["job_id"])["status"] == "completed"


def test_the_second_turn_sees_the_first(client, stack):
    """What the model is sent holds the earlier question and answer."""
    first = client.post("My name is Ada [[echo=noted]]")
    client.ended(first["job_id"])
    second = client.post("What is my name?", session_id=first["session_id"])
    client.ended(second["job_id"])
    requests = httpx2.get(stack.llm.removesuffix("/v1") + "/stats").json()["last"]
    sent = next(r["messages"] for r in reversed(requests) if r["messages"][-1]["content"] == "What is my name?")
    assert [m["content"] for m in sent] == ["My name is Ada [[echo=noted]]", "noted", "What is my name?"]


def test_a_client_that_comes_late_gets_all_of_it(client):
    """Subscribing after the end replays the log, from the cursor."""
    job = client.post("late [[tokens=20]]")
    client.ended(job["job_id"])
    events = list(client.events(job))
    assert events[0]["id"] == "1-0"
    rest = list(client.events(job, after=events[1]["id"]))
    assert rest == events[2:]


def test_a_socket_named_in_the_post_follows_at_once(client):
    """`connection_id`: no subscribe is needed."""
    socket = create_connection(client.stack.ws, header=[f"{k}: {v}" for k, v in client.headers.items()], timeout=20)
    try:
        connection_id = json.loads(socket.recv())["connection_id"]
        job = client.post("follow me [[tokens=5]]", connection_id=connection_id)
        assert job["following"] is True
        kinds = []
        while "message_completed" not in kinds:
            kinds.append(json.loads(socket.recv())["type"])
        assert "message_started" in kinds
    finally:
        socket.close()


def test_waiting_for_a_job_returns_when_it_ends(client):
    """`?wait=` holds the request until then, and not longer."""
    job = client.post("wait [[tokens=50]] [[delay=0.01]]")
    began = time.monotonic()
    assert client.job(job["job_id"], wait=20)["status"] == "completed"
    assert time.monotonic() - began < 15


def test_a_running_job_shows_its_answer_so_far(client):
    """`answer_partial`, from the log."""
    job = client.post("slow [[tokens=300]] [[delay=0.01]]")
    for event in client.events(job):
        if event["type"] == "message_delta":
            break
    running = client.job(job["job_id"])
    assert running["status"] == "running"
    assert running["answer_partial"]
    assert client.ended(job["job_id"])["answer"].startswith(running["answer_partial"])


def test_a_hundred_sessions_at_once_all_complete(client):
    """Each with its own answer."""
    with ThreadPoolExecutor(25) as pool:
        jobs = list(pool.map(lambda i: client.post(f"[[echo=answer {i}]]"), range(100)))
        ended = list(pool.map(lambda job: client.ended(job["job_id"]), jobs))
    assert [job["answer"] for job in ended] == [f"answer {i}" for i in range(100)]


def test_thirty_posts_at_once_to_one_session_are_answered_in_turn_order(client):
    """One at a time, each once."""
    session_id = client.http.post("/sessions", json={"flow": "chat"}).json()["session_id"]
    with ThreadPoolExecutor(30) as pool:
        jobs = list(pool.map(lambda i: client.post(f"[[echo={i}]] [[delay=0]]", session_id=session_id), range(30)))
    ended = [client.ended(job["job_id"]) for job in sorted(jobs, key=lambda j: int(j["job_id"].split(".")[1]))]
    assert {job["status"] for job in ended} == {"completed"}
    assert [job["job_id"].split(".")[1] for job in ended] == [str(n) for n in range(1, 31)]
    assert all(a["ended_at"] <= b["started_at"] for a, b in itertools.pairwise(ended))


def test_a_failed_turn_does_not_block_the_next(client):
    """The first ends in an error event, the second is answered."""
    first = client.post("[[status=500]]")
    second = client.post("[[echo=fine]]", session_id=first["session_id"])
    assert [e["type"] for e in client.events(first)][-1] == "error"
    failed = client.ended(first["job_id"])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "provider_unavailable")
    assert client.ended(second["job_id"])["answer"] == "fine"


def test_nobody_else_gets_the_events(client, stack):
    """Another user's subscribe is refused as for a session that does not exist."""
    job = client.post("mine [[tokens=5]]")
    eve = ChatClient(stack, "eve")
    try:
        with eve.socket() as socket:
            socket.send(json.dumps({"type": "subscribe", "session_id": job["session_id"]}))
            foreign = json.loads(socket.recv())
            socket.send(json.dumps({"type": "subscribe", "session_id": "0" * 32}))
            unknown = json.loads(socket.recv())
        assert foreign["type"] == "refused"
        assert (foreign["code"], foreign["message"]) == (unknown["code"], unknown["message"])
        assert eve.http.get(f"/jobs/{job['job_id']}").status_code == 404
    finally:
        eve.close()


def test_a_worker_killed_in_mid_answer_costs_a_reset_and_not_the_answer(tmp_path):
    """SIGKILL: the next attempt begins with a reset, and the answer is whole."""
    with started_stack(tmp_path, env={"LEASE_SECONDS": "4", "LEASE_RENEW_SECONDS": "1", "RELAY_SECONDS": "1"}) as stack:
        client = ChatClient(stack)
        job = client.post("Tell me everything [[tokens=200]] [[delay=0.02]]")
        events = []
        for event in client.events(job):
            events.append(event)
            if len(events) == 6:
                os.kill(stack.pids()["worker"], signal.SIGKILL)
        kinds = [e["type"] for e in events]
        stored = client.job(job["job_id"])
        assert [event.as_dict() for event in client.library.follow(job["job_id"])] == events
        client.close()
    assert kinds.count("message_reset") == 1
    assert kinds[-1] == "message_completed"
    assert (stored["status"], stored["attempt"]) == ("completed", 2)
    assert text_of(events) == stored["answer"] == events[-1]["text"]
    for attempt in (1, 2):
        assert [e["seq"] for e in events if e["attempt"] == attempt] == list(range(sum(e["attempt"] == attempt for e in events)))
