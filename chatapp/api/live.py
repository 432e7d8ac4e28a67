"""What the live layer needs of the API: tickets for browsers, and pushing to people."""

import uuid
from typing import Any

from flask import Blueprint, Response

from chatapp.api.answers import NotifiedView, TicketView
from chatapp.api.body import read_body, read_no_body
from chatapp.api.context import principal, services, take_allowance
from chatapp.api.operations import operation
from chatapp.api.replies import reply
from chatapp.errors import (
    InvalidRequest,
    LiveUnavailable,
    Malformed,
    NotFound,
    RateLimited,
    StoreUnavailable,
    TooLarge,
    UnsupportedMedia,
)
from chatapp.model import timestamp
from chatapp.requests import Notification

bp = Blueprint("live", __name__)

_BODY = (Malformed, TooLarge, UnsupportedMedia)
ADMIN = "admin"
NOTICE = "notice"
NOTIFICATION = "notification"


@bp.post("/ws/ticket")
@operation(answers={201: TicketView}, errors=(*_BODY, InvalidRequest, RateLimited, LiveUnavailable))
def post_ticket() -> Response:
    """Get a one-time ticket for opening a socket or an event stream, where no header can be sent."""
    read_no_body()
    take_allowance()
    tickets, caller = services().tickets, principal()
    return reply(TicketView(expires_in=tickets.life_ms(caller) // 1_000, ticket=tickets.issue(caller)), 201)


@bp.post("/notify")
@operation(
    body=Notification, answers={202: NotifiedView}, errors=(*_BODY, NotFound, LiveUnavailable, StoreUnavailable), scope=ADMIN
)
def post_notification() -> Response:
    """Push to a user, to a session or to everybody."""
    asked = read_body(Notification)
    said = asked.model_dump(include={"title", "text", "data"}, exclude_none=True)
    view = _push(asked, said) if asked.session_id is None else _note(asked.session_id, said)
    return reply(view, 202)


def _push(asked: Notification, said: dict[str, Any]) -> NotifiedView:
    made = {"type": NOTIFICATION, "id": uuid.uuid4().hex, "created_at": timestamp(services().clock.now()), **said}
    pushes = services().pushes
    told = pushes.to_all(made) if asked.user_id is None else pushes.to_user(asked.user_id, made)
    return NotifiedView(id=made["id"], processes=told)


def _note(session_id: str, said: dict[str, Any]) -> NotifiedView:
    session = services().sessions.get(session_id)
    if session is None or not session.alive(services().clock.now()):
        raise NotFound
    return NotifiedView(id=str(services().session_log.append(session_id, NOTICE, **said)), session_id=session_id)
