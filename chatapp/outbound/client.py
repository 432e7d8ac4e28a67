"""One HTTP exchange with a target that is not trusted to be well: one deadline for all of it, and bounds on what it may send.

No redirects are followed, no proxy is taken from the environment, no connection is kept, certificates are verified.
"""

import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from chatapp.outbound.failures import CallFailed, Crowded, NotSent, Unanswered
from chatapp.outbound.resolving import Resolver
from chatapp.outbound.streams import Deadline, EncryptedStream, PlainStream, Stream, Wire

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 65_536
MAX_HEAD_BYTES = 32_768
MAX_CALLS_PER_ADDRESS = 25
"""At the same time, of this process: a target that answers slowly must not take every slot of a worker."""

USER_AGENT = "chatapp"


@dataclass(frozen=True, slots=True)
class Answer:
    """A target's answer. Header names are in lower case; `body` is None when it broke off, took too long or was too large."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


class HttpClient:
    """Calls targets. Safe for many threads or greenlets."""

    def __init__(
        self,
        seconds: float,
        *,
        resolver: Resolver | None = None,
        context: ssl.SSLContext | None = None,
        calls_per_address: int = MAX_CALLS_PER_ADDRESS,
    ) -> None:
        """`seconds` bound a whole exchange, from the look-up of the name to the last byte."""
        self._seconds = seconds
        self._resolver = resolver or Resolver()
        self._context = context or ssl.create_default_context()
        self._most = calls_per_address
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def send(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, public: bool) -> Answer:
        """Send a request; `public`: only to an address of the public Internet.

        Returns: the answer, whatever its status. Raises: NotSent (and its kinds), Unanswered.
        """
        deadline = Deadline(self._seconds)
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        addresses = self._resolver.addresses(host, port, deadline, public=public)
        with self._seat(addresses[0]), closing(_connect(addresses, port, deadline)) as connected:
            wire = Wire(self._stream(connected, deadline, parts), MAX_HEAD_BYTES + MAX_BODY_BYTES)
            try:
                return _exchange(wire, parts, method, headers, body)
            except (OSError, HTTPException, ValueError) as error:
                raise _failure(error, sent=wire.used) from error

    @contextmanager
    def _seat(self, address: str) -> Iterator[None]:
        with self._lock:
            if self._calls[address] >= self._most:
                raise Crowded("Too many calls to the target are under way")
            self._calls[address] += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls[address] -= 1
                if not self._calls[address]:
                    del self._calls[address]

    def _stream(self, connected: socket.socket, deadline: Deadline, parts: SplitResult) -> Stream:
        plain = PlainStream(connected, deadline)
        if parts.scheme != "https":
            return plain
        try:
            return EncryptedStream(plain, self._context, parts.hostname or "")
        except ssl.SSLCertVerificationError as error:
            raise NotSent("The target's certificate cannot be trusted") from error
        except OSError as error:
            raise NotSent("TLS with the target failed") from error


def _connect(addresses: list[str], port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first address that lets us, each with its share of the time. Raises: NotSent."""
    for at, address in enumerate(addresses):
        connecting = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            connecting.settimeout(deadline.left() / (len(addresses) - at))
            connecting.connect((address, port))
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connecting.close()
            log.debug("an address of the target cannot be reached: %s", type(error).__name__)
        else:
            return connecting
    raise NotSent("The target cannot be reached")


def _failure(error: Exception, *, sent: bool) -> CallFailed:
    if not sent:
        return NotSent("The request cannot be written: its URL is none")
    if isinstance(error, TimeoutError):
        return Unanswered("The target did not answer in time")
    return Unanswered("The target's answer cannot be read, or did not come")


def _exchange(wire: Wire, parts: SplitResult, method: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
    """Send the request and read the answer. Raises: OSError, HTTPException, ValueError."""
    connection = HTTPConnection(parts.hostname or "")
    connection.sock = cast(Any, wire)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    ours = {"Host": parts.netloc, "User-Agent": USER_AGENT, "Accept": "application/json", "Connection": "close"}
    connection.request(method, path, body=body, headers={**ours, **headers})
    with closing(connection.getresponse()) as response:
        if response.status < 200:
            raise HTTPException("an interim answer in the place of the answer")
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, _body(response))


def _body(response: HTTPResponse) -> bytes | None:
    """Read the body. The status is the answer: a body that does not come whole takes nothing from it."""
    if (response.length or 0) > MAX_BODY_BYTES:
        return None
    try:
        body = response.read(MAX_BODY_BYTES + 1)
    except (OSError, HTTPException, ValueError) as error:
        log.debug("the body of an answer broke off: %s", type(error).__name__)
        return None
    whole = len(body) <= MAX_BODY_BYTES and not response.length
    return body if whole else None
