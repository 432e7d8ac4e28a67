"""A real API (gunicorn), and a reader of Server-Sent Events that follows the standard's parsing rules."""

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from chatapp.dev.child import Child, http_ok
from chatapp.dev.ports import free_port
from chatapp.model import JobId
from config.settings import Settings
from tests.integration.ws_kit import environment, token
from tests.servers import running


@dataclass(frozen=True)
class Api:
    """A running API."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    def get(self, path: str, user: str | None = None, method: str = "GET", body: Any = None, **headers: str) -> "Answer":
        """Send one request; gives the whole answer."""
        with Reading(self, path, user=user, method=method, body=body, headers=headers) as reading:
            return Answer(reading.status, reading.headers, reading.answer.read())

    def post(self, path: str, body: Any = None, user: str | None = None, **headers: str) -> "Answer":
        """Post JSON."""
        return self.get(path, user, "POST", body, **headers)

    def ticket(self, user: str) -> str:
        """Get a ticket."""
        answer = self.post("/ws/ticket", user=user)
        assert answer.status == 201, answer
        found: str = answer.json["ticket"]
        return found

    def read(self, job_id: JobId, user: str | None, after: str | None = None, **options: Any) -> "Reading":
        """Open the event stream of a job."""
        headers = {} if after is None else {"Last-Event-ID": after}
        return Reading(self, f"/jobs/{job_id}/events{options.pop('query', '')}", user=user, headers=headers, **options)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass
class Message:
    """One message, as an EventSource would give it."""

    data: str
    last_event_id: str
    type: str = "message"
    json: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.json = json.loads(self.data)


class Reading:
    """One answer while it comes. Closed when the block is left."""

    def __init__(
        self,
        api: Api,
        path: str,
        *,
        user: str | None,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
        receive_buffer: int | None = None,
        token_seconds: int = 600,
    ) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
        if receive_buffer is not None:
            self._connection.sock = socket.socket()
            self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self._connection.sock.settimeout(30)
            self._connection.sock.connect(("127.0.0.1", api.port))
        given = {} if user is None else {"Authorization": f"Bearer {token(user, token_seconds)}"}
        data = None if body is None else json.dumps(body)
        given |= {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, data, {**given, **(headers or {})})
        self.answer = self._connection.getresponse()
        self.status, self.headers = self.answer.status, self.answer.headers
        self.comments: list[str] = []
        self.retry: int | None = None
        self.last_event_id = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.answer.close()
        self._connection.close()

    def lines(self) -> Iterator[str]:
        """The lines as they come; ends with the stream."""
        while line := self.answer.readline():
            yield line.decode().rstrip("\n")

    def messages(self) -> Iterator[Message]:
        """The messages as they come (the standard's section 9.2.6); ends with the stream."""
        kind, data = "message", []
        for line in self.lines():
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "" if line:
                    self.comments.append(value)
                case "":
                    if data:
                        yield Message("\n".join(data), self.last_event_id, kind)
                    kind, data = "message", []
                case "data":
                    data.append(value)
                case "id":
                    self.last_event_id = value
                case "event":
                    kind = value
                case "retry":
                    self.retry = int(value)

    def subscribed(self) -> dict[str, Any]:
        """Read the first message; gives the turn's entry in it."""
        first = next(self.messages())
        assert first.json["type"] == "subscribed", first
        assert first.last_event_id == ""
        (turn,) = first.json["turns"]
        return turn  # type: ignore[no-any-return]

    def events(self) -> list[dict[str, Any]]:
        """Read the events to the end of the stream, which has begun or not."""
        found = [message for message in self.messages() if message.json["type"] != "subscribed"]
        assert [m.last_event_id for m in found] == [m.json["id"] for m in found]
        return [m.json for m in found]


@contextmanager
def api_server(settings: Settings, folder: Path, app: str = "chatapp.api:create_app()", **env: str) -> Iterator[Api]:
    """Run the API as in production."""
    port = free_port()
    variables = {**environment(settings), "API_BIND": f"127.0.0.1:{port}", "RATE_LIMIT_REQUESTS": "0", **env}
    command = (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn_api.py", app)
    with running(Child(name="api", command=command, env=variables, probe=http_ok(port, "/health/live")), folder) as process:
        yield Api(port, process, folder / "api.log")
    # Nothing that a reader did, or Redis, may have been an exception that nobody expected.
    assert "Traceback" not in (text := (folder / "api.log").read_text()), text
