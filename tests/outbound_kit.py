"""Servers that are called: one that keeps what it is sent, and one that does whatever a test wants with a connection."""

import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jiter import from_json

from tests.stack import ROOT


def documented_verify() -> Callable[[str, Mapping[str, str], bytes], None]:
    """The function that docs/webhooks.md gives to receivers, as it is printed."""
    outgoing = (ROOT / "docs/webhooks.md").read_text().partition("\n## Outgoing\n")[2]
    printed = re.search(r"```python\n(.*?)```", outgoing, re.DOTALL)
    assert printed
    names: dict[str, Any] = {}
    exec(printed[1], names)  # noqa: S102  ours
    return names["verify"]


@dataclass(frozen=True)
class Received:
    """A request, as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return from_json(self.body)


@dataclass
class Receiver:
    """What came, and what is answered: `answers` one after the other, (status, headers, body); then 204."""

    url: str
    requests: list[Received] = field(default_factory=list)
    answers: list[tuple[int, Mapping[str, str], bytes]] = field(default_factory=list)

    def next_answer(self) -> tuple[int, Mapping[str, str], bytes]:
        return self.answers.pop(0) if self.answers else (204, {}, b"")


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a well-behaved HTTP server."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(Received(self.command, self.path, headers, body))
            status, more, said = receiver.next_answer()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(said)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST  # noqa: N815  the name that http.server looks for

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Misbehaving:
    """Where it listens, and how many connections it has had."""

    port: int
    connections: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


Deed = Callable[[socket.socket, threading.Event], None]


@contextmanager
def misbehaving(deed: Deed) -> Iterator[Misbehaving]:
    """Run a server that does `deed` with each connection, given an event that is set when the test is over."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = Misbehaving(listening.getsockname()[1])
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                deed(connection, server.stop)
            except OSError:
                return  # the client has gone: that is what most tests wait for

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            server.connections += 1
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        server.stop.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for thread in (accepting, *threads):
            thread.join(10)


def read_request(connection: socket.socket) -> bytes:
    """Read a request with its body; b"" or less than all of it if the client goes before."""
    data, whole = b"", None
    while whole is None or len(data) < whole:
        received = connection.recv(262_144)
        if not received:
            break
        data += received
        head, found, _ = data.partition(b"\r\n\r\n")
        if found and whole is None:
            length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
            whole = len(head) + 4 + (int(length[1]) if length else 0)
    return data
