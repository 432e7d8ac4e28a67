"""Jobs: turns seen from outside."""

import logging

from flask import Blueprint, Response
from redis.exceptions import RedisError

from chatapp.api.answers import AcceptedView, JobView, accepted_headers
from chatapp.api.body import read_no_body, read_query
from chatapp.api.context import principal, services, take_allowance, traceparent
from chatapp.api.operations import operation
from chatapp.api.owned import own_turn
from chatapp.api.replies import reply
from chatapp.errors import (
    InvalidRequest,
    LiveUnavailable,
    Malformed,
    ModelUnavailable,
    NotEnded,
    NotFound,
    RateLimited,
    SessionContended,
    StoreUnavailable,
    TooLarge,
    TooManyOpenTurns,
    UnsupportedMedia,
)
from chatapp.model import Session, Status, Turn
from chatapp.payloads import text_so_far
from chatapp.requests import JobQuery

log = logging.getLogger(__name__)
bp = Blueprint("jobs", __name__)

_POST = (Malformed, InvalidRequest, NotFound, TooLarge, UnsupportedMedia, StoreUnavailable, SessionContended)


@bp.get("/jobs/<job_id>")
@operation(query=JobQuery, answers={200: JobView}, errors=(NotFound, StoreUnavailable))
def get_job(job_id: str) -> Response:
    """Read a job, at once or when it has ended."""
    query = read_query(JobQuery)
    turn, session = own_turn(job_id)
    if query.wait and not turn.status.ended:
        services().until_ended(turn.job_id, query.wait)
        turn, session = own_turn(job_id)  # it may have been deleted meanwhile
    return reply(_view(turn, session))


@bp.post("/jobs/<job_id>/cancel")
@operation(answers={200: JobView, 202: JobView}, errors=_POST)
def cancel_job(job_id: str) -> Response:
    """Stop a job: 200 once it has ended, however it did; 202 while its worker has yet to hear of it.

    Not counted against the rate limit: it ends work, and who may post nothing more must still be able to stop what runs.
    """
    read_no_body()
    turn, session = services().commands.cancel(principal().user_id, job_id)
    return reply(_view(turn, session), 200 if turn.status.ended else 202)


@bp.post("/jobs/<job_id>/retry")
@operation(answers={202: AcceptedView}, errors=(*_POST, NotEnded, RateLimited, TooManyOpenTurns, ModelUnavailable))
def retry_job(job_id: str) -> Response:
    """Ask again what an ended job was asked, in a new job; once for each job, however often this is sent."""
    read_no_body()
    commands = services().commands
    accepted = commands.retry(principal().user_id, job_id, allow=take_allowance, traceparent=traceparent())
    view = AcceptedView.of(accepted, websocket=services().settings.public_ws_url)
    return reply(view, 202, accepted_headers(accepted))


def _view(turn: Turn, session: Session) -> JobView:
    return JobView.of(turn, session, now=services().clock.now(), answer_partial=_so_far(turn))


def _so_far(turn: Turn) -> str | None:
    if turn.status is not Status.RUNNING:
        return None
    try:
        return text_so_far(services().events.read(turn.job_id, None))
    except (RedisError, LiveUnavailable) as error:  # the turn is the truth; the live text is a courtesy
        log.warning("the text so far of %s cannot be read: %s", turn.job_id, error)
        return None
