"""Every error as RFC 9457 `application/problem+json`, whoever raised it, in the API and the WebSocket server alike."""

import logging
import math
import re
import uuid
from collections.abc import Mapping
from typing import Any, cast

from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException

from chatapp.errors import (
    BadSignature,
    ChatappError,
    Forbidden,
    InFlight,
    Malformed,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unauthenticated,
    VersionMismatch,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:chatapp:problem:"
RETRY_AFTER_SECONDS = 1
"""`Retry-After` of an error whose cause could not say better."""

_OF_STATUS: Mapping[int, type[ChatappError]] = {400: Malformed, 404: NotFound, 405: MethodNotAllowed, 413: TooLarge}
"""Ours for what Flask itself raises."""

_HARMLESS = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id() -> str:
    """Name this request: the caller's X-Request-ID if it is harmless in a log line, else one of ours."""
    if "request_id" not in g:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _HARMLESS.fullmatch(given) else uuid.uuid4().hex
    return cast("str", g.request_id)


def install(app: Flask) -> None:
    """Answer every error of the app with a problem document, and name the request in every answer."""
    app.after_request(_named)
    app.register_error_handler(ChatappError, answer)
    app.register_error_handler(HTTPException, _flasks)
    app.register_error_handler(Exception, _unforeseen)


def _named(response: Response) -> Response:
    response.headers["X-Request-ID"] = request_id()
    return response


def answer(error: ChatappError) -> Response:
    """Make the problem document of an error of ours."""
    if error.http_status >= 500:
        log.warning("request %s: %s: %s", request_id(), error.code, error.__cause__ or error)
    # One text for every 404: what exists but is not yours must not be told apart from what does not exist.
    detail = error.title if isinstance(error, NotFound) else error.detail
    response = _problem(error.http_status, error.code, error.title, detail, retryable=error.retryable, errors=error.errors)
    if (challenge := _challenge(error)) is not None:
        response.headers["WWW-Authenticate"] = challenge
    if isinstance(error, VersionMismatch) and error.version is not None:
        response.set_etag(str(error.version))
    if error.http_status in (429, 503) or isinstance(error, InFlight):
        response.headers["Retry-After"] = str(max(math.ceil(error.retry_after or 0), RETRY_AFTER_SECONDS))
    return response


def _challenge(error: ChatappError) -> str | None:
    """Say what a token lacks (RFC 6750 section 3.1): an error code only for who has sent one."""
    if isinstance(error, BadSignature):
        return 'Hub-Signature realm="chatapp"'
    if isinstance(error, Forbidden):
        return 'Bearer realm="chatapp", error="insufficient_scope"'
    if not isinstance(error, Unauthenticated):
        return None
    return 'Bearer realm="chatapp"' + (', error="invalid_token"' if request.headers.get("Authorization") else "")


def _flasks(error: HTTPException) -> Any:
    if error.code is None or error.code < 400:
        return error  # a redirect, or an answer given as an exception
    if error.code >= 500:
        return _unforeseen(error)
    kind = _OF_STATUS.get(error.code)
    if kind is None:
        return _problem(error.code, f"http_{error.code}", error.name, error.description or error.name)
    response = answer(kind())
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _unforeseen(error: Exception) -> Response:
    log.error("request %s failed", request_id(), exc_info=error)
    plain = ChatappError("Something went wrong on our side. The request id helps us to find it.")
    return _problem(500, plain.code, plain.title, plain.detail)


def _problem(
    status: int, code: str, title: str, detail: str, *, retryable: bool = False, errors: list[dict[str, Any]] | None = None
) -> Response:
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id(),
        "retryable": retryable,
    }
    if errors:
        body["errors"] = errors
    return Response(json.dumps(body), status, mimetype=MEDIA_TYPE)
