"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header), and its alias X-Idempotency-Key."""

import re

from flask import request

from chatapp.errors import InvalidRequest
from chatapp.requests import IDEMPOTENCY_KEY

HEADERS = ("Idempotency-Key", "X-Idempotency-Key")


def read_key(names: tuple[str, ...] = HEADERS) -> str | None:
    """Read the key, if the request has one, under any of its names. Raises: InvalidRequest."""
    given = {name: request.headers[name] for name in names if name in request.headers}
    if not given:
        return None
    name, key = next(iter(given.items()))
    if not re.fullmatch(IDEMPOTENCY_KEY, key):
        raise InvalidRequest(errors=[{"header": name, "detail": "must have 1 to 255 visible ASCII characters"}])
    if other := next((n for n, value in given.items() if value != key), None):
        raise InvalidRequest(errors=[{"header": other, "detail": f"differs from {name}"}])
    return key
