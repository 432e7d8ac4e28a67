"""What an attacker has: the API and the WebSocket server as production runs them, HTTP, and a socket written by hand."""

import base64
import http.client
import json
import os
import secrets
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from chatapp.dev.child import Child, http_ok
from chatapp.dev.ports import free_port
from chatapp.services import Services, build
from config.settings import Settings
from tests.integration.ws_kit import Client, environment, token
from tests.servers import running

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
MB = 1_048_576

COMMANDS = {
    "api": (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn_api.py", "chatapp.api:create_app()"),
    "ws": (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn_ws.py", "--graceful-timeout", "1", "ws.app:create_app()"),
}


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP. The names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Pair:
    """Both servers, on one Redis and one set of tables. `ws` is the address of the socket, `services` what they have too."""

    api_port: int
    ws_port: int
    folder: Path
    services: Services
    ws_process: "subprocess.Popen[bytes]"
    token: Callable[[str], str]
    """Makes a good token of a user."""

    @property
    def ws(self) -> str:
        """The address of the WebSocket."""
        return f"ws://127.0.0.1:{self.ws_port}/ws"

    def log(self) -> str:
        """Everything that both have written so far."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def memory(self) -> int:
        """Resident bytes of the WebSocket server's worker."""
        worker = psutil.Process(self.ws_process.pid).children()[0]
        return int(worker.memory_info().rss)

    def send(
        self, method: str, path: str, *, user: str | None = None, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request to the API, as a user or as nobody; a `body` that is no bytes goes as JSON."""
        given = dict(headers or {})
        if user is not None:
            given["Authorization"] = f"Bearer {self.token(user)}"
        if body is not None:
            given.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=60)) as connection:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def post_chat(self, user: str, text: str = "hello", **fields: Any) -> dict[str, Any]:
        """Have a message accepted; gives the answer."""
        answer = self.send("POST", "/chat", user=user, body={"message": text, **fields})
        assert answer.status == 202, answer.body
        accepted: dict[str, Any] = answer.json
        return accepted

    def serves_others(self) -> None:
        """Somebody else is served as if nothing had happened."""
        with Client(self.ws, bearer=self.token(f"good-{secrets.token_hex(4)}")) as client:
            assert client.expect("connected")["auth_required"] is False
            assert client.ask("ping", id=1) == {"type": "pong", "id": 1}
        assert "Traceback" not in (log := self.log()), log[-4_000:]


@contextmanager
def pair(
    settings: Settings, folder: Path, make_token: Callable[[str], str] = token, *, api: bool = True, **env: str
) -> Iterator[Pair]:
    """Run both servers; when they are stopped, nothing that a client did may have been an exception that nobody expected.

    Without `api` the WebSocket server runs alone, for tests that need no more.
    """
    ports = {"api": free_port(), "ws": free_port()}
    shared = {**environment(settings), "OPENAI_API_KEY": "test", "OPENAI_BASE_URL": settings.openai_base_url, **env}
    with ExitStack() as stack:
        processes = {}
        for name, command in COMMANDS.items() if api else (("ws", COMMANDS["ws"]),):
            variables = {**shared, f"{name.upper()}_BIND": f"127.0.0.1:{ports[name]}"}
            child = Child(name, command, variables, http_ok(ports[name], "/health/live"))
            processes[name] = stack.enter_context(running(child, folder))
        services = build(settings)
        stack.callback(services.redis.close)
        made = Pair(ports["api"], ports["ws"], folder, services, processes["ws"], make_token)
        yield made
    assert "Traceback" not in (log := made.log()), log


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True, length: int | None = None
) -> bytes:
    """Write a frame (RFC 6455 section 5.2) with whatever is wrong with it. `length` is what its header claims instead."""
    size = len(payload) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if size < 126:
        head += bytes([mask << 7 | size])
    elif size < 65_536:
        head += bytes([mask << 7 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask << 7 | 127]) + struct.pack("!Q", size)
    if not mask:
        return head + payload
    key = os.urandom(4)
    whole = key * (len(payload) // 4 + 1)
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(whole[: len(payload)], "big")).to_bytes(len(payload), "big")
    return head + key + masked


def text(content: str) -> bytes:
    """Write a whole frame of text."""
    return frame(TEXT, content.encode())


class Raw:
    """A TCP connection to the WebSocket server, on which nothing is sent but what the test writes."""

    def __init__(self, port: int, *, timeout: float = 30) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> bool:
        """Send bytes; False when the server has cut the connection."""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def handshake(self, *headers: str, path: str = "/ws") -> int:
        """Ask for a WebSocket, with more headers; gives the status of the answer, 0 for none."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers, "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))
        while b"\r\n\r\n" not in self._unread:
            if not self._more():
                break
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65_536)
        except ConnectionError:
            return False
        self._unread += data
        return bool(data)

    def _take(self, count: int) -> bytes | None:
        while len(self._unread) < count:
            if not self._more():
                return None
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken

    def receive(self) -> tuple[int, bytes] | None:
        """Receive a frame of the server: (opcode, payload); None when the connection has ended."""
        if (head := self._take(2)) is None:
            return None
        size = head[1] & 127
        if size in (126, 127):
            if (longer := self._take(2 if size == 126 else 8)) is None:
                return None
            size = int.from_bytes(longer, "big")
        payload = self._take(size)
        return None if payload is None else (head[0] & 15, payload)

    def frames(self) -> list[dict[str, Any]]:
        """Receive up to the end of the connection: the JSON of every text frame."""
        found = []
        while (received := self.receive()) is not None and received[0] != CLOSE:
            if received[0] == TEXT:
                found.append(json.loads(received[1]))
        return found

    def close_code(self) -> int | None:
        """Receive until the server ends it: the code of its close frame, None when it cut the connection without one."""
        while (received := self.receive()) is not None:
            if received[0] == CLOSE:
                return int.from_bytes(received[1][:2], "big") if received[1] else None
        return None


@contextmanager
def opened(running_pair: Pair, user: str | None = None, *headers: str) -> Iterator[Raw]:
    """A WebSocket by hand, after `connected`; of a user when one is named."""
    bearer = (f"Authorization: Bearer {running_pair.token(user)}",) if user else ()
    with Raw(running_pair.ws_port) as raw:
        assert raw.handshake(*bearer, *headers) == 101
        received = raw.receive()
        assert received is not None
        assert json.loads(received[1])["type"] == "connected", received
        yield raw
