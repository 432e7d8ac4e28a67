"""Hop 1 of 8: a message arrives. It is authenticated (edge.py), validated, counted against the limit, and handed to submit."""

import logging

from flask import Blueprint, Response

from chatapp.api import idempotency
from chatapp.api.admission import need_a_model
from chatapp.api.answers import AcceptedView, accepted_headers
from chatapp.api.body import read_body
from chatapp.api.context import principal, services, take_allowance, traceparent
from chatapp.api.operations import operation
from chatapp.api.replies import reply
from chatapp.api.requests import ChatRequest
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
from chatapp.flows.submit import Accepted, Submission
from chatapp.model import ModelOptions

log = logging.getLogger(__name__)
bp = Blueprint("chat", __name__)

NOT_PAYLOAD = frozenset({"connection_id"})
"""A client whose socket reconnected sends the same message with another connection id: still the same message."""


@bp.post("/chat")
@operation(
    body=ChatRequest,
    answers={202: AcceptedView},
    headers=idempotency.HEADERS,
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
    body = read_body(ChatRequest)
    submission = _submission(body)
    take_allowance()
    need_a_model(submission.options.model, submission.idempotency.key if submission.idempotency else None)
    accepted = services().submit(submission)
    following = None if body.connection_id is None else _follow(body.connection_id, accepted)
    view = AcceptedView.of(accepted, websocket=services().settings.public_ws_url, following=following)
    return reply(view, 202, accepted_headers(accepted))


def _submission(body: ChatRequest) -> Submission:
    settings = services().settings
    return Submission(
        user_id=principal().user_id,
        input=tuple(part.model_dump() for part in body.message),
        options=ModelOptions(
            model=body.model or settings.llm_model,
            instructions=body.instructions,
            temperature=body.temperature,
            max_output_tokens=body.max_output_tokens or settings.max_output_tokens,
        ),
        session_id=body.session_id,
        flow=body.flow,
        on_busy=body.on_busy,
        restart=body.restart,
        metadata=body.metadata,
        traceparent=traceparent(),
        idempotency=idempotency.read_idempotency(body, route="POST /chat", besides=NOT_PAYLOAD),
    )


def _follow(connection_id: str, accepted: Accepted) -> bool:
    try:
        return services().sockets.follow(connection_id, principal().user_id, accepted.job_id.session_id, accepted.job_id)
    except LiveUnavailable as error:
        log.warning("socket %s does not follow %s: %s", connection_id, accepted.job_id, error)
    except Exception:  # the message is kept: whatever fails now must not look as if it were not
        log.exception("socket %s does not follow %s", connection_id, accepted.job_id)
    return False
