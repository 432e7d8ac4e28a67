"""What a view may ask of its request: the services, who is calling, and the trace that it belongs to."""

import math
import re
from typing import cast

from flask import current_app, g, request

from chatapp.errors import RateLimited
from chatapp.live.ratelimit import Allowance
from chatapp.model import Principal
from chatapp.services import Services

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def services() -> Services:
    """Give the composition root."""
    return cast("Services", current_app.extensions["chatapp"])


def principal() -> Principal:
    """Say who is calling. Only for views that are not public: the edge has put it there before the view runs."""
    return cast("Principal", g.principal)


def traceparent() -> str | None:
    """Read the W3C trace context; a malformed one is as good as none (that standard's section 3.2.2.5)."""
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else None


def take_allowance() -> None:
    """Count this request against what its user may send.

    Raises: RateLimited.
    """
    take_allowance_of(principal().user_id)


def take_allowance_of(user_id: str) -> None:
    """Count this request against what a user may send, whoever brings it.

    Raises: RateLimited.
    """
    g.allowance = services().limiter.take(user_id)
    if not g.allowance.allowed:
        raise RateLimited(retry_after=g.allowance.retry_after)


def rate_limit_headers() -> dict[str, str]:
    """Tell the limit, if one was applied: RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers-11."""
    allowance: Allowance | None = g.get("allowance")
    if allowance is None or not allowance.limit:
        return {}
    return {
        "RateLimit-Policy": f'"user";q={allowance.limit};w={math.ceil(allowance.window)}',
        "RateLimit": f'"user";r={allowance.remaining};t={math.ceil(allowance.reset)}',
    }
