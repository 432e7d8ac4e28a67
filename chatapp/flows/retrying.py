"""Trying an ended turn again: as a new turn with the same input, once per ended turn. For users and for the dead-letter queue."""

from dataclasses import replace

from chatapp.errors import NotEnded
from chatapp.flows.submit import Accepted, Idempotency, Submission, Submit
from chatapp.model import JobId, Turn


def record_key(job_id: JobId) -> str:
    """Name the record that tells what an ended turn was retried as."""
    return f"retry#{job_id}"


class Retrying:
    """Appends a new turn for an ended one."""

    def __init__(self, submit: Submit) -> None:
        self._submit = submit

    def __call__(self, turn: Turn, *, traceparent: str | None = None) -> Accepted:
        """Submit the turn's input anew, behind whatever is open in its session; the history skips the old turn from then on.

        Returns: the new job; the same one, `replayed`, when the turn was retried before. A session that has only expired
        comes back to life. Raises: NotEnded, NotFound (the session was deleted), and what Submit raises.
        """
        if not turn.status.ended:
            raise NotEnded("Only a job that has ended can be tried again")
        # The ended turn never changes: that it was retried is told by the record of an idempotency key of its own.
        once = Idempotency(key=record_key(turn.job_id), fingerprint=str(turn.job_id), life_ms=turn.expires_at - turn.created_at)
        submission = Submission(
            user_id=turn.user_id,
            input=turn.input,
            options=turn.options,
            session_id=turn.session_id,
            flow=turn.flow,
            restart=turn.restart,
            metadata=turn.metadata,
            traceparent=traceparent,
            idempotency=once,
            retry_of=turn.number,
            callback=turn.callback,
        )
        return replace(self._submit(submission), retry_of=turn.number)
