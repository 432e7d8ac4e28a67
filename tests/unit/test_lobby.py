"""Sockets that have not said who they are: only so many at a time, and their places are given back."""

import threading
from types import SimpleNamespace

from chatapp.errors import Unauthenticated
from chatapp.model import Principal
from config.settings import Settings
from ws.connection import Connection
from ws.parts import Bearer, Limits, Parts

NOTHING = SimpleNamespace()


class Wire:
    """A WebSocket whose client says what it was told to, and keeps what it is sent."""

    def __init__(self, *said):
        self.input_buffer = list(said)
        self.event = SimpleNamespace()
        self.sock = SimpleNamespace(finish=lambda: None, cut=lambda: None)
        self.thread = SimpleNamespace(join=lambda _seconds: None)
        self.ws = SimpleNamespace(connection=NOTHING)
        self.sent = []
        self.code = None

    def send(self, text):
        self.sent.append(text)

    def close(self, code, _reason=None):
        self.code = code


def parts(places, auth_seconds=0.0):
    """What a connection needs to be refused."""

    def verify(token):
        if token == "good":
            return Principal("ann", expires_at=0)
        raise Unauthenticated

    return Parts(
        hub=NOTHING,
        presence=SimpleNamespace(begin=lambda *_: None, end=lambda *_: None),
        tokens=SimpleNamespace(verify=verify),
        tickets=NOTHING,
        sessions=NOTHING,
        replay=NOTHING,
        commands=NOTHING,
        limiter=NOTHING,
        clock=SimpleNamespace(now=lambda: 1, monotonic=lambda: 1.0),
        limits=Limits(auth_seconds=auth_seconds, ping_seconds=25, max_payload=1, inbox=10, inbox_bytes=1_000, subscriptions=1),
        settings=Settings(),
        looks=SimpleNamespace(take=lambda: True),
        lobby=threading.BoundedSemaphore(places),
    )


def code_of(given, credential=None, *said):
    """Serve a socket; says how it was closed."""
    wire = Wire(*said)
    Connection(wire, given).run(credential)
    return wire.code


def test_the_one_too_many_is_sent_away():
    """1013, before it is told anything."""
    given = parts(places=1)
    given.lobby.acquire()
    assert code_of(given) == 1013
    given.lobby.release()


def test_who_brings_a_token_needs_no_place():
    """Strangers cannot keep them out."""
    given = parts(places=1)
    given.lobby.acquire()
    assert code_of(given, Bearer("good")) == 4001  # it has expired
    assert code_of(given, Bearer("bad")) == 4500


def test_a_place_is_given_back():
    """By who is closed, and by who says who it is; once each, or the semaphore raises."""
    given = parts(places=1)
    for _ in range(3):
        assert code_of(given) == 4502
    given = parts(places=1, auth_seconds=10.0)
    for _ in range(3):
        assert code_of(given, None, '{"type":"auth","token":"good"}') == 4001
        assert code_of(given, None, '{"type":"auth","token":"bad"}') == 4500
