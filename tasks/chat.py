"""Hop 4 of 8: a wake-up is received, and the turn it names is looked at."""

import logging

from chatapp.model import JobId
from config.resources import CHAT_TASK
from tasks.app import app, services
from tasks.base import WakeUp

log = logging.getLogger(__name__)


@app.task(name=CHAT_TASK, bind=True, base=WakeUp)
def answer(self: WakeUp, job_id: str) -> None:
    """Look at the turn `job_id`, and answer it if it is its turn."""
    job = JobId.parse(job_id)
    if job is None:
        raise ValueError(f"{job_id!r} is not a job id")
    if later := services.answer(job):
        self.hide(later.seconds)
