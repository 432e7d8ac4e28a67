"""An access token by OAuth2 client credentials (RFC 6749, section 4.4), kept until shortly before it expires."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chatapp.coalescing import Coalescing
from chatapp.errors import ExternalUnavailable
from chatapp.ports import Clock

MARGIN_SECONDS = 30.0
"""A token is renewed so long before its end, or after half its life if that is shorter: a request must still arrive with it."""

Grant = Callable[[], dict[str, Any]]
"""Asks for a token. Returns: the JSON with `access_token` and `expires_in`, seconds. Raises: ExternalUnavailable."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    until: float


class AccessToken:
    """The token of this process. One request for many who need it."""

    def __init__(self, grant: Grant, clock: Clock, *, wait_seconds: float) -> None:
        self._grant = grant
        self._clock = clock
        self._calls: Coalescing[_Token] = Coalescing(wait_seconds)
        self._lock = threading.Lock()
        self._token: _Token | None = None

    def get(self) -> str:
        """Give a token that is valid for a while. Raises: ExternalUnavailable."""
        return (self._valid() or self._calls.call("token", self._renew)).text

    def refused(self, text: str) -> None:
        """Take note that a token was not accepted. One that has been renewed meanwhile stays."""
        with self._lock:
            if self._token is not None and self._token.text == text:
                self._token = None

    def _valid(self) -> _Token | None:
        token = self._token
        return token if token is not None and self._clock.monotonic() < token.until else None

    def _renew(self) -> _Token:
        if (token := self._valid()) is not None:  # somebody was done just before
            return token
        asked_at = self._clock.monotonic()
        granted = self._grant()
        text, seconds = granted.get("access_token"), granted.get("expires_in")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable() or not isinstance(seconds, int):
            raise ExternalUnavailable("The API gave no access token that can be read")
        made = _Token(text, asked_at + max(seconds - MARGIN_SECONDS, seconds / 2))
        with self._lock:
            self._token = made
        return made
