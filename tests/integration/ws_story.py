"""A run of everything that goes over a socket, written down: the docs' transcript and the examples of the API are made of it."""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from chatapp.api.socket_messages import message_id
from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.flows.extra import public
from chatapp.flows.interview.flow import Interview
from chatapp.live.events import key_of
from chatapp.model import JobId
from chatapp.server_frames import FRAME
from tests.integration.workers import until
from tests.integration.ws_kit import Client, token

USER = f"ada-{secrets.token_hex(4)}"  # whose limits no other test has used
WRONG = {"type": "subscribe", "id": 9, "session_id": "x"}
CHATS = 5
"""Messages that are sent over the sockets before one is refused."""

NOW = "2026-11-21T06:30:00.000Z"
Line = tuple[str, dict[str, Any]]
"""Who says it (`>` the client, `<` the server), and what."""


class Told(Client):
    """A socket whose frames are written down."""

    def __init__(self, url: str, lines: list[Line], **options: Any) -> None:
        super().__init__(url, **options)
        self.ws.settimeout(30)
        self.lines = lines

    def send(self, kind: str, **fields: Any) -> None:
        self.lines.append((">", deepcopy({"type": kind, **fields})))
        super().send(kind, **fields)

    def recv(self) -> dict[str, Any]:
        frame = super().recv()
        self.lines.append(("<", frame))
        return frame

    def until(self, kind: str) -> dict[str, Any]:
        """Receive up to a frame of this type."""
        while (frame := self.recv())["type"] != kind:
            assert frame["type"] != "refused", frame
        return frame

    def sign_in(self) -> None:
        """Say who it is with the first frame, as browsers do."""
        self.until("connected")
        assert self.ask("auth", id=1, token=token(USER))["type"] == "ack"


def worked(url: str, services: Any, job_id: JobId, start_worker: Callable[[], object]) -> list[tuple[str, list[Line]]]:
    """Play the story of the docs: follow a job, lose the connection, resume, ask again, cancel. Gives its chapters."""
    session_id, first, second, third = job_id.session_id, [], [], []
    resume = {"job_id": str(job_id), "after": None}
    with Told(url, first) as client:
        client.sign_in()
        client.ask("subscribe", id=2, session_id=session_id, resume=resume)
        start_worker()
        resume["after"] = client.until("message_delta")["id"]
    until(lambda: "message_completed" in (services.events.last(job_id) or ""), 30, "the turn has not ended")
    with Told(url, second) as client:
        client.sign_in()
        client.ask("subscribe", id=2, session_id=session_id, resume=resume)
        client.until("message_completed")
        client.lines = third
        asked = client.ask("chat", id=3, session_id=session_id, message="And what is a queue? [[hang=5]]")
        client.until("message_delta")
        client.send("cancel", id=4, job_id=asked["job_id"])
        client.until("message_cancelled")
    return [("", first), (CUT, second), (ASK, third)]


CUT = "The connection breaks here. The client comes back with the id of the last event that it saw, and gets the rest:"
ASK = "It asks something else over the same socket, which follows the session already, and changes its mind:"


def gallery(url: str, services: Any) -> list[Line]:
    """Say and hear what the story has not: the rest of the frames."""
    lines: list[Line] = []
    with Told(url, lines, bearer=token(USER)) as client:
        client.until("connected")
        client.ask("ping", id="p")
        client.ask("refresh", id="r", token=token(USER))
        client.ask("subscribe", session_id="0" * 32)
        again = client.ask("chat", id=1, message="Try twice [[fail=1 status=503]]")
        client.until("message_completed")
        client.ask("confirm", id=2, session_id=again["session_id"], action_id="a1")
        client.ask("unsubscribe", id=3, session_id=again["session_id"])
        client.ask("subscribe", id=4, session_id=again["session_id"])
        client.ask("chat", id=5, message="This fails [[status=400]]")
        client.until("error")
        client.ask("chat", id=6, message="At length [[tokens=12000 delay=0]]")
        client.until("message_completed")
        lost = client.ask("chat", id=7, message="Whatever happens [[tokens=20 delay=0.1]]")
        client.until("message_delta")
        services.redis.delete(key_of(JobId.parse(lost["job_id"])))
        client.until("message_snapshot")
        client.until("message_completed")
        services.session_log.append(
            lost["session_id"], "notice", title="Profile", text="Your name was noted.", data={"name": "Ada"}
        )
        client.until("notice")
        for kind, fields in of_flows(lost["session_id"], services.clock.now()):
            services.session_log.append(lost["session_id"], kind, **fields)
            client.until(kind)
        client.ask("subscribe", id=8, session_id=lost["session_id"], log_after="0-0")
        client.until("profile_updated")
        services.pushes.to_user(USER, {"type": "notification", "id": secrets.token_hex(16), "created_at": NOW, "text": "Hello"})
        client.until("notification")
        client.ask("subscribe", id=WRONG["id"], session_id=WRONG["session_id"])
        assert client.ask("chat", id=10, message="One too many")["code"] == "rate_limited"
    return lines


