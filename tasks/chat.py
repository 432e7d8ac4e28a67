"""Hop 4 of 8: a wake-up is received, and the turn it names is looked at."""

import logging

from chatapp import failpoints
from chatapp.errors import NotFound, TooManyOpenTurns
from chatapp.flows.turn import HideUntil
from chatapp.model import JobId, Status
from config.resources import CHAT_TASK
from tasks.app import app, services
from tasks.base import WakeUp
from tasks.envelope import Poison

log = logging.getLogger(__name__)

FULL_SECONDS = 30
"""How long a message from the dead-letter queue waits for a place in a session that is full."""


@app.task(name=CHAT_TASK, base=WakeUp)
def answer(job_id: str, *, returned: bool) -> HideUntil | None:
    """Look at the turn `job_id`, and answer it if it is its turn. `returned`: the message was in the dead-letter queue."""
    failpoints.hit("worker.received")
    job = JobId.parse(job_id)
    if job is None:
        raise Poison("wrong_job_id", "job_id is not a job's id")
    try:
        return None if returned and _tried_again(job) else services.answer(job)
    except TooManyOpenTurns:
        return HideUntil(FULL_SECONDS)
    except NotFound as error:
        raise Poison("unknown_job", "there is no such job", str(job)) from error


def _tried_again(job: JobId) -> bool:
    """Append a new turn for a dead one, whoever brought its message back. Returns: whether there was one to be tried again."""
    turn = services.turns.get(job)
    if turn is None or turn.status is not Status.FAILED:
        return False
    try:
        accepted = services.retry(turn)
    except NotFound:
        log.warning("%s came back from the dead-letter queue and is not tried again: its session was deleted", job)
    else:
        log.info("%s came back from the dead-letter queue: tried again as %s", job, accepted.job_id)
    return True
