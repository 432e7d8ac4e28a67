"""What SIGTERM does to the API and to the WebSocket server: real gunicorns, as the Procfile starts them."""

import re
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx2 as httpx
import pytest

from chatapp.dev.child import Child, http_ok
from chatapp.dev.ports import free_port
from chatapp.live.events import channel_of
from chatapp.model import JobId
from tests.integration.workers import until
from tests.integration.ws_kit import Client, environment, signed_in, token
from tests.servers import running

EXIT_SECONDS = 20
"""Until a server is gone, on a machine that may be busy; who waited for connections to end by themselves would take PATIENCE."""

PATIENCE = 60
GRACE_SECONDS = 5


@contextmanager
def server(kind, settings, folder, grace=PATIENCE):
    """Run a server that cuts nobody off within `grace` seconds; gives its process, its address without the scheme, its log."""
    app, bind, address = {
        "api": ("chatapp.api:create_app()", "API_BIND", f"127.0.0.1:{free_port()}"),
        "ws": ("ws.app:create_app()", "WS_BIND", f"127.0.0.1:{free_port()}"),
    }[kind]
    command = (sys.executable, "-m", "gunicorn", "-c", f"config/gunicorn_{kind}.py", "--graceful-timeout", str(grace), app)
    env = {**environment(settings), bind: address, "RATE_LIMIT_REQUESTS": "0"}
    probe = http_ok(int(address.rpartition(":")[2]), "/health/live")
    with running(Child(name=kind, command=command, env=env, probe=probe), folder) as process:
        yield process, address, (log := folder / f"{kind}.log")
    assert "Traceback" not in (text := log.read_text()), text


@pytest.fixture
def ws(settings, tmp_path):
    """A WebSocket server that nobody else uses."""
    with server("ws", settings, tmp_path) as running_server:
        yield running_server


@pytest.fixture
def api(settings, tmp_path):
    """An API that nobody else uses."""
    with server("api", settings, tmp_path) as running_server:
        yield running_server


def stop(process):
    """Tell a server to stop; gives a function that waits for its end and says how long that took."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)

    def ended():
        assert process.wait(EXIT_SECONDS) == 0
        return time.monotonic() - began

    return ended


def client_of(address, user, **options):
    """An HTTP client of a user."""
    headers = {"Authorization": f"Bearer {token(user)}"}
    return httpx.Client(base_url=f"http://{address}", headers=headers, trust_env=False, timeout=30, **options)


def test_every_socket_is_told_to_come_back(ws, user, submit):
    """1012 with a time of its own for each, whatever the socket was doing; then the server is gone."""
    process, address, _ = ws
    url = f"ws://{address}/ws"
    session_id = submit().job_id.session_id
    clients = [signed_in(url, user) for _ in range(49)]
    for client in clients[:25]:
        assert client.ask("subscribe", session_id=session_id)["type"] == "subscribed"
    clients.append(Client(url))  # has not said who it is
    clients[-1].expect("connected")
    ended = stop(process)
    assert {client.closed() for client in clients} == {1012}
    hints = [float(re.fullmatch(r"restarting, reconnect_in=([0-9]+[.][0-9])", client.reason)[1]) for client in clients]
    assert max(hints) <= 1.0
    assert len(set(hints)) > 5
    assert ended() < EXIT_SECONDS
    with pytest.raises(ConnectionRefusedError):
        Client(url)


def test_slow_readers_and_strangers_are_told_too_and_hold_nobody_up(settings, user, services, tmp_path):
    """Who has a lot waiting reads on and then learns why; the process is gone by the end of its grace time."""
    small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)]
    with ExitStack() as stack:
        process, address, _ = stack.enter_context(server("ws", settings, tmp_path, grace=GRACE_SECONDS))
        url = f"ws://{address}/ws"
        slow = [stack.enter_context(signed_in(url, f"{user}-slow", sockopt=small)) for _ in range(10)]
        strangers = [stack.enter_context(Client(url)) for _ in range(50)]
        never = stack.enter_context(signed_in(url, f"{user}-slow", sockopt=small))
        for _ in range(10):
            services.pushes.to_user(f"{user}-slow", {"type": "notification", "text": "x" * 40_000})
        stop(process)
        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(Client.closed, slow + strangers)) == {1012}
        assert process.wait(EXIT_SECONDS + GRACE_SECONDS) == 0
        assert never.code is None


def test_a_client_that_says_nothing_more_holds_nobody_up(ws, user):
    """Neither one that does not answer the close, nor a connection that is kept open between two requests."""
    process, address, _ = ws
    with client_of(address, user) as http:
        assert http.get("/health/live").status_code == 200
        silent = signed_in(f"ws://{address}/ws", user)
        host, port = address.split(":")
        mute = socket.create_connection((host, int(port)))  # has not sent its request yet
        ended = stop(process)
        assert ended() < EXIT_SECONDS
        assert silent.closed() == 1012
        mute.close()


def test_a_wait_ends_early_with_the_job_as_it_is(api, user, submit, services):
    """Who waits for an answer is told how things stand, not cut off."""
    process, address, _ = api
    job_id = submit().job_id
    answers = []

    def wait():
        with client_of(address, user) as http:
            answers.append(http.get(f"/jobs/{job_id}", params={"wait": 20}))

    waits = threading.Thread(target=wait)
    waits.start()
    until(lambda: services.redis.pubsub_numsub(channel_of(job_id.session_id))[0][1], 30, "nobody waits")
    ended = stop(process)
    waits.join(PATIENCE)
    assert [(a.status_code, a.json()["status"]) for a in answers] == [(200, "queued")]
    assert ended() < EXIT_SECONDS


def test_a_kept_connection_gets_its_last_answer(api, user):
    """A request on a connection that was idle at SIGTERM is answered, and told that it was the last one."""
    process, address, log = api
    with client_of(address, user) as http:
        answers = [http.get("/sessions")]
        assert answers[0].headers.get("connection", "keep-alive") == "keep-alive"
        ended = stop(process)
        # Until it has heard of the signal it answers as ever; a connection without a request is kept for a second after that.
        while answers[-1].headers.get("connection") != "close":
            answers.append(http.post("/chat", json={"message": "just in time"}))
        assert {answer.status_code for answer in answers[1:]} == {202}
        assert "Draining: " in log.read_text()
        assert ended() < EXIT_SECONDS


def test_under_load_nobody_gets_a_5xx_and_what_was_accepted_is_kept(api, user, services):
    """Answers until the end, then refused connections, and nothing between the two."""
    process, address, _ = api
    accepted, refused, statuses = [], [], set()

    def post(keep):
        with client_of(address, user) as http:
            for n in range(10_000):
                try:
                    answer = http.post("/chat", json={"message": f"m{n}"}, headers={} if keep else {"Connection": "close"})
                except httpx.TransportError as error:
                    refused.append(error)
                    return
                statuses.add(answer.status_code)
                if answer.status_code == 202:
                    accepted.append(answer.json()["job_id"])

    threads = [threading.Thread(target=post, args=(n % 2 == 0,)) for n in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: len(accepted) >= 20, 60, "nothing is accepted")
    before = len(accepted)
    ended = stop(process)
    for thread in threads:
        thread.join(PATIENCE)
    assert ended() < EXIT_SECONDS
    assert statuses == {202}
    assert len(accepted) > before
    assert len(refused) == 8
    # The kernel may take a connection between the last accept and the close: of thousands one, not each that waits.
    assert sum(not isinstance(error, httpx.ConnectError) for error in refused) <= 1, refused
    assert all(services.turns.get(JobId.parse(job_id)) for job_id in accepted)
