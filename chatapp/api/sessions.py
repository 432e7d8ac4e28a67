"""Sessions: conversations and their messages."""

from flask import Blueprint, Response

from chatapp.api.answers import BegunView, ConversationPage, SessionPage, SessionView, session_path
from chatapp.api.body import read_body, read_no_body, read_query
from chatapp.api.context import principal, services, take_allowance, traceparent
from chatapp.api.flow_answers import ResultView
from chatapp.api.idempotency import HEADERS, read_key
from chatapp.api.operations import operation
from chatapp.api.owned import own_session
from chatapp.api.replies import reply
from chatapp.errors import (
    IdempotencyMismatch,
    InvalidRequest,
    Malformed,
    ModelUnavailable,
    NotFound,
    RateLimited,
    SessionContended,
    StoreUnavailable,
    TooLarge,
    UnsupportedMedia,
)
from chatapp.flows.paging import Period, read_page
from chatapp.requests import ConversationQuery, NewSession, SessionChange, SessionsQuery

bp = Blueprint("sessions", __name__)

_BODY = (Malformed, TooLarge, UnsupportedMedia, RateLimited, StoreUnavailable)


@bp.post("/sessions")
@operation(body=NewSession, answers={201: BegunView}, headers=HEADERS, errors=(*_BODY, IdempotencyMismatch, ModelUnavailable))
def post_session() -> Response:
    """Begin a session; a message without a session id begins one too. If its flow speaks first, `job` is what it says."""
    body = read_body(NewSession)
    key = read_key()
    begun = services().commands.begin(principal().user_id, body, allow=take_allowance, key=key, traceparent=traceparent())
    view = BegunView.begun(begun.session, begun.first, websocket=services().settings.public_ws_url)
    headers = {"Location": session_path(begun.session.id)} | ({"Idempotency-Replayed": "true"} if begun.replayed else {})
    return reply(view, 201, headers)


@bp.get("/sessions")
@operation(query=SessionsQuery, answers={200: SessionPage}, errors=(StoreUnavailable,))
def list_sessions() -> Response:
    """List your sessions, the last used first."""
    query = read_query(SessionsQuery)
    found, cursor = services().sessions.list(principal().user_id, query.limit, query.cursor)
    return reply(SessionPage(sessions=[SessionView.of(s) for s in found], cursor=cursor), nulls=True)


@bp.get("/sessions/<session_id>")
@operation(answers={200: SessionView}, errors=(NotFound, StoreUnavailable))
def get_session(session_id: str) -> Response:
    """Read a session."""
    return reply(SessionView.of(own_session(session_id)))


@bp.patch("/sessions/<session_id>")
@operation(body=SessionChange, answers={200: SessionView}, errors=(*_BODY, NotFound))
def patch_session(session_id: str) -> Response:
    """Give a session another title."""
    body = read_body(SessionChange)
    take_allowance()
    session = own_session(session_id)
    renamed = services().sessions.rename(session.id, user_id=principal().user_id, title=body.title)
    return reply(SessionView.of(renamed))


@bp.delete("/sessions/<session_id>")
@operation(answers={204: None}, errors=(NotFound, RateLimited, StoreUnavailable))
def delete_session(session_id: str) -> Response:
    """Delete a session: nobody can reach it any more. Its stored messages are erased when their time is over (`TURN_DAYS`)."""
    take_allowance()
    services().delete_session(own_session(session_id).id, user_id=principal().user_id)
    return Response(status=204)


@bp.post("/sessions/<session_id>/end")
@operation(
    answers={200: ResultView},
    errors=(Malformed, InvalidRequest, NotFound, TooLarge, UnsupportedMedia, RateLimited, SessionContended, StoreUnavailable),
)
def end_session(session_id: str) -> Response:
    """End a session: read what its flow came to. It is removed by that; asked again, the answer is the same."""
    read_no_body()
    return reply(ResultView.of(services().commands.end(principal().user_id, session_id, allow=take_allowance)))


@bp.get("/sessions/<session_id>/conversation")
@operation(query=ConversationQuery, answers={200: ConversationPage}, errors=(NotFound, StoreUnavailable))
def get_conversation(session_id: str) -> Response:
    """Read the messages of a session, the newest page first, each page oldest first.

    An answer goes with its question: `from` and `to` look at the time of that.
    """
    query = read_query(ConversationQuery)
    session = own_session(session_id)
    period = Period(*query.period)
    turns, cursor = read_page(services().turns, session, period, limit=query.limit, before=query.cursor)
    shown = [turn for turn in turns if services().commands.visible(principal().user_id, turn)]
    return reply(ConversationPage.of(session, shown, cursor=cursor), nulls=True)
