"""The socket beneath the WebSocket: a frame goes out whole or the connection is dead."""

import logging
import select
import socket
import threading
import time
from typing import Any, Protocol

from simple_websocket import ConnectionClosed
from wsproto.utilities import LocalProtocolError

from ws.metering import Meter
from ws.protocol import Close

log = logging.getLogger(__name__)

SEND_SECONDS = 10.0
"""Longest time that a peer may take to make room for one frame."""

SEND_BUFFER_BYTES = 262_144
"""What the kernel holds of a slow reader, besides our own inbox; by itself it takes up to 4 MB for each."""

DRAIN_SECONDS = 1.0
"""How long a peer may go on sending after the close."""

DISCARD_BYTES = 65_536
DISCARD_SECONDS = 0.01
"""Pause after so much was taken from a client that is being closed for sending too much: a flood costs next to nothing."""

MAX_REASON_CHARS = 120
LINGER_SECONDS = 2.0
"""Time that a client has to answer a close before the connection is cut."""


class Owner(Protocol):
    """Who is told what happens on a socket. Called by simple-websocket's thread; none of it may wait."""

    def heard(self) -> None:
        """A frame has arrived, or the socket is closed."""
        ...

    def lost(self) -> None:
        """The client has closed or is gone, and has been answered."""
        ...

    def exceeded(self, code: Close) -> None:
        """The client sent more than it may."""
        ...


class Bell:
    """Stands in for simple-websocket's event (its `event_class`): tells the owner, so that no thread has to wait for it."""

    __slots__ = ("owner",)

    def __init__(self) -> None:
        self.owner: Owner | None = None

    def set(self) -> None:
        """Say that a frame has arrived, or that the socket is closed."""
        if self.owner is not None:
            self.owner.heard()


class WholeFrames:
    """Stands in for the client's socket, so that frames of several threads never mix and none is cut.

    simple-websocket 1.1.0 calls `send` and ignores how much of the frame went out; under gevent that is a part as soon as
    the peer reads slowly, and the rest of the stream is garbage (its issue 45). It has no lock between its ping thread and
    us either. TLS ends before this process.
    """

    __slots__ = ("_broken", "_lock", "_meter", "_sock", "owner")

    def __init__(self, sock: socket.socket, meter: Meter | None = None) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._sock = sock
        self._meter = meter
        self._lock = threading.Lock()
        self._broken = False
        self.owner: Owner | None = None

    def send(self, data: bytes) -> int:
        """Write all of `data`.

        Raises: TimeoutError when the peer does not read for SEND_SECONDS; OSError. The connection is of no use after either.
        """
        with self._lock:
            if self._broken:
                raise BrokenPipeError("an earlier frame was cut")
            try:
                self._send_all(memoryview(data))
            except OSError:
                self._broken = True
                raise
        return len(data)

    def _send_all(self, rest: memoryview) -> None:
        until = time.monotonic() + SEND_SECONDS
        while rest:
            try:
                # Not `send`: gevent's waits in spite of the flag, for as long as the peer likes.
                rest = rest[self._sock.sendmsg([rest], [], socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                self._wait_writable(until - time.monotonic())

    def _wait_writable(self, seconds: float) -> None:
        if seconds <= 0 or not self._poll(select.POLLOUT, seconds):
            raise TimeoutError("the peer does not read")

    def recv(self, size: int) -> bytes:
        """Read what is there. From a client that sends more than it may nothing is read any more: this waits for the end then."""
        data = self._sock.recv(size)
        excess = self._meter.feed(data, time.monotonic()) if self._meter else None
        if excess is None:
            return data
        if self.owner is not None:
            self.owner.exceeded(excess)
        self._discard()
        return b""

    def _discard(self) -> None:
        """Take what still comes, slowly, so that the close frame is not lost behind a reset, until the connection is cut."""
        while self._sock.recv(DISCARD_BYTES):
            time.sleep(DISCARD_SECONDS)

    def fileno(self) -> int:
        """Give the descriptor; -1 once closed."""
        return self._sock.fileno()

    def finish(self) -> None:
        """Send nothing more, once what was written is out. Wakes who waits for room."""
        self._broken = True
        self._shut(socket.SHUT_WR)

    def cut(self) -> None:
        """End the connection in both directions. Wakes who reads or writes."""
        self._broken = True
        self._shut(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back, once the peer has closed too or DRAIN_SECONDS have passed.

        Closing with something unread makes the kernel send a reset, which takes the close frame from a peer that has not
        yet read it: it would never learn the code.
        """
        self.finish()
        if self.owner is not None:
            self.owner.lost()
        try:
            self._drain(time.monotonic() + DRAIN_SECONDS)
        except OSError:
            self._broken = True  # the peer was faster, which is as good
        self._sock.close()

    def _drain(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if not self._poll(select.POLLIN, left) or not self._sock.recv(65_536):
                return

    def _poll(self, event: int, seconds: float) -> bool:
        if self._sock.fileno() < 0:
            raise BrokenPipeError("closed meanwhile")
        poll = select.poll()
        poll.register(self._sock.fileno(), event)
        return bool(poll.poll(seconds * 1000))

    def _shut(self, how: int) -> None:
        try:
            self._sock.shutdown(how)
        except OSError:
            self._broken = True  # not connected any more, which is what was wanted


def hang_up(ws: Any, code: int | None, reason: str = "") -> None:
    """Close a WebSocket over `WholeFrames`, and end its reader; without a code the peer is gone and told nothing.

    Waits for the peer to close too, LINGER_SECONDS at most: when the caller returns, gunicorn closes the socket.
    """
    if code is not None:
        try:
            ws.close(code, reason[:MAX_REASON_CHARS] or None)
        except (ConnectionClosed, LocalProtocolError, OSError) as error:
            log.debug("a socket could not be told %d: %s", code, error)
    ws.sock.finish()
    ws.thread.join(LINGER_SECONDS)
    ws.sock.cut()
