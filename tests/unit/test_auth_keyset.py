"""The key set of an identity provider: a real HTTP server that counts what it is asked."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chatapp.auth import KeySet, Tokens
from chatapp.errors import Unauthenticated, Unavailable

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  that it is weak is the point
EC = ec.generate_private_key(ec.SECP256R1())


def jwk(private, kid, **more) -> dict:
    """The public half of a key, as a provider shows it."""
    algorithm = jwt.algorithms.ECAlgorithm if isinstance(private, ec.EllipticCurvePrivateKey) else jwt.algorithms.RSAAlgorithm
    return {**algorithm.to_jwk(private.public_key(), as_dict=True), "kid": kid, **more}


class Provider:
    """An identity provider: serves `keys`, or `status`; counts."""

    def __init__(self) -> None:
        self.keys: list = []
        self.status = 200
        self.body: bytes | None = None
        self.delay = 0.0
        self.paths: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.paths.append(self.path)
                time.sleep(provider.delay)
                body = provider.body if provider.body is not None else json.dumps({"keys": provider.keys}).encode()
                self.send_response(provider.status)
                if provider.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def tokens(self, **options) -> Tokens:
        return Tokens(KeySet(self.url, **options))

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider with an RSA and an EC key."""
    made = Provider()
    made.keys = [jwk(RSA, "r1"), jwk(EC, "e1")]
    yield made
    made.stop()


def token(private=RSA, kid="r1", algorithm="RS256", headers=None, **claims) -> str:
    """A token that a provider signed."""
    payload = {"sub": "ada", "exp": int(time.time()) + 60, **claims}
    return jwt.encode(payload, private, algorithm=algorithm, headers={"kid": kid, **(headers or {})})


def test_rsa_and_ec_tokens_pass_with_one_fetch(provider):
    """The set is fetched once and then kept."""
    tokens = provider.tokens()
    for _ in range(3):
        assert tokens.verify(token()).user_id == "ada"
        assert tokens.verify(token(EC, "e1", "ES256")).user_id == "ada"
    assert len(provider.paths) == 1


def test_an_hmac_made_with_the_public_key_is_refused(provider):
    """Key confusion: the algorithm is the key's, not the token's."""
    tokens = provider.tokens()
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"r1"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps({"sub": "ada", "exp": int(time.time()) + 60}).encode()).rstrip(b"=")
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    forged = b".".join([head, body, base64.urlsafe_b64encode(signature.sign(head + b"." + body, pem)).rstrip(b"=")]).decode()
    with pytest.raises(Unauthenticated):
        tokens.verify(forged)


@pytest.mark.parametrize(
    ("private", "kid", "algorithm"), [(RSA, "r1", "RS512"), (RSA, "r1", "PS256"), (EC, "r1", "ES256"), (RSA, "e1", "RS256")]
)
def test_a_key_serves_its_own_algorithm_only(provider, private, kid, algorithm):
    """Another algorithm, or another key's kid, does not pass."""
    with pytest.raises(Unauthenticated):
        provider.tokens().verify(token(private, kid, algorithm))


def test_nothing_in_the_header_but_kid_is_followed(provider):
    """`jku`, `x5u`, `jwk` and a travelling kid lead nowhere: a listener sees no fetch."""
    listener = Provider()
    try:
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        listener.keys = [jwk(other, "r9")]
        headers = {"jku": listener.url, "x5u": listener.url, "jwk": jwk(other, "r9"), "x5c": ["AAAA"]}
        tokens = provider.tokens()
        for kid in ("r9", "r1", "../../r1", listener.url, ""):
            with pytest.raises(Unauthenticated):
                tokens.verify(token(other, kid, headers=headers))
        assert listener.paths == []
        assert set(provider.paths) == {"/jwks"}
    finally:
        listener.stop()


def test_a_token_without_kid_is_refused(provider):
    """It could be anybody's."""
    unnamed = jwt.encode({"sub": "ada", "exp": int(time.time()) + 60}, RSA, algorithm="RS256")
    with pytest.raises(Unauthenticated):
        provider.tokens().verify(unnamed)


def test_a_new_key_is_learnt_at_its_first_token(provider):
    """Rotation: during the overlap old and new tokens pass; a withdrawn key stops."""
    tokens = provider.tokens(min_fetch_seconds=0)
    assert tokens.verify(token()).user_id == "ada"
    new = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    provider.keys = [jwk(RSA, "r1"), jwk(new, "r2")]
    assert tokens.verify(token(new, "r2")).user_id == "ada"
    assert tokens.verify(token()).user_id == "ada"
    provider.keys = [jwk(new, "r2")]
    with pytest.raises(Unauthenticated):
        tokens.verify(token(new, "unknown"))
    with pytest.raises(Unauthenticated):
        tokens.verify(token())


def test_a_flood_of_unknown_kids_fetches_once(provider):
    """At most one fetch in 30 s, and good tokens pass all the while."""
    tokens = provider.tokens()
    assert tokens.verify(token()).user_id == "ada"
    for n in range(50):
        with pytest.raises(Unauthenticated):
            tokens.verify(token(kid=f"x{n}"))
    assert tokens.verify(token()).user_id == "ada"
    assert len(provider.paths) == 1


def test_callers_at_once_share_one_fetch(provider):
    """Twenty first requests at one moment: one fetch, and all of them pass."""
    provider.delay = 0.2
    tokens, passed = provider.tokens(), []
    threads = [threading.Thread(target=lambda: passed.append(tokens.verify(token()).user_id)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert passed == ["ada"] * 20
    assert len(provider.paths) == 1


@pytest.mark.parametrize("fault", ["status", "garbage", "empty", "redirect", "huge"])
def test_known_keys_stay_when_the_provider_is_away(provider, fault):
    """A bad answer costs nothing while the keys are known; an unknown one is then a 503, since it may be new."""
    tokens = provider.tokens(min_fetch_seconds=0)
    assert tokens.verify(token()).user_id == "ada"
    if fault in ("status", "redirect"):
        provider.status = 500 if fault == "status" else 302
    else:
        provider.body = {"garbage": b"<html>", "empty": b'{"keys": []}', "huge": b'{"x":"' + b"x" * 600_000 + b'"}'}[fault]
    with pytest.raises(Unavailable):
        tokens.verify(token(kid="new"))
    assert tokens.verify(token()).user_id == "ada"
    assert "/elsewhere" not in provider.paths


def test_a_provider_that_was_never_reached_is_a_503(provider):
    """Nobody can be told apart: that is our fault, not the caller's."""
    provider.status = 503
    with pytest.raises(Unavailable):
        provider.tokens().verify(token())


def test_keys_that_cannot_be_trusted_are_left_out(provider):
    """Symmetric, weak, encryption and nameless keys of a set are ignored; the rest is used."""
    nameless = jwk(RSA, "x")
    del nameless["kid"]
    provider.keys = [
        {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode(), "kid": "sym"},
        jwk(WEAK, "weak"),
        jwk(RSA, "enc", use="enc"),
        jwk(RSA, "rs512", alg="RS512"),
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "!"},
        {"kty": ["RSA"], "kid": "list"},
        nameless,
        "word",
        jwk(EC, "e1"),
    ]
    tokens = provider.tokens()
    assert tokens.verify(token(EC, "e1", "ES256")).user_id == "ada"
    for kid in ("enc", "rs512"):
        with pytest.raises(Unauthenticated):
            tokens.verify(token(RSA, kid))
    weak = token(kid="weak")  # whoever signed it: the key that it names is not known
    with pytest.raises(Unauthenticated):
        tokens.verify(weak)
