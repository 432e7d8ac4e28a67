"""Secrets do not leak: unique words go through all that a user can fill in, and are looked for where they must not be.

That is: the logs of every process, the bodies and attributes of the queue's messages, and the dead-letter queue with its reasons.
"""

import base64
import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from chatapp.auth import issue
from chatapp.dev.alone import stop
from chatapp.model import JobId
from config.settings import DEV_JWT_SECRET
from tests.integration.attack_kit import Pair, Raw, pair
from tests.integration.workers import env_of, started, until
from tests.integration.ws_kit import Client, signed_in, token
from tests.wakeups import b64, wake_up

MODEL_KEY = f"sk-canary{secrets.token_hex(12)}"
AWS_KEY = f"canary{secrets.token_hex(12)}"


@dataclass
class Canaries:
    """Words that nobody else writes, by where they were put."""

    words: dict[str, str] = field(default_factory=dict)

    def __call__(self, place: str) -> str:
        """Make one."""
        self.words[place] = word = f"canary{secrets.token_hex(12)}"
        return word

    def keep(self, place: str, secret: str) -> str:
        """Look for a secret of the product's own making too."""
        self.words[place] = secret
        return secret

    def found_in(self, text: str) -> list[str]:
        """Say which are in a text: as they are, or inside base64 in it."""
        decoded = text + "".join(_inside(text))
        return sorted(place for place, word in self.words.items() if word in decoded)


def _inside(text: str) -> list[str]:
    """What base64 in a text hides, two levels deep."""
    found = []
    for match in re.findall(r"[A-Za-z0-9+/=_-]{40,}", text):
        try:
            plain = base64.b64decode(match + "=" * (-len(match) % 4), altchars=b"-_").decode("latin-1")
        except ValueError:
            continue
        found += [plain, *(_inside(plain) if len(plain) < len(text) else [])]
    return found


@dataclass(frozen=True)
class Seen:
    """Where secrets must not be: a text by its name."""

    texts: dict[str, str]
    canaries: Canaries


@pytest.fixture(scope="module")
def seen(settings, tmp_path_factory) -> Seen:
    """Send everything through everything, with a worker; gives all that was written down of it."""
    canaries, folder = Canaries(), tmp_path_factory.mktemp("canaries")
    canaries.keep("the model's key", MODEL_KEY)
    canaries.keep("AWS' secret key", AWS_KEY)
    canaries.keep("the secret that signs tokens", DEV_JWT_SECRET)
    extra = {"OPENAI_API_KEY": MODEL_KEY, "AWS_SECRET_ACCESS_KEY": AWS_KEY, "RATE_LIMIT_REQUESTS": "10000"}
    log = folder / "worker.log"
    with pair(settings, folder, **extra) as servers:
        sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url=settings.aws_endpoint_url)
        _say_everything(servers, canaries)
        queued = _messages(sqs, settings.queue_url("chat"))
        _poison(sqs, settings.queue_url("chat"), canaries)
        with started({**env_of(settings), **extra, "RETRY_SECONDS": "0.1", "MAX_FAILURES": "2"}, log) as worker:
            worker.wait_for("worker ready")
            _break_everything(servers, canaries)
            until(lambda: len(_messages(sqs, settings.queue_url("chat-dlq"))) >= 3, 60, "the dead letters do not come")
            stop(worker.process)  # what it says while it stops is read as well
            owed: list[str] = []
            until(lambda: owed.extend(_messages(sqs, settings.queue_url("effects"))) or owed, 40, "no callback is owed")
        dead = _messages(sqs, settings.queue_url("chat-dlq"))
        logs = {path.name: path.read_text(errors="replace") for path in folder.glob("*.log")}
    return Seen({**logs, "queue": "\n".join(queued), "effects": "\n".join(owed), "dead letters": "\n".join(dead)}, canaries)


