"""Tokens: what is let in, and what never is."""

import base64
import json
import time

import jwt
import pytest

from chatapp.auth import MAX_TOKEN_BYTES, SharedSecret, Tokens, issue
from chatapp.errors import Unauthenticated
from tests.fakes import SECRET

TOKENS = Tokens(SharedSecret(SECRET))


def b64(data: bytes) -> str:
    """Base64 as tokens have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(**claims) -> str:
    """A token with claims; None leaves one out."""
    given = {"sub": "ada", "exp": int(time.time()) + 60, **claims}
    return jwt.encode({k: v for k, v in given.items() if v is not None}, SECRET, algorithm="HS256")


def raw_signed(payload: bytes, header: dict | None = None) -> str:
    """Sign bytes that no JSON library would write."""
    return jwt.PyJWS().encode(payload, SECRET, algorithm="HS256", headers=header)


def test_a_good_token_names_its_user_scopes_and_end():
    """The principal is what the claims say."""
    token = issue(SECRET, "ada", seconds=60, scopes=("admin", "chat"))
    principal = TOKENS.verify(token)
    assert principal.user_id == "ada"
    assert principal.scopes == {"admin", "chat"}
    assert principal.expires_at is not None
    assert abs(principal.expires_at / 1000 - time.time() - 60) < 2


NOW = int(time.time())
PAYLOAD = b64(json.dumps({"sub": "ada", "exp": NOW + 600}).encode())
GOOD = signed()


def headed(header: bytes, signature: str = GOOD.split(".")[2]) -> str:
    """A token with another header."""
    return f"{b64(header)}.{PAYLOAD}.{signature}"


REFUSED = {
    "empty": "",
    "a word": "word",
    "two dots": "..",
    "not ascii": "é" + GOOD,
    "alg none, no signature": headed(b'{"alg":"none","typ":"JWT"}', ""),
    "alg none, old signature": headed(b'{"alg":"none","typ":"JWT"}'),
    "alg NoNe": headed(b'{"alg":"NoNe"}', ""),
    "alg missing": headed(b"{}"),
    "alg a list": headed(b'{"alg":["HS256"]}'),
    "empty signature": ".".join([*GOOD.split(".")[:2], ""]),
    "another secret": jwt.encode({"sub": "ada", "exp": NOW + 600}, "x" * 40, algorithm="HS256"),
    "HS512 with our secret": jwt.encode({"sub": "ada", "exp": NOW + 600}, SECRET + "y" * 40, algorithm="HS512"),
    "payload changed": f"{GOOD.split('.')[0]}.{PAYLOAD}.{GOOD.split('.')[2]}",
    "expired": signed(exp=NOW - 60),
    "no exp": signed(exp=None),
    "exp in milliseconds": signed(exp=NOW * 1000),
    "exp beyond all numbers": raw_signed(b'{"sub":"ada","exp":1e300}'),
    "exp a word": raw_signed(b'{"sub":"ada","exp":"soon"}'),
    "exp null": raw_signed(b'{"sub":"ada","exp":null}'),
    "exp infinite": raw_signed(b'{"sub":"ada","exp":1e999}'),
    "exp not a number": raw_signed(b'{"sub":"ada","exp":NaN}'),
    "exp of 5,000 digits": raw_signed(b'{"sub":"ada","exp":' + b"9" * 5000 + b"}"),
    "not yet valid": signed(nbf=NOW + 600),
    "issued in the future": signed(iat=NOW + 600),
    "no sub": signed(sub=None),
    "sub a number": raw_signed(b'{"sub":5,"exp":%d}' % (NOW + 60)),
    "sub empty": signed(sub=""),
    "sub blank": signed(sub="  "),
    "sub too long": signed(sub="x" * 257),
    "sub with a line break": signed(sub="a\nb"),
    "sub with NUL": signed(sub="a\x00b"),
    "sub a phone's": signed(sub="webhook:" + "0" * 32),
    "sub a lone surrogate": raw_signed(b'{"sub":"\\ud800","exp":%d}' % (NOW + 60)),
    "payload an array": raw_signed(b"[1]"),
    "payload not JSON": raw_signed(b"{"),
    "payload deep": raw_signed(b"[" * 5000),
    "header deep": headed(b"[" * 5000),
    "header an array": headed(b"[]"),
    "unknown critical header": raw_signed(json.dumps({"sub": "ada", "exp": NOW + 60}).encode(), {"crit": ["x"], "x": 1}),
    "too long": signed(pad="x" * MAX_TOKEN_BYTES),
    "100 KB": "x" * 100_000,
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_token_is_refused(token):
    """Whatever is wrong, it is a 401 and never a crash."""
    with pytest.raises(Unauthenticated):
        TOKENS.verify(token)


def test_a_little_clock_skew_is_forgiven():
    """A token that ended a few seconds ago, by our clock, still counts."""
    assert TOKENS.verify(signed(exp=int(time.time()) - 5)).user_id == "ada"


def test_issuer_and_audience_are_checked_when_set():
    """Only the issuer and audience that the settings name pass; a list of audiences may hold ours."""
    strict = Tokens(SharedSecret(SECRET), issuer="https://id", audience="chat")
    assert strict.verify(signed(iss="https://id", aud=["other", "chat"])).user_id == "ada"
    for wrong in (
        {"aud": "chat"},
        {"iss": "https://id"},
        {"iss": "https://evil", "aud": "chat"},
        {"iss": "https://id", "aud": "other"},
    ):
        with pytest.raises(Unauthenticated):
            strict.verify(signed(**wrong))


def test_audience_is_not_asked_for_when_unset():
    """A token for some audience passes a server that has none."""
    assert TOKENS.verify(signed(aud="anything", iss="anyone")).user_id == "ada"


def test_a_scope_that_is_not_text_gives_no_scope():
    """Only the standard's form of `scope` can make an admin."""
    assert TOKENS.verify(signed(scope=["admin"])).scopes == frozenset()
