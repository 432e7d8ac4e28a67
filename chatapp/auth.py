"""Who is calling: JSON Web Tokens become a `Principal`.

Two ways, never both (config/settings.py refuses that): one shared secret (HS256), or the key set of an identity provider
(RS256, ES256). The algorithm is chosen by the key that we hold, never by the token, so `none` and an HMAC made with a public
key cannot pass. A token's header may name a `kid`; nothing else in it (`jku`, `x5u`, `jwk`...) is ever looked at.
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

import httpx2
import jwt

from chatapp.errors import Unauthenticated, Unavailable
from chatapp.model import USER_PREFIX, Principal

log = logging.getLogger(__name__)

MAX_TOKEN_BYTES = 8 * 1024
LATEST_EXPIRY_SECONDS = 253_402_300_800
"""The year 10000: an issuer that writes milliseconds, say, is told so everywhere, and not only where a time is shown."""

MAX_USER_ID_CHARS = 256
LEEWAY_SECONDS = 10
"""How far the clocks of issuer and server may be apart."""

REFRESH_SECONDS = 3_600
"""A key set older than this is fetched again, so that a key which was withdrawn stops working."""

MIN_FETCH_SECONDS = 30
"""Least time between two fetches of the key set, whatever tokens arrive."""

FETCH_TIMEOUT_SECONDS = 3.0
MAX_KEY_SET_BYTES = 512 * 1024
MIN_RSA_BITS = 2_048
_KEY_TYPES = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}


class Keys(Protocol):
    """Where the key for a token comes from."""

    def key_for(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        """Give the key and the one algorithm that it serves.

        Raises: Unauthenticated when there is no such key; Unavailable when that cannot be known now.
        """
        ...


class SharedSecret:
    """One secret for all tokens: HS256."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def key_for(self, header: Mapping[str, Any]) -> tuple[Any, str]:  # noqa: ARG002  a secret has no names
        """Give the secret."""
        return self._secret, "HS256"


