"""What a gateway does: it signs bodies and posts them to the API, as production runs it, in two processes."""

import http.client
import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from chatapp.dev.child import Child, http_ok
from chatapp.dev.ports import free_port
from chatapp.flows.port import Flow, done, put, say
from chatapp.incoming.signature import HEADER, sign
from chatapp.model import text_of
from config.settings import Settings
from tests.integration.attack_kit import Answer
from tests.integration.ws_kit import environment
from tests.servers import running

SECRETS = ("the-first-secret-of-two", "the-second-secret-of-two")
COMMAND = (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn_api.py", "chatapp.api:create_app()")
INGEST, TEMPLATE = "/webhook/ingest", "/hooks/template-fired"


class Repeat(Flow):
    """Stands in for the orchestrator: says what it was told, and keeps the template it knows of."""

    name = "orchestrator"

    def run(self, asked):
        """Yield the answer."""
        templates = [part["name"] for part in asked.turn.input if part["kind"] == "template"]
        if templates:
            yield put(Template=templates[0])
        else:
            known = asked.session.state.get("Template", "nothing")
            yield from say(f"{text_of(asked.turn.input)} after {known}")
        yield done(asked)


@dataclass
class Gateway:
    """Sends webhooks, and remembers the numbers that it sent."""

    port: int
    folder: Path
    process: Any
    phones: list[str] = field(default_factory=list)

    def phone(self) -> str:
        """A number that nobody else has."""
        self.phones.append(f"+5511{secrets.randbelow(10**9):09d}")
        return self.phones[-1]

    def post(self, path: str, body: bytes, *, timeout: float = 60, **headers: str | None) -> Answer:
        """Post raw bytes; headers that are None are left out."""
        given = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            connection.request("POST", path, body, {k: v for k, v in given.items() if v is not None})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def send(self, body: Any, path: str = INGEST, *, secret: str = SECRETS[0], **headers: str | None) -> Answer:
        """Post a body, signed; what is no bytes goes as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.post(path, data, **{HEADER: sign(secret.encode(), data), **headers})

    def log(self) -> str:
        """What the API has written so far."""
        return (self.folder / "api.log").read_text(errors="replace")

    def workers(self) -> set[int]:
        """Process ids of the API's workers."""
        return {child.pid for child in psutil.Process(self.process.pid).children()}


@contextmanager
def gateway(settings: Settings, folder: Path, **env: str) -> Iterator[Gateway]:
    """Run the API in two processes and be its gateway; nothing may be an unexpected exception, or tell a number in the log."""
    port = free_port()
    variables = {**environment(settings), "API_BIND": f"127.0.0.1:{port}", "WEB_WORKERS": "2", **env}
    with running(Child("api", COMMAND, variables, http_ok(port, "/health/live")), folder) as process:
        made = Gateway(port, folder, process)
        yield made
    log = made.log()
    assert "Traceback" not in log, log
    assert not [phone for phone in made.phones if phone[1:] in log]


def message(phone: str, text: str = "cheguei", **more: Any) -> dict[str, Any]:
    """A message with an id of its own."""
    return {"message_id": f"wamid.{secrets.token_hex(8)}", "phoneNumber": phone, "text": text, **more}
