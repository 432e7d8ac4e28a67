"""HTTP to an API that answers in JSON: bounded in time and size, its errors made ours."""

from collections.abc import Mapping
from time import monotonic
from typing import Any

import httpx2
from pydantic_core import from_json

from chatapp.errors import ExternalRefused, ExternalUnavailable
from chatapp.interrupts import keep_pools_whole

MAX_BYTES = 4_194_304
"""A larger answer is not read to its end."""

CONNECTIONS = 50


class JsonApi:
    """One API at `base_url`. Seconds: to connect, of silence, and for the whole of a call."""

    def __init__(
        self, base_url: str, *, name: str, connect_seconds: float = 2.0, read_seconds: float = 5.0, seconds: float = 7.0
    ) -> None:
        keep_pools_whole()
        self._name = name
        self._seconds = seconds
        self._client = httpx2.Client(
            base_url=base_url,
            headers={"Accept": "application/json"},
            timeout=httpx2.Timeout(read_seconds, connect=connect_seconds, pool=connect_seconds),
            limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=20),
        )

    def get(self, path: str, params: Mapping[str, str], token: str) -> dict[str, Any]:
        """Ask with a bearer token. Raises: TokenRefused, ExternalRefused, ExternalUnavailable."""
        return self._call("GET", path, params=params, headers={"Authorization": f"Bearer {token}"})

    def post(self, path: str, form: Mapping[str, str]) -> dict[str, Any]:
        """Send a form. Raises: TokenRefused, ExternalRefused, ExternalUnavailable."""
        return self._call("POST", path, data=form)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        until = monotonic() + self._seconds
        try:
            with self._client.stream(method, path, **options) as response:
                self._check(response)
                body = self._read(response, until)
        except httpx2.HTTPError as error:
            # Without the address: the query holds what a user has said.
            raise ExternalUnavailable(f"{self._name} could not be asked: {type(error).__name__}") from error
        try:
            answer = from_json(body)
        except ValueError as error:
            raise ExternalUnavailable(f"{self._name} did not answer in JSON") from error
        if not isinstance(answer, dict):
            raise ExternalUnavailable(f"{self._name} did not answer with a JSON object")
        return answer

    def _check(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status == 401:
            raise TokenRefused(f"{self._name} does not accept our credentials")
        if status == 429:
            raise ExternalUnavailable(f"{self._name} asks for less at a time", retry_after=_seconds(response) or 1.0)
        if status in (400, 404, 422):
            raise ExternalRefused(f"{self._name} does not accept the question")
        if status != 200:
            raise ExternalUnavailable(f"{self._name} answered with {status}")

    def _read(self, response: httpx2.Response, until: float) -> bytes:
        body = b""
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_BYTES:
                raise ExternalUnavailable(f"{self._name} answered with more than {MAX_BYTES} bytes")
            if monotonic() > until:
                raise ExternalUnavailable(f"{self._name} took longer than {self._seconds:g} s to answer")
        return body


class TokenRefused(ExternalUnavailable):
    """Our access token or our credentials are not accepted."""


def _seconds(response: httpx2.Response) -> float | None:
    told = response.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else None
