"""Forged tokens, on a server that trusts an identity provider's keys: over HTTP and at every place of the socket that takes one.

And tokens that expire while their socket is open.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chatapp.auth import MIN_FETCH_SECONDS
from chatapp.model import JobId
from tests.integration.attack_kit import TEXT, Pair, Raw, frame, opened, pair
from tests.integration.ws_kit import Client, Hand
from tests.unit.test_auth_keyset import EC, RSA, Provider, jwk

ISSUER, AUDIENCE = "https://id.example", "chat"
THIEF = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = RSA.public_key()


def b64(data: bytes) -> str:
    """Base64 as tokens have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(user: str = "ann", **changed: Any) -> dict[str, Any]:
    """Good claims, but for what is changed; None leaves one out."""
    given = {"sub": user, "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600, **changed}
    return {name: value for name, value in given.items() if value is not None}


def signed(user: str = "ann", *, key: Any = RSA, alg: str = "RS256", head: dict[str, Any] | None = None, **changed: Any) -> str:
    """A token that a key signed."""
    return jwt.encode(claims(user, **changed), key, algorithm=alg, headers={"kid": "r1", **(head or {})})


def unsigned(head: dict[str, Any], signature: bytes = b"") -> str:
    """A token with any header and any signature over good claims."""
    return f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims()).encode())}.{b64(signature)}"


def by_hmac(secret: bytes, **head: Any) -> str:
    """A token that is signed by HS256 with what everybody can know."""
    content = unsigned({"alg": "HS256", "kid": "r1", **head}).rpartition(".")[0]
    return f"{content}.{b64(hmac.digest(secret, content.encode(), hashlib.sha256))}"


def public(form: Encoding, kind: PublicFormat) -> bytes:
    """The provider's public key."""
    return PUBLIC.public_bytes(form, kind)


def relabelled(**head: Any) -> str:
    """A good token whose header was changed afterwards."""
    _, content, signature = signed().split(".")
    return f"{b64(json.dumps({'alg': 'RS256', 'kid': 'r1', **head}).encode())}.{content}.{signature}"


def promoted() -> str:
    """A good token of eve's whose claims were changed afterwards."""
    head, _, signature = signed("eve").split(".")
    return f"{head}.{b64(json.dumps(claims('ann', scope='admin')).encode())}.{signature}"


def pointing(url: str) -> dict[str, Callable[[], str]]:
    """Tokens of a thief that say themselves where the key is to be found."""
    own = jwk(THIEF, "thief")
    heads: dict[str, dict[str, Any]] = {
        "jku": {"jku": url, "kid": "thief"},
        "jku, known kid": {"jku": url},
        "x5u": {"x5u": url, "kid": "thief"},
        "jwk": {"jwk": own, "kid": "thief"},
        "jwk, known kid": {"jwk": own},
        "x5c": {"x5c": [b64(public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))]},
        "kid an address": {"kid": url},
        "kid a path": {"kid": "../../../../dev/null"},
        "kid a query": {"kid": "r1' OR '1'='1"},
        "kid a path to a key": {"kid": "r1/../e1"},
        "kid with NUL": {"kid": "r1\x00"},
        "kid empty": {"kid": ""},
    }
    return {name: lambda head=head: signed(key=THIEF, head=head) for name, head in heads.items()}  # type: ignore[misc]


