"""The worker process of both servers: gunicorn's gevent worker, which also knows how to leave.

Told to stop (SIGTERM), gunicorn's own waits for every connection to end and tells nobody. WebSockets, and connections that a load
balancer keeps open between two requests, do not end by themselves: each deploy would take the whole `graceful_timeout` and then
cut them off. Connections that the kernel has taken and nobody has accepted yet would be reset.
"""

import socket
import time
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn import util
from gunicorn.http.errors import (
    ExpectationFailed,
    ForbiddenProxyRequest,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.ggevent import GeventWorker

LAST_REQUEST_SECONDS = 1.0
"""How long a connection without a request is kept after SIGTERM. Who sends one at that moment, not knowing, is still answered;
that answer says `Connection: close`."""

FIRST_REQUEST_SECONDS = 5.0
"""How long a new connection has to send the head of its first request, unless the app says otherwise
(`app.extensions["first_request_seconds"]`): thousands that say nothing, or say it a letter at a time, must not hold the places
of those who do. Between two requests of a connection `keepalive` counts."""

LINGER_SECONDS = 5.0
"""How long a connection that ends with its answer may take to bring the rest of a body that nobody wants. Closed on unread bytes,
it would be reset, and the answer (that the body is too large, say) lost before it is read."""

UNREADABLE = {
    ForbiddenProxyRequest: 403,
    LimitRequestLine: 414,
    ExpectationFailed: 417,
    LimitRequestHeaders: 431,
    UnsupportedTransferCoding: 501,
}
"""Statuses of requests that gunicorn cannot read; 400 for all others."""


class Listener(StreamServer):  # type: ignore[misc]
    """Accepts connections, those that wait when it is closed included."""

    def close(self) -> None:
        """Take up who has come already, and close."""
        self.stop_accepting()
        while not self.closed and (accepted := self.do_read()):
            self.do_handle(*accepted)
        super().close()


@dataclass(frozen=True)
class Bound:
    """What gunicorn asks of a connection's listening socket, which may be closed by then."""

    name: Any

    def getsockname(self) -> Any:
        """Say where it listened."""
        return self.name


class DrainingWorker(GeventWorker):  # type: ignore[misc]
    """Serves one process; on SIGTERM finishes what it has begun, and goes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: set[socket.socket] = set()
        self._fresh: set[gevent.Greenlet] = set()
        self._told = Event()

    def handle_exit(self, sig: int, frame: object) -> None:
        """Take SIGTERM. Nothing may wait here: it may have interrupted the event loop itself."""
        super().handle_exit(sig, frame)
        self._told.set()

    def run(self) -> None:
        """Serve until SIGTERM; the app is then told (`app.extensions["drain"]`), and what has begun is finished."""
        listeners = [
            Listener(s, handle=partial(self.handle, Bound(s.getsockname())), spawn=Pool(self.worker_connections))
            for s in self.sockets
        ]
        for listener in listeners:
            listener.max_accept = 1 if self.cfg.workers > 1 else listener.max_accept
            listener.start()
        while self.alive:
            self.notify()
            self._told.wait(1.0)
        self.log.info("Draining: no new connections, the last requests (pid: %s)", self.pid)
        self.wsgi.extensions["drain"]()
        for listener in listeners:
            listener.close()
        gevent.spawn_later(LAST_REQUEST_SECONDS, self._end_idle)
        self._wait_for([listener.pool for listener in listeners])

    def _wait_for(self, pools: list[Pool]) -> None:
        until = time.monotonic() + self.cfg.graceful_timeout
        while left := sum(map(len, pools)):
            if time.monotonic() > until:
                self.log.warning("Worker graceful timeout (pid: %s): %d connections are cut", self.pid, left)
                return
            self.notify()
            gevent.sleep(0.1)

    def _end_idle(self) -> None:
        for client in tuple(self._idle):
            try:
                # Whoever reads there meets the end, after a request that has arrived by now. Through a duplicate, since
                # gevent's own `shutdown` throws an error into the reader.
                with client.dup() as same:
                    same.shutdown(socket.SHUT_RD)
            except OSError as error:
                self.log.debug("a connection ended by itself: %s", error)

    def timeout_ctx(self) -> Any:
        """Bound the wait for the next request of a connection."""
        first = self.wsgi.extensions.get("first_request_seconds", FIRST_REQUEST_SECONDS)
        usual = first if gevent.getcurrent() in self._fresh else self.cfg.keepalive
        return gevent.Timeout(usual if self.alive else LAST_REQUEST_SECONDS, False)

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Serve a connection until it ends."""
        self._idle.add(client)
        self._fresh.add(gevent.getcurrent())
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.discard(client)
            self._fresh.discard(gevent.getcurrent())

    def handle_request(self, listener_name: Any, req: Any, sock: socket.socket, addr: Any) -> None:
        """Serve one request of a connection."""
        self._idle.discard(sock)
        self._fresh.discard(gevent.getcurrent())
        req.uri = req.path  # for gunicorn's own log lines: the query may hold a ticket, which opens a door
        try:
            super().handle_request(listener_name, req, sock, addr)
        except StopIteration:  # gunicorn's word for: close it now
            self._linger(req)
            raise
        self._idle.add(sock)  # not when it raised: the connection ends then

    def _linger(self, req: Any) -> None:
        with gevent.Timeout(LINGER_SECONDS, False):
            try:
                while req.body.read(65_536):
                    pass
            except (OSError, ParseException) as error:
                self.log.debug("The rest of a body did not come: %s", error)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer a request that failed. gunicorn's own logs what it could not read, and sends it back: a token, say."""
        if not isinstance(exc, ParseException) or isinstance(exc, InvalidResponseHeader | InvalidResponseHeaderName):
            super().handle_error(req, client, addr, exc)
            return
        status = HTTPStatus(UNREADABLE.get(type(exc), 400))
        self.log.warning("A request from %s cannot be read: %s", addr[0] if addr else "a local socket", type(exc).__name__)
        try:
            util.write_error(client, status, status.phrase, "")
        except OSError as error:
            self.log.debug("Nobody waits for the answer: %s", error)