class KeySet:
    """The key set (RFC 7517) of an identity provider, cached.

    A known key is used without asking anybody. An unknown `kid` fetches the set, at most once in MIN_FETCH_SECONDS and by one
    caller at a time; so does a set older than REFRESH_SECONDS. A provider that is away costs nothing while its keys are known.
    """

    def __init__(self, url: str, *, client: httpx2.Client | None = None, min_fetch_seconds: float = MIN_FETCH_SECONDS) -> None:
        self._url = url
        # No redirects: the address in our settings is the only one that is trusted to name keys.
        self._client = client or httpx2.Client(timeout=FETCH_TIMEOUT_SECONDS, follow_redirects=False)
        self._min_fetch = min_fetch_seconds
        self._keys: dict[str, tuple[Any, str]] = {}
        self._lock = threading.Lock()
        self._tried_at: float | None = None
        self._fetched_at: float | None = None
        self._reachable = True

    def key_for(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        """Give the key that the token's `kid` names, and that key's algorithm."""
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise Unauthenticated("the token names no key (kid)")
        if kid in self._keys:
            self._refresh_if_old()
        else:
            self._learn(kid)
        if key := self._keys.get(kid):
            return key
        if not self._reachable:  # it may well be a new key: a 401 would sign good users out
            raise Unavailable("the key set of the identity provider cannot be read", retry_after=self._min_fetch)
        raise Unauthenticated("the token's key is not known")

    def _refresh_if_old(self) -> None:
        old = self._fetched_at is None or time.monotonic() - self._fetched_at > REFRESH_SECONDS
        if old and self._may_fetch() and self._lock.acquire(blocking=False):
            try:
                self._fetch()
            finally:
                self._lock.release()

    def _learn(self, kid: str) -> None:
        if not self._may_fetch() and not self._lock.locked():
            return
        with self._lock:  # who waited here for another's fetch finds the key, or that it is not time again
            if kid not in self._keys and self._may_fetch():
                self._fetch()

    def _may_fetch(self) -> bool:
        return self._tried_at is None or time.monotonic() - self._tried_at >= self._min_fetch

    def _fetch(self) -> None:
        self._tried_at = time.monotonic()
        try:
            keys = _read_keys(self._download())
        except (httpx2.HTTPError, ValueError) as error:
            self._reachable = False
            log.warning("key set cannot be read, the known keys stay in use: %s", error)
            return
        self._keys, self._fetched_at, self._reachable = keys, time.monotonic(), True

    def _download(self) -> Any:
        with self._client.stream("GET", self._url, headers={"Accept": "application/json"}) as response:
            if response.status_code != 200:
                raise ValueError(f"the identity provider answered {response.status_code}")
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_KEY_SET_BYTES:
                    raise ValueError("the key set is too large")
        return httpx2.Response(200, content=body).json()


def _read_keys(document: Any) -> dict[str, tuple[Any, str]]:
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("the answer is not a key set")  # noqa: TRY004  what is wrong is the value
    keys = {}
    for entry in document["keys"]:
        if (found := _read_key(entry)) is not None:
            keys[entry["kid"]] = found
    if not keys:
        raise ValueError("the key set holds no key that can be used (RS256 or ES256, with a kid)")
    return keys


def _read_key(entry: Any) -> tuple[Any, str] | None:
    """Read one key; None for a kind that we do not use (a provider may publish others beside ours)."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or entry.get("use", "sig") != "sig":
        return None
    algorithm = _KEY_TYPES.get((str(entry.get("kty")), entry.get("crv") if isinstance(entry.get("crv"), str) else None))
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK(entry, algorithm)
    except jwt.PyJWTError as error:
        log.warning("a key of the key set cannot be read: %s", type(error).__name__)
        return None
    if algorithm == "RS256" and getattr(key.key, "key_size", 0) < MIN_RSA_BITS:
        log.warning("a key of the key set is shorter than %d bits: not used", MIN_RSA_BITS)
        return None
    return key, algorithm


class Tokens:
    """Verifies bearer tokens."""

    def __init__(self, keys: Keys, *, issuer: str | None = None, audience: str | None = None) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    def verify(self, token: str) -> Principal:
        """Say whose token it is.

        Raises: Unauthenticated, whatever is wrong with it; Unavailable when the identity provider's keys were never read.
        """
        if not token.isascii() or len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated("the token is too long or not a token")
        try:
            claims = self._claims(token)
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("the token has expired") from error
        # PyJWT lets through what `json` and `int` make of hostile numbers and nesting.
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise Unauthenticated("the token is not valid") from error
        return _principal(claims)

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        key, algorithm = self._keys.key_for(header)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "sub"], "verify_aud": self._audience is not None, "verify_iss": self._issuer is not None},
        )
        return claims


def _principal(claims: Mapping[str, Any]) -> Principal:
    user_id = claims["sub"]
    # Printable also means: no control characters, no lone surrogates; it becomes part of keys and log lines.
    if not isinstance(user_id, str) or not user_id.strip() or len(user_id) > MAX_USER_ID_CHARS or not user_id.isprintable():
        raise Unauthenticated("the token's subject (sub) cannot be used as a user id")
    if user_id.startswith(USER_PREFIX):
        raise Unauthenticated("the token's subject (sub) is a phone's: no token stands for one")
    if not claims["exp"] < LATEST_EXPIRY_SECONDS:
        raise Unauthenticated("the token's expiry (exp) is no time in seconds")
    scope = claims.get("scope")
    scopes = frozenset(scope.split()) if isinstance(scope, str) else frozenset[str]()
    return Principal(user_id, scopes, int(claims["exp"]) * 1_000)


def issue(
    secret: str,
    user_id: str,
    *,
    seconds: int,
    issuer: str | None = None,
    audience: str | None = None,
    scopes: tuple[str, ...] = (),
) -> str:
    """Make an HS256 token, for development and tests; in production an identity provider does."""
    now = int(time.time())
    claims: dict[str, Any] = {"sub": user_id, "iat": now, "exp": now + seconds}
    if issuer:
        claims["iss"] = issuer
    if audience:
        claims["aud"] = audience
    if scopes:
        claims["scope"] = " ".join(scopes)
    return jwt.encode(claims, secret, algorithm="HS256")