FORGED: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned({"alg": "none"}),
    "alg none with a kid": lambda: unsigned({"alg": "none", "kid": "r1"}),
    "alg None": lambda: unsigned({"alg": "None", "kid": "r1"}),
    "alg NONE, a signature": lambda: unsigned({"alg": "NONE", "kid": "r1"}, b"x" * 256),
    "alg empty": lambda: unsigned({"alg": "", "kid": "r1"}),
    "alg missing": lambda: unsigned({"kid": "r1"}),
    "alg a list": lambda: unsigned({"alg": ["none", "RS256"], "kid": "r1"}),
    "HMAC with the public key, PEM": lambda: by_hmac(public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
    "HMAC with the public key, PEM stripped": lambda: by_hmac(public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip()),
    "HMAC with the public key, PKCS1": lambda: by_hmac(public(Encoding.PEM, PublicFormat.PKCS1)),
    "HMAC with the public key, DER": lambda: by_hmac(public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    "HMAC with the key's JSON": lambda: by_hmac(json.dumps(jwk(RSA, "r1")).encode()),
    "HMAC with the modulus": lambda: by_hmac(PUBLIC.public_numbers().n.to_bytes(256, "big")),
    "HMAC with nothing": lambda: by_hmac(b""),
    "HMAC with the secret of development": lambda: by_hmac(b"chatapp-development-secret-do-not-use-elsewhere"),
    "HMAC, kid to an empty file": lambda: by_hmac(b"", kid="../../../../dev/null"),
    "signature empty": lambda: signed().rpartition(".")[0] + ".",
    "signature left out": lambda: signed().rpartition(".")[0],
    "signature cut": lambda: signed()[:-8],
    "signature of zeros": lambda: unsigned({"alg": "RS256", "kid": "r1"}, bytes(256)),
    "psychic signature": lambda: unsigned({"alg": "ES256", "kid": "e1"}, bytes(64)),
    "signature of another token": lambda: signed().rpartition(".")[0] + "." + signed("eve").rpartition(".")[2],
    "claims changed": promoted,
    "header changed": lambda: relabelled(cty="JWT"),
    "another's key": lambda: signed(key=THIEF),
    "RS512": lambda: signed(alg="RS512"),
    "PS256": lambda: signed(alg="PS256"),
    "the RSA key's name on an EC signature": lambda: signed(key=EC, alg="ES256"),
    "the EC key's name on an RSA signature": lambda: signed(head={"kid": "e1"}),
    "unknown critical header": lambda: signed(head={"crit": ["scope"], "scope": "admin"}),
    "payload not encoded": lambda: signed(head={"b64": False, "crit": ["b64"]}),
    "five parts": lambda: signed() + ".x.y",
    "blanks around": lambda: "\t" + signed(),
    "two tokens": lambda: signed() + "," + signed(),
    "wrong issuer": lambda: signed(iss="https://evil.example"),
    "issuer that begins alike": lambda: signed(iss=ISSUER + ".evil.example"),
    "no issuer": lambda: signed(iss=None),
    "wrong audience": lambda: signed(aud="other"),
    "audience in capitals": lambda: signed(aud="CHAT"),
    "audiences without ours": lambda: signed(aud=["chats", "cha"]),
    "no audience": lambda: signed(aud=None),
    "not yet valid": lambda: signed(nbf=int(time.time()) + 600),
    "issued in the future": lambda: signed(iat=int(time.time()) + 600),
    "expired": lambda: signed(exp=int(time.time()) - 60),
    "no end": lambda: signed(exp=None),
    "no subject": lambda: signed(sub=None),
    "subject blank": lambda: signed(" "),
    "subject with a line break": lambda: signed("ann\nadmin"),
    **{name: (lambda name=name: pointing(LISTENER.url)[name]()) for name in pointing("")},  # type: ignore[misc]
}

LISTENER = Provider()
"""The thief's own key server. It must never be asked."""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """The identity provider, and the thief's listener."""
    LISTENER.keys = [jwk(THIEF, "thief"), jwk(THIEF, "r1")]
    made = Provider()
    made.keys = [jwk(RSA, "r1"), jwk(EC, "e1")]
    made.since = time.monotonic()
    yield made
    made.stop()
    LISTENER.stop()


@pytest.fixture(scope="module")
def servers(settings, provider, tmp_path_factory):
    """Both servers, with the provider's keys."""
    env = {"JWT_JWKS_URL": provider.url, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE, "WS_MAX_PAYLOAD": "65536"}
    with pair(settings, tmp_path_factory.mktemp("tokens"), make_token=signed, **env) as running:
        assert running.send("GET", "/sessions", user="ann").status == 200
        running.serves_others()
        yield running


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_forged_token_opens_nothing(servers, forge):
    """401 over HTTP, 4500 at the handshake and in the first frame; as a refresh it changes nothing."""
    bad = forge()
    answer = servers.send("GET", "/sessions", headers={"Authorization": f"Bearer {bad}"})
    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    if bad == bad.strip():  # a blank more or less before it is no other header
        with Raw(servers.ws_port) as raw:
            assert raw.handshake(f"Authorization: Bearer {bad}") == 101
            assert raw.close_code() == 4500
    with opened(servers) as raw:
        raw.send(frame(TEXT, json.dumps({"type": "auth", "token": bad}).encode()))
        assert (raw.frames(), raw.close_code()) == ([], None)
    with Client(servers.ws, bearer=servers.token("ann")) as client:
        client.expect("connected")
        assert client.ask("refresh", id=1, token=bad)["code"] == "unauthenticated"
        assert client.ask("auth", id=2, token=bad)["code"] == "unauthenticated"
        assert client.ask("ping", id=3) == {"type": "pong", "id": 3}


def test_no_address_in_a_token_was_ever_asked(servers, provider):
    """After all of the above: the listener saw nothing, the provider its own path, twice at most from each process in 30 s."""
    for forge in pointing(LISTENER.url).values():
        assert servers.send("GET", "/sessions", headers={"Authorization": f"Bearer {forge()}"}).status == 401
    assert LISTENER.paths == []
    assert set(provider.paths) == {"/jwks"}
    assert len(provider.paths) <= 2 * 2 * (2 + (time.monotonic() - provider.since) // MIN_FETCH_SECONDS)


@pytest.mark.parametrize("size", [7_900, 9_000, 100_000])
def test_a_huge_token_is_refused_before_it_is_looked_at(servers, size):
    """By gunicorn or by us, at every place; nothing is closed but its own socket."""
    huge = signed(pad="x" * size)
    answer = servers.send("GET", "/sessions", headers={"Authorization": f"Bearer {huge}"})
    assert answer.status in (400, 401, 431)
    with Raw(servers.ws_port) as raw:
        status = raw.handshake(f"Authorization: Bearer {huge}")
        assert status in (400, 431) or raw.close_code() == 4500
    for kind, code in (("auth", 4500), ("refresh", None)):
        with opened(servers, None if kind == "auth" else "ann") as raw:
            raw.send(frame(TEXT, json.dumps({"type": kind, "token": huge}).encode()))
            if size > 65_536:
                assert raw.close_code() == 1009
            elif code is not None:
                assert raw.close_code() == code
            else:
                assert json.loads((raw.receive() or (0, b"{}"))[1])["code"] == "unauthenticated"
    servers.serves_others()


def test_good_tokens_of_both_kinds_open(servers):
    """Or all of the above would prove nothing."""
    for made in (signed(), signed(key=EC, alg="ES256", head={"kid": "e1"}), signed(aud=["other", AUDIENCE])):
        assert servers.send("GET", "/sessions", headers={"Authorization": f"Bearer {made}"}).status == 200
        with Client(servers.ws, bearer=made) as client:
            assert client.expect("connected")["auth_required"] is False


LIFE = 5
"""Seconds that the tokens of the next test have."""

REFRESHES: dict[str, tuple[Callable[[], str] | None, str | None]] = {
    "none came": (None, None),
    "in time": (lambda: signed("ann"), "ack"),
    "another user's": (lambda: signed("eve"), "forbidden"),
    "expired": (lambda: signed("ann", exp=int(time.time()) - 60), "unauthenticated"),
    "forged": (lambda: signed("ann", key=THIEF), "unauthenticated"),
}
"""What was sent as a refresh, and the answer. Only the second keeps its socket."""


def test_a_socket_ends_with_its_token_in_the_middle_of_events(servers):
    """4001 at the end of the token unless a good one of the same user came, which keeps its socket. All at once."""
    job_id = JobId.parse(servers.post_chat("ann")["job_id"])
    assert job_id is not None
    until = int(time.time()) + LIFE
    with ExitStack() as stack:
        clients = {name: stack.enter_context(Client(servers.ws, bearer=signed("ann", exp=until))) for name in REFRESHES}
        for name, client in clients.items():
            client.expect("connected")
            assert client.ask("subscribe", session_id=job_id.session_id)["type"] == "subscribed"
            refresh, expected = REFRESHES[name]
            if refresh is not None:
                answer = client.ask("refresh", token=refresh())
                assert expected in (answer["type"], answer.get("code")), name
        hand = stack.enter_context(writing(servers, job_id))
        for name, client in clients.items():
            if name != "in time":
                assert client.closed() == 4001, name
                assert until <= time.time() < until + 5, name
        last = hand.written[-1]
        while clients["in time"].expect("message_delta")["id"] != last:
            pass


@contextmanager
def writing(servers: Pair, job_id: JobId) -> Iterator[Hand]:
    """Write events of a job, fifty a second, until the block is left."""
    hand, stop = Hand(servers.services.redis, job_id), threading.Event()

    def write() -> None:
        while not stop.wait(0.02):
            hand.say(text="x", part=0)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield hand
    finally:
        stop.set()
        thread.join(10)


def test_a_refresh_never_changes_who_is_at_a_socket(servers):
    """Neither does a second `auth`; what the socket may do afterwards is its first user's."""
    theirs = servers.post_chat("eve")["session_id"]
    with Client(servers.ws, bearer=signed("ann")) as client:
        client.expect("connected")
        for kind in ("refresh", "auth"):
            assert client.ask(kind, token=signed("eve"))["code"] == "forbidden"
        assert client.ask("subscribe", session_id=theirs)["code"] == "not_found"


def test_a_refresh_is_no_way_to_authenticate(servers):
    """A socket that nobody has authenticated is not refreshed."""
    with opened(servers) as raw:
        raw.send(frame(TEXT, json.dumps({"type": "refresh", "id": 1, "token": signed()}).encode()))
        received = raw.receive()
        assert received is not None
        assert json.loads(received[1])["code"] == "unauthenticated"
