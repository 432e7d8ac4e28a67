"""What every task has in common: what it does to its message, once, for all of them."""

import logging
from typing import Any

from celery import Task
from celery.exceptions import Reject

from chatapp.errors import StoreUnavailable
from chatapp.flows.turn import HideUntil
from tasks.app import deliveries, services, store_watch
from tasks.closing import SHUTDOWN
from tasks.delivery import Delivery
from tasks.envelope import Poison
from tasks.gate import gate
from tasks.poison import bury

log = logging.getLogger(__name__)

STORE_AWAY_SECONDS = 5
"""How long a message is hidden that could not be looked at because DynamoDB was away."""


class WakeUp(Task):  # type: ignore[misc]
    """A task whose message is a wake-up.

    `run` returns None when the message has served its purpose, which deletes it, or HideUntil, to see it again later. It raises
    Poison for a message that no worker can do anything with: it goes to the dead-letter queue. Whatever else it raises rejects
    the message, which leaves it in its queue.
    """

    abstract = True
    ignore_result = True

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run the task, and do to its message what follows from it."""
        delivery = Delivery.of(self.request.properties)
        later = self._look(delivery, args, kwargs)
        if later is not None and not deliveries.put_off(delivery, later.seconds):
            raise Reject("to be seen again later", requeue=False)

    def _look(self, delivery: Delivery, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HideUntil | None:
        if SHUTDOWN in gate.reasons:
            return HideUntil(0)
        try:
            with deliveries.holding(delivery):
                later: HideUntil | None = self.run(*args, **kwargs, returned=delivery.returned)
        except StoreUnavailable as error:
            log.warning("%s: %s", self.request.id, error.detail)
            store_watch.away()
            return HideUntil(STORE_AWAY_SECONDS)
        except Poison as poison:
            log.error("poison: %s", poison)  # noqa: TRY400  it says all there is to say
            queue = self.request.properties["delivery_info"]["routing_key"]
            bury(services, queue, delivery.body, reason=poison.reason, detail=poison.detail, about=poison.about)
            return None
        return later
