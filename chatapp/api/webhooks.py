"""Incoming webhooks: a gateway hands over what came for a phone. Signed instead of authenticated, kept, and answered at once."""

from typing import TypeVar

from flask import Blueprint, Response, request

from chatapp.api.answers import ReceivedView
from chatapp.api.body import parse_body, read_bytes
from chatapp.api.context import services, take_allowance_of, traceparent
from chatapp.api.idempotency import HEADERS, read_key
from chatapp.api.operations import operation
from chatapp.api.replies import reply
from chatapp.errors import (
    BadSignature,
    IdempotencyMismatch,
    InFlight,
    Malformed,
    NotFound,
    RateLimited,
    SessionContended,
    StoreUnavailable,
    TooLarge,
    TooManyOpenTurns,
    UnsupportedMedia,
)
from chatapp.incoming.messages import Incoming, IngestedMessage, TemplateFired
from chatapp.incoming.signature import HEADER

bp = Blueprint("webhooks", __name__)

TEMPLATE_HEADERS = (*HEADERS, "X-Template-Idempotency-Key")
ERRORS = (
    BadSignature,
    NotFound,
    Malformed,
    TooLarge,
    UnsupportedMedia,
    IdempotencyMismatch,
    InFlight,
    RateLimited,
    TooManyOpenTurns,
    StoreUnavailable,
    SessionContended,
)

Body = TypeVar("Body", bound=Incoming)


@bp.post("/webhook/ingest")
@operation(body=IngestedMessage, answers={202: ReceivedView}, headers=HEADERS, errors=ERRORS, public=True, signed=True)
def ingest_message() -> Response:
    """Hand over a message that somebody wrote to your number; the reply is delivered to OUTBOUND_WEBHOOK_URL."""
    return _keep(_signed(IngestedMessage), read_key())


@bp.post("/hooks/template-fired")
@operation(body=TemplateFired, answers={202: ReceivedView}, headers=TEMPLATE_HEADERS, errors=ERRORS, public=True, signed=True)
def template_fired() -> Response:
    """Tell that a template message was sent to somebody: the conversation knows of it from then on."""
    return _keep(_signed(TemplateFired), read_key(TEMPLATE_HEADERS))


def _signed(model: type[Body]) -> Body:
    """Read a body of whoever may call. Raises: NotFound (no secret is set), BadSignature, and as `read_body`."""
    signatures = services().signatures
    if signatures is None:
        raise NotFound
    data = read_bytes()
    signatures.check(data, request.headers.get(HEADER))
    return parse_body(model, data)


def _keep(message: Incoming, key: str | None) -> Response:
    received = services().receive(message, key=key, allow=take_allowance_of, traceparent=traceparent())
    headers = {"Idempotency-Replayed": "true"} if received.replayed else {}
    return reply(ReceivedView(**received.answer), 202, headers)
