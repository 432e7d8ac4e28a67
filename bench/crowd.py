"""Thousands of WebSocket clients in one thread, so cheap that the server is what is measured.

A client library costs more per frame than the server does. This one speaks just enough of RFC 6455: text frames that are not
fragmented, pings answered, a close noted. Its frames are masked by zeros, which leaves their bytes as they are.
"""

import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
)
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
AT_ONCE = 256
"""Events that are taken from the kernel before the next look."""

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: closing then sends RST."""


class Client:
    """One socket. Subclasses say what to ask for (`greet`) and take what comes (`text`)."""

    def __init__(self, port: int, path: str = "/ws", headers: str = "") -> None:
        self.port = port
        self.ready = False
        """Whether the server has said what the client waited for."""
        self.closed: int | None = None
        """The code of the server's close; 1006 when there was none."""
        self._request = HANDSHAKE.format(path=path, headers=headers).encode()
        self._socket: socket.socket | None = None
        self._upgraded = False
        self._rest = b""

    def greet(self) -> None:
        """Say something, now that the socket is open."""

    def text(self, payload: bytes, at: int) -> None:
        """Take a text frame. `at` is when it was read, in nanoseconds of the monotonic clock."""
        raise NotImplementedError

    def gone(self) -> None:
        """Take note that the connection has ended, or could not be made: `closed` says how."""
        raise RuntimeError(f"a socket was closed: {self.closed}")

    def send(self, text: str) -> None:
        """Send a text frame."""
        self._frame(TEXT, text.encode())

    def connect(self) -> int:
        """Begin to connect. Returns: the descriptor."""
        self.ready, self.closed, self._upgraded, self._rest = False, None, False, b""
        self._socket = made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.connect_ex(("127.0.0.1", self.port))
        return made.fileno()

    def connected(self) -> None:
        """Shake hands."""
        self._write(self._request)

    def readable(self) -> None:
        """Read what there is."""
        try:
            data = self._socket.recv(65_536) if self._socket else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(1006 if self.closed is None else self.closed)
            return
        self._rest = self._parse(self._rest + data, time.monotonic_ns())

    def reset(self) -> None:
        """Cut the connection, as a network does that fails."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._socket.close()
            self._socket = None

    def drop(self, code: int) -> None:
        """Let go of a connection that has ended."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.closed = code
        self.gone()

    def _parse(self, data: bytes, at: int) -> bytes:
        if not self._upgraded:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                return head
            if b" 101 " not in head[:16]:
                raise RuntimeError(f"no WebSocket: {head[:200]!r}")
            self._upgraded = True
            self.greet()
        start, size = 0, len(data)
        while start + 2 <= size:
            length, begin = data[start + 1], start + 2
            if length == 126:
                length, begin = int.from_bytes(data[start + 2 : start + 4]), start + 4
            elif length == 127:
                length, begin = int.from_bytes(data[start + 2 : start + 10]), start + 10
            if begin + length > size or begin > size:
                break
            self._take(data[start] & 0x0F, data[begin : begin + length], at)
            start = begin + length
        return data[start:]

    def _take(self, opcode: int, payload: bytes, at: int) -> None:
        if opcode == TEXT:
            self.text(payload, at)
        elif opcode == PING:
            self._frame(PONG, payload)
        elif opcode == CLOSE:
            self.closed = int.from_bytes(payload[:2]) if payload else 1005
            self._frame(CLOSE, payload[:2])

    def _frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
        self._write(bytes([0x80 | opcode]) + length + bytes(4) + payload)

    def _write(self, data: bytes) -> None:
        if self._socket is None:
            return
        try:
            sent = self._socket.send(data)
        except OSError:
            return  # reading will tell
        if sent < len(data):
            raise RuntimeError("the server does not read")


class Asking(Client):
    """Says one thing, and is ready when it is answered."""

    def __init__(self, port: int, headers: str, asks: str, answer: str) -> None:
        super().__init__(port, headers=headers)
        self._asks = asks
        self._answer = answer.encode()

    def greet(self) -> None:
        """Ask."""
        self.send(self._asks)

    def text(self, payload: bytes, at: int) -> None:  # noqa: ARG002
        """Compare. Raises: RuntimeError when the server refuses."""
        if b'"type":"refused"' in payload:
            raise RuntimeError(f"the server refuses: {payload.decode()}")
        self.ready = self.ready or self._answer in payload


class Crowd:
    """Serves clients, and other descriptors, in the thread that calls `run`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._watched: dict[int, Callable[[], None]] = {}

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call back whenever a descriptor can be read."""
        self._watched[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def connect(self, client: Client) -> None:
        """Begin to connect a client."""
        descriptor = client.connect()
        self._clients[descriptor] = client
        self._epoll.register(descriptor, select.EPOLLOUT)

    def open(self, clients: Sequence[Client], at_once: int = 100, seconds: float = 30) -> None:
        """Connect clients, and wait until all are ready. Raises: RuntimeError when the server does not take them."""
        for start in range(0, len(clients), at_once):
            some = clients[start : start + at_once]
            for client in some:
                self.connect(client)
            if not self.run(lambda some=some: all(client.ready for client in some), seconds):
                raise RuntimeError("the server does not take our sockets")

    def run(self, until: Callable[[], bool], seconds: float) -> bool:
        """Serve until a condition holds. Returns: whether it does, after so many seconds at most."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                return False
            for descriptor, events in self._epoll.poll(0.05, AT_ONCE):
                self._serve(descriptor, events)
        return True

    def _serve(self, descriptor: int, events: int) -> None:
        if descriptor in self._watched:
            self._watched[descriptor]()
            return
        client = self._clients[descriptor]
        if not events & select.EPOLLOUT:
            client.readable()
        elif events & (select.EPOLLERR | select.EPOLLHUP):
            client.drop(1006)  # nobody listens there
        else:
            self._epoll.modify(descriptor, select.EPOLLIN)
            client.connected()
