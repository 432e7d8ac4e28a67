"""A real WebSocket server (gunicorn), a client for it, and a hand that writes events as a worker does."""

import json
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import websocket
from redis import Redis

from chatapp.auth import issue
from chatapp.dev.child import Child, http_ok
from chatapp.dev.ports import free_port
from chatapp.live.events import channel_of, key_of
from chatapp.model import EventId, JobId
from chatapp.payloads import encode, event
from config.settings import DEV_JWT_SECRET, Settings
from tests.servers import running


def environment(settings: Settings) -> dict[str, str]:
    """What a server needs to find the test's own Redis, queues and tables."""
    return {
        "CHATAPP_ENV": "test",
        "REDIS_URL": settings.redis_address,
        "AWS_ENDPOINT_URL": settings.aws_endpoint_url or "",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "SQS_QUEUE_URL_PREFIX": settings.sqs_queue_url_prefix,
        "DYNAMODB_TABLE_PREFIX": settings.dynamodb_table_prefix,
    }


@contextmanager
def ws_server(settings: Settings, folder: Path, **env: str) -> Iterator[str]:
    """Run the WebSocket server as in production; gives its address, which ends in /ws."""
    port = free_port()
    variables = {**environment(settings), "WS_BIND": f"127.0.0.1:{port}", **env}
    command = (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn_ws.py", "--graceful-timeout", "1", "ws.app:create_app()")
    with running(Child(name="ws", command=command, env=variables, probe=http_ok(port, "/health/live")), folder):
        yield f"ws://127.0.0.1:{port}/ws"
    # Nothing that a client did, or Redis, may have been an exception that nobody expected.
    assert "Traceback" not in (text := (folder / "ws.log").read_text()), text


def token(user: str, seconds: int = 600) -> str:
    """A token that the server accepts."""
    return issue(DEV_JWT_SECRET, user, seconds=seconds)


class Client:
    """One socket. Closed when the block is left."""

    def __init__(self, url: str, *, bearer: str | None = None, origin: str | None = None, **options: Any) -> None:
        header = [] if bearer is None else [f"Authorization: Bearer {bearer}"]
        self.ws = websocket.create_connection(
            url, timeout=30, header=header, origin=origin, suppress_origin=origin is None, http_no_proxy=["127.0.0.1"], **options
        )
        self.code: int | None = None
        self.reason = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.ws.shutdown()

    def send(self, kind: str, **fields: Any) -> None:
        """Send a frame."""
        self.ws.send(json.dumps({"type": kind, **fields}))

    def recv(self) -> dict[str, Any]:
        """Receive a frame. Raises: EOFError when the server has closed; `code` is why."""
        while True:
            opcode, data = self.ws.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                self.code, self.reason = struct.unpack("!H", data[:2])[0], data[2:].decode()
                raise EOFError(self.code)
            if opcode == websocket.ABNF.OPCODE_TEXT:
                found: dict[str, Any] = json.loads(data)
                return found

    def expect(self, kind: str) -> dict[str, Any]:
        """Receive a frame of this type."""
        found = self.recv()
        assert found["type"] == kind, found
        return found

    def closed(self) -> int | None:
        """Receive until the server closes; say why."""
        try:
            while True:
                self.recv()
        except EOFError:
            return self.code

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a frame, give the answer."""
        self.send(kind, **fields)
        return self.recv()

    def events(self, job_id: JobId, until: str = "message_completed") -> list[dict[str, Any]]:
        """Receive a turn's events up to one of this type."""
        found = []
        while not found or found[-1]["type"] != until:
            received = self.recv()
            if received.get("job_id") == str(job_id):
                found.append(received)
        return found


def signed_in(url: str, user: str, **options: Any) -> Client:
    """A socket of this user."""
    client = Client(url, bearer=token(user), **options)
    assert client.expect("connected")["auth_required"] is False
    return client


class Hand:
    """Writes a turn's events as the worker's script does: to the log and to the channel in one."""

    def __init__(self, redis: Redis, job_id: JobId, attempt: int = 1) -> None:
        self._redis = redis
        self._job_id = job_id
        self._attempt = attempt
        self._seq = 0
        self.written: list[str] = []

    def say(self, kind: str = "message_delta", /, *, publish: bool = True, **fields: Any) -> str:
        """Write one event; gives its id."""
        event_id = EventId(self._attempt, self._seq)
        text = encode(event(kind, self._job_id, event_id, 1_800_000_000_000, **fields))
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xadd(key_of(self._job_id), {"e": text}, id=str(event_id))
        if publish:
            pipeline.publish(channel_of(self._job_id.session_id), text)
        pipeline.execute()
        self._seq += 1
        self.written.append(str(event_id))
        return str(event_id)

    def answer(self, count: int, text: str = "x") -> None:
        """Write a whole answer of `count` deltas."""
        self.say("message_started", model="m")
        for n in range(count):
            self.say(text=f"{n}:{text}", part=0, kind="text")
        self.say("message_completed", text="all")


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come to hold"
        time.sleep(0.01)


def ids(events: list[dict[str, Any]]) -> list[str]:
    """The ids of events."""
    return [e["id"] for e in events]
