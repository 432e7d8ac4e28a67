"""A server that does what a test says, over real sockets: HTTP and WebSocket on one port."""

import json
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from flask import Flask, Response, request
from flask_sock import Sock
from werkzeug.serving import make_server

JOB = "0" * 32 + ".1"


class Scripted:
    """`http` and `sockets` hold what is done with each request or connection, in order; the last one again and again.

    A request is answered by `(status, body, headers)`; a connection is a function of the socket. `requests` is what came.
    """

    def __init__(self) -> None:
        self.http: deque[tuple[int, Any, dict[str, str]]] = deque()
        self.sockets: deque[Callable[[Any], None]] = deque()
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.subscribes: list[dict[str, Any]] = []
        self.bearers: list[str] = []
        app = Flask(__name__)
        app.add_url_rule("/<path:path>", view_func=self._answer, methods=["GET", "POST"])
        Sock(app).route("/ws")(self._socket)
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self._server.port}/ws"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def accept(self) -> tuple[int, Any, dict[str, str]]:
        """What `POST /chat` answers."""
        return 202, {"job_id": JOB, "session_id": JOB[:32], "status": "queued", "links": {"websocket": self.ws}}, {}

    def _answer(self, path: str) -> Response:
        self.requests.append((f"{request.method} /{path}", dict(request.headers), request.get_json(silent=True)))
        status, body, headers = self.http.popleft() if len(self.http) > 1 else self.http[0]
        kind = "application/problem+json" if status >= 400 else "application/json"
        text = body if isinstance(body, str) else json.dumps(body)
        return Response(text, status, headers={"Content-Type": kind, **headers})

    def _socket(self, ws: Any) -> None:
        self.bearers.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        (self.sockets.popleft() if len(self.sockets) > 1 else self.sockets[0])(ws)


class Talk:
    """One connection as a list of things to do: frames to send, then a way to end."""

    def __init__(
        self, server: Scripted, *events: dict[str, Any], recovered: bool = True, status: str = "running", ping: float = 25
    ):
        self._server, self._events, self._ping = server, events, ping
        self._turn = {"job_id": JOB, "status": status, "position": 0, "recovered": recovered}
        self._end: Callable[[Any], None] = lambda ws: ws.receive()

    def closing(self, code: int, reason: str = "") -> Self:
        """Close it like this after the last event, instead of waiting for the client to leave."""
        self._end = lambda ws: ws.close(code, reason)
        return self

    def __call__(self, ws: Any) -> None:
        ws.send(json.dumps({"type": "connected", "auth_required": False, "ping_interval": self._ping}))
        frame = json.loads(ws.receive())
        self._server.subscribes.append(frame)
        ws.send(json.dumps({"type": "subscribed", "id": frame["id"], "session_id": JOB[:32], "turns": [self._turn]}))
        for event in self._events:
            ws.send(json.dumps(event))
        self._end(ws)
