"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header), and its alias X-Idempotency-Key."""

import hashlib
import json
import re

from flask import request
from pydantic import BaseModel

from chatapp.api.context import principal
from chatapp.errors import InvalidRequest
from chatapp.flows.submit import Idempotency

HEADERS = ("Idempotency-Key", "X-Idempotency-Key")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def read_idempotency(body: BaseModel, *, route: str, besides: frozenset[str] = frozenset()) -> Idempotency | None:
    """Read the key, hashed with its user and route so that nobody meets another's, and a fingerprint of the payload.

    `besides` names fields that may differ between two tries of one request. Raises: InvalidRequest.
    """
    given = {name: request.headers[name] for name in HEADERS if name in request.headers}
    if not given:
        return None
    name, key = next(iter(given.items()))
    if not _KEY.fullmatch(key):
        raise InvalidRequest(errors=[{"header": name, "detail": "must have 1 to 255 visible ASCII characters"}])
    if len(set(given.values())) > 1:
        raise InvalidRequest(errors=[{"header": HEADERS[1], "detail": f"differs from {HEADERS[0]}"}])
    return Idempotency(_digest(principal().user_id, route, key), fingerprint(body, besides))


def fingerprint(body: BaseModel, besides: frozenset[str] = frozenset()) -> str:
    """Hash a parsed payload: the same for every way of writing the same request.

    Fields at their default are left out, so that a field that a later version adds changes no fingerprint.
    """
    payload = body.model_dump(mode="json", exclude=set(besides), exclude_defaults=True)
    return _digest(json.dumps(payload, sort_keys=True, separators=(",", ":")))


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()
