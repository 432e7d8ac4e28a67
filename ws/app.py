"""The WebSocket server's Flask app: the handshake of `/ws`, and health.

Run by gunicorn's gevent worker: `python -m gunicorn -c config/gunicorn_ws.py "ws.app:create_app()"`.
"""

import binascii
import threading
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, json, request
from flask_sock import Sock
from werkzeug.routing.exceptions import WebsocketMismatch
from wsproto.utilities import RemoteProtocolError

from chatapp import logs, problems
from chatapp.errors import Malformed
from chatapp.live.replay import Replay
from chatapp.origins import may_call
from chatapp.services import Services, build
from config.settings import Settings, load
from ws.audience import Audience
from ws.connection import Connection
from ws.draining import Draining
from ws.hub import Hub
from ws.looks import Looks
from ws.metering import Allowance, Meter
from ws.parts import Bearer, Credential, Limits, Parts, Ticket
from ws.presence import Presence
from ws.protocol import Close
from ws.registrar import Registrar
from ws.wire import Bell, WholeFrames, hang_up

MAX_STRANGERS = 2_000
"""Sockets that may be open without having said who they are: a sixth of `worker_connections`, so that however many of them are
opened, clients that bring a token or a ticket with the handshake find a place."""


def create_app(services: Services | None = None) -> Flask:
    """Make the app. Nothing connects before the first request."""
    if services is None:
        services = build(load())
        logs.set_up(services.settings.log_level)
    app = Flask(__name__, static_folder=None)
    app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": services.settings.ws_ping_seconds, "event_class": Bell}
    app.before_request(_prepare_handshake(services.settings))
    problems.install(app)
    app.register_error_handler(RemoteProtocolError, _no_handshake)
    app.register_error_handler(WebsocketMismatch, _no_handshake)
    _ = services.commands  # imported now: celery takes longer than a socket may wait for the others
    _add_socket(app, services)
    _add_health(app, services)
    return app


def _add_socket(app: Flask, services: Services) -> None:
    parts = _parts(services)
    draining = Draining()
    # config/gunicorn_worker.py asks for both.
    app.extensions["drain"] = draining.begin
    app.extensions["first_request_seconds"] = services.settings.ws_auth_seconds

    @Sock(app).route("/ws")  # type: ignore[untyped-decorator]
    def serve(ws: Any) -> None:
        if not may_call(request.headers.get("Origin"), services.settings):
            # A browser shows its page the close code of an open socket, but nothing at all of a refused handshake.
            hang_up(ws, Close.FORBIDDEN_ORIGIN, "this origin may not connect")
            return
        connection = Connection(ws, parts)
        with draining.holding(connection):
            connection.run(_credential())


def _parts(services: Services) -> Parts:
    settings = services.settings
    registrar = Registrar(services.sockets, services.clock, services.name, settings.ws_max_sockets)
    hub = Hub(services.channel, services.name, registrar.restore)
    return Parts(
        hub=hub,
        presence=Presence(hub=hub, audience=Audience(services.channel), registrar=registrar),
        tokens=services.tokens,
        tickets=services.tickets,
        sessions=services.sessions,
        replay=Replay(services.events, services.turns),
        commands=services.commands,
        limiter=services.limiter,
        clock=services.clock,
        limits=Limits(
            auth_seconds=settings.ws_auth_seconds,
            ping_seconds=settings.ws_ping_seconds,
            max_payload=settings.ws_max_payload,
            inbox=settings.ws_send_queue,
            inbox_bytes=settings.ws_send_bytes,
            subscriptions=settings.ws_max_subscriptions,
        ),
        settings=settings,
        looks=Looks(services.clock),
        lobby=threading.BoundedSemaphore(MAX_STRANGERS),
    )


def _credential() -> Credential | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return Bearer(token.strip())
    ticket = request.args.get("ticket")
    return None if ticket is None else Ticket(ticket)


def _prepare_handshake(settings: Settings) -> Callable[[], None]:
    allowance = Allowance(settings.ws_max_payload, settings.ws_frames_per_second)

    def prepare() -> None:
        """Make the socket beneath safe before flask-sock takes it."""
        environ = request.environ
        _check_key(environ.get("HTTP_SEC_WEBSOCKET_KEY"))
        if "gunicorn.socket" in environ:
            environ["gunicorn.socket"] = WholeFrames(environ["gunicorn.socket"], Meter(allowance))
        # simple-websocket always agrees to permessage-deflate: a frame of 190 kB would inflate to 200 MB.
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)

    return prepare


def _check_key(key: str | None) -> None:
    """Refuse a key that is not 16 bytes in base64 (RFC 6455 section 4.2.1): wsproto takes any text."""
    try:
        right = key is None or len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except ValueError:
        right = False
    if not right:
        raise RemoteProtocolError("Sec-WebSocket-Key is not 16 bytes in base64")


def _add_health(app: Flask, services: Services) -> None:
    @app.get("/health/live")
    def live() -> Response:
        return _json({"status": "UP"})

    @app.get("/health/ready")
    def ready() -> Response:
        up = services.health.redis()
        return _json({"status": "UP" if up else "DOWN", "parts": {"redis": "UP" if up else "DOWN"}}, 200 if up else 503)


def _no_handshake(_error: Exception) -> Response:
    return problems.answer(Malformed("This is no WebSocket handshake (RFC 6455)"))


def _json(body: dict[str, object], status: int = 200) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")