def _messages(sqs: Any, url: str) -> list[str]:
    """Every message of a queue, whole; it stays there."""
    found: dict[str, str] = {}
    for _ in range(10):
        options = {"MaxNumberOfMessages": 10, "VisibilityTimeout": 0, "MessageAttributeNames": ["All"], "AttributeNames": ["All"]}
        for message in sqs.receive_message(QueueUrl=url, **options).get("Messages", []):
            found[message["MessageId"]] = json.dumps(message, default=str)
    return list(found.values())


def _say_everything(servers: Pair, canary: Canaries) -> None:
    """Every field of every request, good and bad, on both servers."""
    user = "ann"
    bearer = {"Authorization": f"Bearer {canary.keep('a good token', token(user))}"}
    key = {"Idempotency-Key": canary("an idempotency key"), **bearer}
    body = {
        "message": f"{canary('a prompt')} [[echo={canary('an answer')}]]",
        "instructions": canary("instructions"),
        "metadata": {"note": canary("metadata")},
        "callback_url": f"https://callback.invalid/{canary('a callback')}?token={canary('a token in a callback')}",
    }
    assert servers.send("POST", "/chat", body=body, headers=key).status == 202
    assert servers.send("POST", "/chat", body={**body, "message": canary("another payload")}, headers=key).status == 422
    assert servers.send("POST", "/sessions", body={"title": canary("a title")}, headers=bearer).status == 201
    assert servers.send("POST", "/chat", body={"message": "x", canary("an unknown field"): 1}, headers=bearer).status == 422
    assert servers.send("POST", "/chat", body={"message": "x", "model": canary("a model")}, headers=bearer).status == 422
    private = f"http://10.0.0.1/{canary('a refused callback')}"
    assert servers.send("POST", "/chat", body={"message": "x", "callback_url": private}, headers=bearer).status == 422
    assert servers.send("POST", "/chat", body=f'{{"message": "{canary("broken JSON")}"'.encode(), headers=bearer).status == 400
    assert servers.send("GET", f"/sessions?{canary('a parameter')}=1", headers=bearer).status == 422
    assert servers.send("GET", f"/sessions?cursor={canary('a cursor')}", headers=bearer).status in (200, 422)
    assert servers.send("GET", "/sessions", headers={"Authorization": f"Bearer {canary('a bad token')}"}).status == 401
    assert servers.send("GET", "/sessions", headers={"Authorization": f"Basic {canary('a password')}"}).status == 401
    assert servers.send("GET", "/sessions", headers={**bearer, "Cookie": canary("a cookie")}).status == 200
    root = issue(DEV_JWT_SECRET, "root", seconds=60, scopes=("admin",))
    notice = {"user_id": user, "text": canary("a notice"), "title": canary("a notice's title"), "data": {"x": canary("its data")}}
    admin = {"Authorization": f"Bearer {canary.keep('a good token of an admin', root)}"}
    assert servers.send("POST", "/notify", body=notice, headers=admin).status == 202
    _say_on_sockets(servers, canary, user, bearer)


def _say_on_sockets(servers: Pair, canary: Canaries, user: str, bearer: dict[str, str]) -> None:
    for path in (f"/ws?ticket={canary('a bad ticket')}", f"/ws?token={canary('a token in the address')}"):
        with Raw(servers.ws_port) as raw:
            assert raw.handshake(path=path) == 101
            raw.receive()
    ticket = canary.keep("a good ticket", servers.send("POST", "/ws/ticket", headers=bearer).json["ticket"])
    with Client(f"{servers.ws}?ticket={ticket}") as client:
        client.expect("connected")
    for kind, code in (("auth", 4500), ("refresh", None)):
        with Client(servers.ws) if code else signed_in(servers.ws, user) as client:
            client.send(kind, token=canary(f"a bad token in {kind}"))
            assert code is None or client.closed() == code
    with signed_in(servers.ws, user) as client:
        fields = {"message": canary("a prompt on a socket"), "idempotency_key": canary("a key on a socket")}
        assert client.ask("chat", **fields)["type"] == "ack"
        client.expect("subscribed")
        assert client.ask("chat", message="x", model=canary("a model on a socket"))["type"] == "refused"
        client.ws.send(canary("a frame that is none"))
        client.ws.send_binary(canary("a binary frame").encode())
        assert client.ask("cancel", job_id=canary("a job id"))["type"] == "refused"


