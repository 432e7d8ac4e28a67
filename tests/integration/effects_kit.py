"""What tests of effects share: a target that counts its calls, and effects as flows and users make them."""

import json
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.model import new_session_id
from chatapp.services import Services
from chatapp.stores.dynamo import call
from chatapp.stores.effect_records import effect_item


@dataclass
class Target:
    """A server that counts how often it was called, by the idempotency key. `answers`: the next statuses, by path; else 200."""

    url: str
    calls: "Counter[str]" = field(default_factory=Counter)
    questions: "Counter[str]" = field(default_factory=Counter)
    answers: dict[str, list[int]] = field(default_factory=dict)
    hold: threading.Event = field(default_factory=threading.Event)
    """Cleared: calls of /held wait."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def target(self) -> Target:
        return cast("_Server", self.server).target

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.target.calls[self.headers["Idempotency-Key"] or self.headers["webhook-id"]] += 1
        if self.path == "/held":
            self.target.hold.wait(20)
        statuses = self.target.answers.get(self.path)
        self._answer(statuses.pop(0) if statuses else 200, {"status": "executed", "reference": "r-1"})

    def do_GET(self) -> None:
        key = self.path.rpartition("=")[2].replace("%2F", "/")
        self.target.questions[key] += 1
        statuses = self.target.answers.get("/status")
        if statuses:
            self._answer(statuses.pop(0), {})
        elif self.target.calls[key]:
            self._answer(200, {"status": "executed", "reference": "r-1"})
        else:
            self._answer(404, {"status": "unknown"})

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        if status in (429, 503):
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 200
    target: Target

    def handle_error(self, *_args: object) -> None:
        """A caller that was killed in mid-call is what these tests are about."""


@contextmanager
def target() -> Iterator[Target]:
    """Run a target on a free port."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.target = Target(f"http://127.0.0.1:{server.server_address[1]}")
    server.target.hold.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.target
    finally:
        server.target.hold.set()
        server.shutdown()
        server.server_close()


def staged(services: Services, name: str = "book", *, confirmed: bool = True, **fields: Any) -> Effect:
    """Store an action as a turn's end does; unless told otherwise confirmed, without its message."""
    now = services.clock.now()
    status = EffectStatus.CONFIRMED if confirmed else EffectStatus.STAGED
    more: dict[str, Any] = {"expires_at": now + 3_600_000} | ({"due": now, "wake_at": now + 60_000} if confirmed else {})
    action = EffectId.action(new_session_id(), 1, 0)
    return put(services, id=action, name=name, status=status, **(more | fields))


def owed(services: Services, url: str, **fields: Any) -> Effect:
    """Store a delivery as a turn's end does, without its message."""
    now = services.clock.now()
    more = {"status": EffectStatus.CONFIRMED, "due": now, "wake_at": now + 60_000, "expires_at": now, "target": url}
    return put(services, id=EffectId.reply(new_session_id(), 1), name="turn", payload={"turn": 1}, **(more | fields))


def put(services: Services, **fields: Any) -> Effect:
    """Store an effect as it is given."""
    effect = Effect(user_id=f"user-{secrets.token_hex(4)}", created_at=services.clock.now(), **fields)
    table = services.settings.table_name("pending-actions")
    services.dynamodb.put_item(**call(table, item=effect_item(effect)))
    return effect