def of_flows(session_id: str, now: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Make what flows tell on a session's own log, as the product makes it: types and fields."""
    action = Effect(
        id=EffectId.action(session_id, 3, 0),
        user_id=USER,
        name="clinical_note",
        status=EffectStatus.STAGED,
        payload={"blood_pressure": {"systolic": 120, "diastolic": 80}},
        description="Write the note: blood pressure 120x80",
        created_at=now,
        expires_at=now + 3_600_000,
    )
    done = {"status": EffectStatus.EXECUTED, "result": {"reference": "n-17"}}
    yield "action_requested", public(action, now)
    yield "action_updated", public(replace(action, status=EffectStatus.CONFIRMED), now)
    yield "action_executed", public(replace(action, **done), now)
    kind, fields = Interview().told({"ProfileData": {"budget": 5000}, "AskedQuestions": ["origin"]})
    yield kind, {"version": 2, **fields}


class Canon:
    """Makes what differs from run to run the same: ids, times, tokens, in the order in which they come."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._began = datetime.fromisoformat("2026-11-21T06:00:00.000Z")

    def __call__(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Give a frame as every run would have it."""
        return {name: self._value(name, value) for name, value in frame.items()}

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return self(value)
        if isinstance(value, list):
            return [self._value(name, inner) for inner in value]
        if name in FIXED and value is not None:
            return FIXED[name]
        if name == "attempt" and value > 10**9:
            return OWN_LOG
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        if re.fullmatch(r"\d{10}-\d+", text):
            return f"{OWN_LOG}-{text.partition('-')[2]}"
        if re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", text):
            return self._known.setdefault(text, self._time())
        return re.sub(r"\b[0-9a-f]{32}\b", lambda m: self._known.setdefault(m[0], _hex(len(self._known))), text)

    def _time(self) -> str:
        at = self._began + timedelta(milliseconds=40 * len(self._known))
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


DIFFERS = frozenset(("id", "seq", "created_at"))
"""Of events, between two runs of the same."""

CUT_SHORT = frozenset(("text", "usage"))
OWN_LOG = 1_795_240_800
FIXED: dict[str, Any] = {
    "user_id": "ada",
    "retry_after": 714.2,
    "token": "eyJhbGciOi…",
    "expires_at": "2026-11-21T06:10:00.000Z",
    "retry_in": 2.134,
}


def _hex(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def examples(lines: list[Line]) -> dict[str, list[dict[str, Any]]]:
    """Choose one frame of each message and of each set of fields that it came with."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for who, frame in lines:
        if frame == WRONG:
            continue
        name = frame["type"] if who == ">" else message_id(type(FRAME.validate_python(frame)))
        found.setdefault(name, {}).setdefault(shape(frame), frame)
    return {name: list(kinds.values()) for name, kinds in sorted(found.items())}


def shape(frame: dict[str, Any]) -> str:
    """Say which fields a frame has, and which of them say nothing."""
    return json.dumps(sorted((name, value is None) for name, value in frame.items()))


def render(chapters: list[tuple[str, list[Line]]]) -> str:
    """Write chapters as the docs show them; of long ids the two ends."""
    parts = []
    for caption, lines in chapters:
        parts += [caption, ""] if caption else []
        parts += [f"    {who} {_short(json.dumps(f, ensure_ascii=False, separators=(',', ':')))}" for who, f in lines] + [""]
    return "\n".join(parts)


def _short(text: str) -> str:
    return re.sub(r"\b([0-9a-f]{4})[0-9a-f]{24}([0-9a-f]{4})\b", r"\1…\2", text)


def read(text: str) -> list[Line]:
    """Read what `render` wrote."""
    return [(m[1], json.loads(m[2])) for m in re.finditer(r"^    ([<>]) (\{.*\})$", text, re.MULTILINE)]


def told(lines: list[Line]) -> Iterator[Line]:
    """Reduce lines to what every run has in common: how often the model's pieces are cut differs, and with it the numbers."""
    before = ""
    for who, frame in lines:
        if frame["type"] == before == "message_delta":
            continue
        before = frame["type"]
        differs = DIFFERS | (CUT_SHORT if before in ("message_delta", "message_cancelled") else frozenset())
        masked = differs if before.startswith("message_") else {"created_at"}
        yield who, {name: None if name in masked else value for name, value in frame.items()}
