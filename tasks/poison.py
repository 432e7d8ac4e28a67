"""Poison: a message that no worker can do anything with. It goes to the dead-letter queue with a reason, and its turn ends."""

from chatapp.effects import EffectId
from chatapp.errors import Unreadable
from chatapp.model import JobId, Status
from chatapp.services import Services


def bury(services: Services, queue: str, body: str, *, reason: str, detail: str, about: str | None) -> None:
    """Put a message away for good. The caller deletes it once this has returned.

    Where it names a turn that waits for its first attempt, that turn ends as failed: this may have been its only message. One
    that was attempted, or has ended, is seen to by others. An effect is left as it is: somebody has said yes to it, and the
    relay sends a message that can be read.

    Raises: QueueUnavailable, StoreUnavailable.
    """
    job, effect = JobId.parse(about or ""), EffectId.parse(about or "")
    if job is not None:
        turn = services.turns.get(job)
        if turn is not None and turn.status is Status.QUEUED and turn.attempt == 0:
            services.endings.by_other(turn, Status.FAILED, error=Unreadable(f"Its message could not be read ({reason})"))
    services.dead_letters.put_raw(queue, body, reason=reason, detail=detail, about=job or effect)
