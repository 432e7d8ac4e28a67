"""Whether a new turn would fail at once: then it is refused before anything is kept."""

from chatapp.api.context import services
from chatapp.errors import ModelUnavailable


def need_a_model(model: str, record_key: str | None) -> None:
    """Refuse what would fail at once: every provider's breaker is open. What was accepted once is answered the same again.

    `record_key` is that of the request's idempotency record, if it has one. Raises: ModelUnavailable, StoreUnavailable.
    """
    if services().settings.on_breaker_open == "wait":
        return
    wait = services().breakers.wait(model)
    if wait is None or (record_key and services().turns.record(record_key)):
        return
    raise ModelUnavailable(retry_after=wait)
