"""Every error as RFC 9457 `application/problem+json`, whoever raised it."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, json, request
from werkzeug.exceptions import HTTPException

from chatapp.api.context import request_id
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


def install(app: Flask) -> None:
    """Answer every error of the app with a problem document."""
    app.register_error_handler(ChatappError, _ours)
    app.register_error_handler(HTTPException, _flasks)
    app.register_error_handler(Exception, _unforeseen)


def _ours(error: ChatappError) -> Response:
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
    response = _ours(kind())
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
