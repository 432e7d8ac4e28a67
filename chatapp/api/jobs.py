"""Jobs: turns seen from outside."""

import logging

from flask import Blueprint, Response
from redis.exceptions import RedisError

from chatapp.api.answers import JobView
from chatapp.api.body import read_query
from chatapp.api.context import services
from chatapp.api.operations import operation
from chatapp.api.owned import own_turn
from chatapp.api.replies import reply
from chatapp.api.requests import JobQuery
from chatapp.errors import LiveUnavailable, NotFound, StoreUnavailable
from chatapp.model import Status, Turn
from chatapp.payloads import text_so_far

log = logging.getLogger(__name__)
bp = Blueprint("jobs", __name__)


@bp.get("/jobs/<job_id>")
@operation(query=JobQuery, answers={200: JobView}, errors=(NotFound, StoreUnavailable))
def get_job(job_id: str) -> Response:
    """Read a job, at once or when it has ended."""
    query = read_query(JobQuery)
    turn, session = own_turn(job_id)
    if query.wait and not turn.status.ended:
        services().until_ended(turn.job_id, query.wait)
        turn, session = own_turn(job_id)  # it may have been deleted meanwhile
    return reply(JobView.of(turn, session, answer_partial=_so_far(turn)))


def _so_far(turn: Turn) -> str | None:
    if turn.status is not Status.RUNNING:
        return None
    try:
        return text_so_far(services().events.read(turn.job_id, None))
    except (RedisError, LiveUnavailable) as error:  # the turn is the truth; the live text is a courtesy
        log.warning("the text so far of %s cannot be read: %s", turn.job_id, error)
        return None
