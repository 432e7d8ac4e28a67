"""What a target's answer means for the effect: pure functions from answers and failures to `Called`.

| answer | an action | a delivery |
|---|---|---|
| 2xx | done; a JSON object is kept as its result | done |
| 408, 425, 429, or 503 with Retry-After | later | later |
| 410 | refused | refused: nobody wants it any more |
| another 3xx or 4xx | refused; an operator looks at those that speak of our address or key | later |
| another 5xx | unknown: it may have been carried out | later |
| nothing was sent | not sent | not sent; refused if the address is none of the public Internet |
| no answer that can be read | unknown | unknown |
"""

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic_core import from_json

from chatapp.outbound.client import Answer
from chatapp.outbound.failures import AddressRefused, CallFailed, Crowded, NotSent
from chatapp.ports import Called, CallOutcome

MAX_RESULT_BYTES = 4_096
MAX_RESULT_DEPTH = 16
MAX_REASON_CHARS = 200
MAX_RETRY_AFTER_SECONDS = 3_600.0
CROWDED_SECONDS = 2.0
LATER = frozenset({408, 425, 429})
GONE = 410
OF_OURS = frozenset({*range(300, 400), 401, 403, 404, 405, 407, 411, 413, 414, 415, 421, 426, 431})
"""They say that our configuration is wrong (address, key, method), and nothing of the action."""


def of_action(answer: Answer, now: int) -> Called:
    """Say what an answer means for an action. `now`: milliseconds since 1970."""
    if answer.status < 300:
        return Called(outcome=CallOutcome.DONE, result=result_of(answer.body))
    wait = retry_after(answer, now)
    error = _error(answer, reason=reason_of(answer.body))
    if answer.status in LATER or (answer.status == 503 and wait is not None):
        return Called(outcome=CallOutcome.RETRY_LATER, error=error, retry_after=wait)
    if answer.status < 500:
        return Called(outcome=CallOutcome.REFUSED, error=error, dead_letter=answer.status in OF_OURS)
    return Called(outcome=CallOutcome.UNKNOWN, error=error)


def of_delivery(answer: Answer, now: int) -> Called:
    """Say what an answer means for a delivery: whatever it says, it is tried again, unless it took it or is gone."""
    if answer.status < 300:
        return Called(outcome=CallOutcome.DONE)
    if answer.status == GONE:
        return Called(outcome=CallOutcome.REFUSED, error=_error(answer))
    return Called(outcome=CallOutcome.RETRY_LATER, error=_error(answer), retry_after=retry_after(answer, now))


def of_status(answer: Answer) -> Called:
    """Say what a target told of an earlier call. Only words that were meant so count: a 404 of some proxy's says nothing."""
    told = object_of(answer.body) if answer.status < 300 or answer.status == 404 else None
    status = None if told is None else "not_found" if answer.status == 404 else told.get("status")
    match status:
        case "executed":
            result = told.get("result") if told else None
            return Called(outcome=CallOutcome.DONE, result=result if isinstance(result, dict) and storable(result) else None)
        case "failed":
            error = {"code": "failed", "message": reason_of(answer.body) or "The target says that it failed"}
            return Called(outcome=CallOutcome.REFUSED, error=error)
        case "not_found":
            error = {"code": "not_found", "message": "The target knows no such call"}
            return Called(outcome=CallOutcome.NOT_SENT, error=error)
    return Called(outcome=CallOutcome.RETRY_LATER, error=_error(answer))


def of_failure(failure: CallFailed) -> Called:
    """Say what a call without an answer means."""
    message = str(failure)
    match failure:
        case AddressRefused():
            return Called(outcome=CallOutcome.REFUSED, error={"code": "address_refused", "message": message})
        case Crowded():
            error = {"code": "target_busy", "message": message}
            return Called(outcome=CallOutcome.RETRY_LATER, error=error, retry_after=CROWDED_SECONDS)
        case NotSent():
            return Called(outcome=CallOutcome.NOT_SENT, error={"code": "unreachable", "message": message})
    return Called(outcome=CallOutcome.UNKNOWN, error={"code": "no_answer", "message": message})


def object_of(body: bytes | None) -> dict[str, Any] | None:
    """Read a JSON object; None for anything else."""
    try:
        value = from_json(body or b"", allow_inf_nan=False)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def result_of(body: bytes | None) -> dict[str, Any] | None:
    """Read what a target has to say of what it did: a small JSON object, else None."""
    told = object_of(body) if body is not None and len(body) <= MAX_RESULT_BYTES else None
    return told if told and storable(told) else None


def reason_of(body: bytes | None) -> str | None:
    """Read why a target refused, as problem documents and most APIs say it: a line of text."""
    told = object_of(body) or {}
    found = next((t for name in ("detail", "message", "error") if isinstance(t := told.get(name), str)), "")
    return "".join(c if c.isprintable() else " " for c in found[:MAX_REASON_CHARS]).strip() or None


def storable(value: Any, depth: int = MAX_RESULT_DEPTH) -> bool:
    """Say whether DynamoDB takes a JSON value: numbers of 38 digits, names of a character at least, an end."""
    match value:
        case dict():
            return depth > 0 and "" not in value and all(storable(inner, depth - 1) for inner in value.values())
        case list():
            return depth > 0 and all(storable(inner, depth - 1) for inner in value)
        case bool():
            return True
        case int() | float():
            return value == 0 or 1e-100 < abs(value) < 1e37
    return True


def retry_after(answer: Answer, now: int) -> float | None:
    """Read `Retry-After`, seconds or a date, up to an hour; None for what says nothing. `now`: milliseconds since 1970."""
    said = answer.headers.get("retry-after", "")
    try:
        seconds = float(said) if said.replace(".", "", 1).isdigit() else parsedate_to_datetime(said).timestamp() - now / 1000
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else None


def _error(answer: Answer, *, reason: str | None = None) -> Mapping[str, Any]:
    return {"code": f"http_{answer.status}", "message": reason or f"The target answered {answer.status}"}
