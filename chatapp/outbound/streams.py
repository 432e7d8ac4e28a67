"""Bytes to and from a target, plain or encrypted, every wait of which ends with one deadline.

A socket's own time-out is for one wait: a target that sends a byte a second could hold it for ever. TLS is done in memory
(RFC 8446 by `ssl.MemoryBIO`), because the time-outs of encrypted sockets begin anew with every record under gevent.
"""

import io
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

T = TypeVar("T")

CHUNK_BYTES = 16_384


class Deadline:
    """A moment, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Say how many seconds are left, more than none. Raises: TimeoutError, when it has passed."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left


class Stream(Protocol):
    """A connection. Its methods raise OSError, of which TimeoutError and ssl.SSLError are kinds."""

    def recv(self, size: int) -> bytes:
        """Wait for some bytes; none are the end."""
        ...

    def sendall(self, data: bytes) -> None:
        """Send all."""
        ...


class PlainStream:
    """A connected socket with a deadline."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def recv(self, size: int) -> bytes:
        """Wait for some bytes; none are the end."""
        self._socket.settimeout(self._deadline.left())
        return self._socket.recv(size)

    def sendall(self, data: bytes) -> None:
        """Send all."""
        rest = memoryview(data)
        while rest:
            self._socket.settimeout(self._deadline.left())
            rest = rest[self._socket.send(rest[:CHUNK_BYTES]) :]


class EncryptedStream:
    """TLS over a stream."""

    def __init__(self, beneath: PlainStream, context: ssl.SSLContext, host: str) -> None:
        """Shake hands. Raises: OSError; ssl.SSLCertVerificationError when the certificate is not `host`'s."""
        self._beneath = beneath
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._do(self._tls.do_handshake)

    def recv(self, size: int) -> bytes:
        """Wait for some bytes; none are the end."""
        try:
            return self._do(lambda: self._tls.read(size))
        except ssl.SSLZeroReturnError:
            return b""

    def sendall(self, data: bytes) -> None:
        """Send all."""
        for at in range(0, len(data), CHUNK_BYTES):
            chunk = data[at : at + CHUNK_BYTES]
            self._do(partial(self._tls.write, chunk))

    def _do(self, step: Callable[[], T]) -> T:
        """Take a step of TLS, and carry between it and the peer what it wants to send and to read."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                if received := self._beneath.recv(CHUNK_BYTES):
                    self._in.write(received)
                else:
                    self._in.write_eof()
            except ssl.SSLError:
                self._flush_alert()
                raise
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if self._out.pending:
            self._beneath.sendall(self._out.read())

    def _flush_alert(self) -> None:
        """Tell the peer what was wrong, if it still listens: it is the peer's log that its owner reads."""
        try:
            self._flush()
        except OSError:
            return  # there is nothing more to say


class Incoming(io.RawIOBase):
    """The answer's bytes as a file, as http.client reads them, and no more than `most` of them."""

    def __init__(self, stream: Stream, most: int) -> None:
        self._stream = stream
        self._left = most

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Read some bytes. Raises: OSError, also when there are more than may be."""
        if self._left <= 0:
            raise OSError("the answer is too large")
        received = self._stream.recv(min(len(buffer), self._left))
        self._left -= len(received)
        buffer[: len(received)] = received
        return len(received)


class Wire:
    """A stream as http.client wants a socket: it sends by `sendall` and reads by a file. `used`: something may have been sent."""

    def __init__(self, stream: Stream, most: int) -> None:
        self._stream = stream
        self._most = most
        self.used = False

    def sendall(self, data: bytes) -> None:
        """Send all. Raises: OSError."""
        self.used = True
        self._stream.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Give what comes in as a file."""
        return io.BufferedReader(Incoming(self._stream, self._most))

    def close(self) -> None:
        """Do nothing: who connected closes."""
