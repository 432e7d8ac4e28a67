"""What happens to every request, before its view and after it: who is calling, from where, and the headers of safety."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, request

from chatapp.api.context import rate_limit_headers, services
from chatapp.api.operations import Operation, of_endpoint
from chatapp.errors import Forbidden, Unauthenticated
from chatapp.model import Principal
from chatapp.origins import may_call
from config.settings import Settings

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/=-]+)")

ALLOWED_HEADERS = (
    "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-Idempotency-Key, Last-Event-ID, X-Request-ID, "
    "traceparent"
)
EXPOSED_HEADERS = "Location, ETag, Retry-After, RateLimit, RateLimit-Policy, X-Request-ID, Idempotency-Replayed"
PREFLIGHT_SECONDS = 600

NOTHING_TO_SHOW = "default-src 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of data: a browser that is tricked into showing an answer as a page runs nothing of it."""


def install(app: Flask, settings: Settings) -> None:
    """Put the edge around every view of the app."""
    app.before_request(_answer_preflight)
    app.before_request(_authenticate)
    # Flask runs these in reverse: CORS last, so that it stands on every answer, errors included.
    app.after_request(_cors(settings))
    app.after_request(_secure)


def _answer_preflight() -> Response | None:
    """Answer a preflight before anybody asks for a token: a browser sends none with it."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    return Response(status=204)


def _authenticate() -> None:
    if request.endpoint is None or request.method == "OPTIONS":
        return  # 404 and 405 are raised after this; OPTIONS runs no view
    described = of_endpoint(current_app, request.endpoint)
    if described.public:
        return
    g.principal = _caller(described)
    if described.scope is not None and described.scope not in g.principal.scopes:
        raise Forbidden(f"The token must carry the scope `{described.scope}`")


def _caller(described: Operation) -> Principal:
    """Say who is calling: by the header; without one by a ticket, where that is allowed. It is used up by that.

    Raises: Unauthenticated, LiveUnavailable.
    """
    if described.ticket and "Authorization" not in request.headers and len(tickets := request.args.getlist("ticket")) == 1:
        return services().tickets.redeem(tickets[0])
    given = _BEARER.fullmatch(request.headers.get("Authorization", ""))
    if given is None:
        raise Unauthenticated("Send Authorization: Bearer <token>")
    return services().tokens.verify(given[1])


def _cors(settings: Settings) -> Callable[[Response], Response]:
    def add(response: Response) -> Response:
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin is not None and may_call(origin, settings):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            if request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, DELETE"
                response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
                response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        return response

    return add


def _secure(response: Response) -> Response:
    headers = response.headers
    if response.status_code == 204:
        headers.pop("Content-Type", None)  # of nothing
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Content-Security-Policy", NOTHING_TO_SHOW)
    headers.setdefault("Cache-Control", "no-store")
    headers.update(rate_limit_headers())
    return response


def page_policy(settings: Settings) -> str:
    """Write the Content-Security-Policy of our own pages: our own files, our API and our WebSocket, nothing else."""
    address = urlsplit(settings.public_ws_url)
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            f"connect-src 'self' {address.scheme}://{address.netloc}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
