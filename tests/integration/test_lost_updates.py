"""Sixteen writers on one session, through real API and worker processes: no update is lost, whichever way it comes."""

import http.client
import json
import secrets
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from chatapp.dev.child import Child, http_ok
from chatapp.dev.ports import free_port
from tests.integration.workers import env_of, started
from tests.integration.ws_kit import environment, token
from tests.servers import running

USER = f"ada-{secrets.token_hex(4)}"  # whose limit, under other rules on the same Redis, no other test has used

PATCHES, TURNS = 4, 2
"""What each of eight writers does by PATCH, and each of eight others by turns."""

FLOW = {"FLOWS": "tests.integration.counting_flow:Counting,chat", "RATE_LIMIT_REQUESTS": "100000"}
API = (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn_api.py", "chatapp.api:create_app()")


@pytest.fixture(scope="module")
def call(settings, tmp_path_factory):
    """Ask an API that has a flow of the tests' own, and two workers for it."""
    folder, port = tmp_path_factory.mktemp("occ"), free_port()
    variables = {**environment(settings), **FLOW, "API_BIND": f"127.0.0.1:{port}"}
    child = Child(name="api", command=API, env=variables, probe=http_ok(port, "/health/live"))
    worker = env_of(settings) | FLOW

    def call(method, path, body=None, **headers):
        headers |= {"Authorization": f"Bearer {token(USER)}", "Content-Type": "application/json"}
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(8)
        while (answer := once(method, path, body, headers))[0] == 503:  # a store that is busy: the same again, as clients do
            time.sleep(int(answer[1]["Retry-After"]))
        return answer

    def once(method, path, body, headers):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), json.loads(answer.read() or b"null")

    with running(child, folder), started(worker, folder / "one.log"), started(worker, folder / "two.log"):
        yield call


def patched(call, session_id):
    """Add to a number in the state, read and written, until it was done often enough. Counts the answers."""
    path, seen = f"/sessions/{session_id}/state", Counter()
    while seen[200] < PATCHES:
        _, headers, read = call("GET", path)
        patch = {"Patches": read["state"].get("Patches", 0) + 1}
        status, _, _ = call("PATCH", path, patch, **{"If-Match": headers["ETag"]})
        seen[status] += 1
    return seen


def asked(call, session_id):
    """Have a few turns answered, one after the other. Counts how they ended."""
    seen = Counter()
    for _ in range(TURNS):
        _, _, accepted = call("POST", "/chat", {"message": "again", "session_id": session_id})
        status = "queued"
        while status in ("queued", "running"):
            status = call("GET", f"/jobs/{accepted['job_id']}?wait=20")[2]["status"]
        seen[status] += 1
    return seen


def test_sixteen_writers_lose_nothing(call):
    """Each success is in the state, and the version counts them all; who was late was told so and tried again."""
    status, _, begun = call("POST", "/sessions", {"flow": "counting"})
    assert status == 201, begun
    session_id = begun["session_id"]
    with ThreadPoolExecutor(16) as pool:
        writers = [pool.submit(way, call, session_id) for way in (patched, asked) * 8]
        seen = sum((writer.result() for writer in writers), Counter())
    state = call("GET", f"/sessions/{session_id}/state")[2]
    assert seen[200] == 8 * PATCHES
    assert seen["completed"] == 8 * TURNS
    assert seen[412] > 0, "nobody was in anybody's way"
    assert state["state"] == {"Patches": seen[200], "Turns": seen["completed"]}
    assert state["version"] == seen[200] + seen["completed"]
    ended = [call("POST", f"/sessions/{session_id}/end")[2] for _ in range(2)]
    assert ended[0] == ended[1]
    assert ended[0]["result"] == {"counted": state["state"]}
