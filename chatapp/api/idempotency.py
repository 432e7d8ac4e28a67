"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header), and its alias X-Idempotency-Key."""

import re

from flask import request

from chatapp.errors import InvalidRequest
from chatapp.requests import IDEMPOTENCY_KEY

HEADERS = ("Idempotency-Key", "X-Idempotency-Key")


def read_key() -> str | None:
    """Read the key, if the request has one. Raises: InvalidRequest."""
    given = {name: request.headers[name] for name in HEADERS if name in request.headers}
    if not given:
        return None
    name, key = next(iter(given.items()))
    if not re.fullmatch(IDEMPOTENCY_KEY, key):
        raise InvalidRequest(errors=[{"header": name, "detail": "must have 1 to 255 visible ASCII characters"}])
    if len(set(given.values())) > 1:
        raise InvalidRequest(errors=[{"header": HEADERS[1], "detail": f"differs from {HEADERS[0]}"}])
    return key