def _break_everything(servers: Pair, canary: Canaries) -> None:
    """Turns that fail in every way while a worker runs them, and one that is cancelled."""
    ways: dict[str, Callable[[dict[str, Any]], bool]] = {
        "": lambda job: job["status"] == "completed",
        "[[hang=3]]": lambda job: job["status"] == "cancelled",
        "[[status=400]]": lambda job: job["status"] == "failed",
        "[[status=401]]": lambda job: job["status"] == "failed",
        "[[garbage]]": lambda job: job["status"] == "failed",
    }
    for directive, ended in ways.items():
        text = f"{canary(f'a prompt that fails with {directive}')} {directive}"
        more = {"metadata": {"x": canary(f"metadata with {directive}")}}
        more["callback_url"] = f"https://callback.invalid/{canary(f'a callback with {directive}')}"
        job_id = servers.post_chat("ann", text, **more)["job_id"]
        if "hang" in directive:
            until(lambda job_id=job_id: _job(servers, job_id)["status"] == "running", 40, "it does not begin")
            servers.send("POST", f"/jobs/{job_id}/cancel", user="ann")
        until(lambda job_id=job_id, ended=ended: ended(_job(servers, job_id)), 60, f"{directive} does not end")


def _job(servers: Pair, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = servers.send("GET", f"/jobs/{job_id}", user="ann").json
    return job


def _poison(sqs: Any, url: str, canary: Canaries) -> None:
    """Messages that no worker can read, as somebody else's sender might write them."""
    nobodys = str(JobId("f" * 32, 1))
    content = json.dumps({"message": canary("a poisonous message")})
    for body in (content, wake_up(nobodys, body=b64([[], {"job_id": canary("a poisonous argument")}, {}]))):
        sqs.send_message(QueueUrl=url, MessageBody=body)


def test_enough_was_said(seen):
    """All places were filled, and every process and queue has written something."""
    assert len(seen.canaries.words) > 35
    assert "provider" in seen.texts["dead letters"], "no turn has failed for good"
    assert {"api.log", "ws.log", "worker.log", "queue", "effects", "dead letters"} == seen.texts.keys()
    for name, text in seen.texts.items():
        assert len(text) > 100, f"{name} is empty"
    for name in ("api.log", "ws.log", "worker.log"):
        assert "INFO" in seen.texts[name]


@pytest.mark.parametrize("place", ["api.log", "ws.log", "worker.log", "queue", "effects"])
def test_no_secret_is_written_down(seen, place):
    """Not one, neither as it is nor encoded."""
    assert seen.canaries.found_in(seen.texts[place]) == []


def test_dead_letters_hold_what_was_sent_and_no_more(seen):
    """A poisonous message is kept as it came, for who must look at it; of turns there is the job's id and a reason."""
    assert set(seen.canaries.found_in(seen.texts["dead letters"])) <= {"a poisonous message", "a poisonous argument"}


def test_the_search_finds_what_is_there():
    """As it is, in base64, and in base64 within base64; or all of the above would prove nothing."""
    canary = Canaries()
    word = canary("x")
    once = base64.b64encode(f'{{"text": "{word}"}}'.encode()).decode()
    twice = base64.b64encode(f'{{"body": "{once}"}}'.encode()).decode()
    for text in (word, once, twice, json.dumps({"Body": twice})):
        assert canary.found_in(text) == ["x"]
    assert canary.found_in(os.urandom(300).hex()) == []
