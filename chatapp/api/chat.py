"""Hop 1 of 8: a message arrives. It is authenticated (edge.py), validated, counted against the limit, and handed to submit."""

import logging

from flask import Blueprint, Response

from chatapp.api.answers import AcceptedView, accepted_headers
from chatapp.api.body import read_body
from chatapp.api.context import principal, services, take_allowance, traceparent
from chatapp.api.idempotency import HEADERS, read_key
from chatapp.api.operations import operation
from chatapp.api.replies import reply
from chatapp.errors import (
    IdempotencyMismatch,
    LiveUnavailable,
    Malformed,
    ModelUnavailable,
    NotFound,
    RateLimited,
    SessionBusy,
    SessionContended,
    StoreUnavailable,
    TooLarge,
    TooManyOpenTurns,
    UnsupportedMedia,
)
from chatapp.flows.submit import Accepted
from chatapp.requests import ChatRequest

log = logging.getLogger(__name__)
bp = Blueprint("chat", __name__)


@bp.post("/chat")
@operation(
    body=ChatRequest,
    answers={202: AcceptedView},
    headers=HEADERS,
    errors=(
        Malformed,
        NotFound,
        SessionBusy,
        TooLarge,
        UnsupportedMedia,
        IdempotencyMismatch,
        RateLimited,
        TooManyOpenTurns,
        StoreUnavailable,
        SessionContended,
        ModelUnavailable,
    ),
)
def post_message() -> Response:
    """Post a message; the answer comes as events and in the job."""
    body, key = read_body(ChatRequest), read_key()
    accepted = services().commands.chat(principal().user_id, body, allow=take_allowance, key=key, traceparent=traceparent())
    following = None if body.connection_id is None else _follow(body.connection_id, accepted)
    view = AcceptedView.of(accepted, websocket=services().settings.public_ws_url, following=following)
    return reply(view, 202, accepted_headers(accepted))


def _follow(connection_id: str, accepted: Accepted) -> bool:
    try:
        return services().sockets.follow(connection_id, principal().user_id, accepted.job_id.session_id, accepted.job_id)
    except LiveUnavailable as error:
        log.warning("socket %s does not follow %s: %s", connection_id, accepted.job_id, error)
    except Exception:  # the message is kept: whatever fails now must not look as if it were not
        log.exception("socket %s does not follow %s", connection_id, accepted.job_id)
    return False
