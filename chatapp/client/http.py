"""Requests that may be repeated are, and tokens that expire are replaced."""

import base64
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from .errors import Broken, ClientError, Disconnected, Refused
from .patience import Patience

log = logging.getLogger(__name__)

TOKEN_MARGIN = 30.0
"""A token that expires within so many seconds is replaced before it is used."""

_LATER = frozenset({429, 502, 503, 504})


class Token:
    """A bearer token, or what makes fresh ones."""

    def __init__(self, source: str | Callable[[], str]) -> None:
        self._make = source if callable(source) else None
        self._value = "" if callable(source) else source
        self._expires_at = 0.0 if callable(source) else float("inf")

    def value(self) -> str:
        """Give a token, a fresh one if the last is about to expire."""
        if self._make is not None and time.time() > self._expires_at - TOKEN_MARGIN:
            self._value = self._make()
            self._expires_at = _expiry(self._value)
        return self._value

    def renew(self) -> bool:
        """Have the next one be fresh. Returns: whether it can be."""
        self._expires_at = 0.0
        return self._make is not None


def _expiry(token: str) -> float:
    """Read `exp` of a JWT, in seconds since 1970; of anything else, never."""
    try:
        payload = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return float("inf")


class Http:
    """The API. Every method raises Refused, Disconnected."""

    def __init__(self, url: str, token: Token, patience: Patience) -> None:
        self.client = httpx2.Client(base_url=url, timeout=30)
        self._token = token
        self._patience = patience

    def get(self, path: str, **params: str | float) -> dict[str, Any]:
        """Read."""
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any] | None = None, key: str | None = None) -> dict[str, Any]:
        """Send what may be sent twice: it is idempotent by itself, or by its key."""
        return self._ask("POST", path, json=body, headers={"Idempotency-Key": key} if key else {})

    def stream(self, path: str, after: str | None, *, silence: float) -> httpx2.Response:
        """Open a stream of events; `silence` is the longest there may be. The caller closes it.

        Raises: Broken for what may work at another time; Refused.
        """
        headers = {"Authorization": f"Bearer {self._token.value()}", "Accept": "text/event-stream"}
        headers |= {"Last-Event-ID": after} if after is not None else {}
        request = self.client.build_request("GET", path, headers=headers, timeout=httpx2.Timeout(10, read=silence))
        try:
            answer = self.client.send(request, stream=True)
            if not answer.is_success:
                answer.read()
                raise _refusal(answer)
        except httpx2.TransportError as error:
            raise Broken(f"{self.client.base_url} does not answer ({error})") from error
        except Refused as refused:
            if refused.code == "unauthenticated":
                raise Broken(refused.detail, renew=True) from refused
            if refused.status not in _LATER:
                raise
            raise Broken(refused.detail, pause=refused.retry_after) from refused
        return answer

    def _ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **what: Any) -> dict[str, Any]:
        renewed = False
        for tries in range(self._patience.tries):
            try:
                bearer = {"Authorization": f"Bearer {self._token.value()}"}
                answer = self.client.request(method, path, headers={**bearer, **(headers or {})}, **what)
                return _read(answer)
            except httpx2.TransportError as error:
                wrong: ClientError = Disconnected(f"{self.client.base_url} does not answer ({error})")
                wrong.__cause__ = error
                wait = self._patience.pause(tries)
            except Refused as refused:
                wrong, wait = refused, refused.retry_after or self._patience.pause(tries)
                if refused.code == "unauthenticated" and not renewed and self._token.renew():
                    renewed, wait = True, 0.0
                elif refused.status not in _LATER or wait > self._patience.retry_after:
                    raise
            if tries < self._patience.tries - 1:
                log.info("%s %s is sent again in %.1f s: %s", method, path, wait, wrong)
                time.sleep(wait)
        raise wrong


def _read(answer: httpx2.Response) -> dict[str, Any]:
    if answer.is_success and (told := _object(answer)) is not None:
        return told
    raise _refusal(answer)


def _object(answer: httpx2.Response) -> dict[str, Any] | None:
    try:
        told = answer.json()
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _refusal(answer: httpx2.Response) -> Refused:
    """Make an error of a problem document (RFC 9457), or of what stands in its place."""
    problem, status, after = _object(answer) or {}, answer.status_code, answer.headers.get("Retry-After", "")
    return Refused(
        problem.get("code", f"http_{status}"),
        problem.get("detail", f"{answer.url} is no chatapp API: it answers HTTP {status}"),
        retryable=problem.get("retryable", status in _LATER),
        retry_after=float(after) if after.isdecimal() else None,
        errors=problem.get("errors", ()),
        status=status,
    )
