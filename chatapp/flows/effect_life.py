"""The life of an effect once it is confirmed: what a look at it asks for, and what becomes of it. Pure: no store, no clock.

    confirmed --claim--> executing --+-- done ----------------------------> executed
        ^                            +-- refused -------------------------> failed
        |                            +-- nothing happened, tries left --+
        +----------------------------------------------------------------+  none left --> failed
                                     '-- may have happened, or the lease lapsed:
                                           a delivery  as "nothing happened": the receiver knows repeats by their id
                                           an action   unknown: never called again; asked about, or resolved by hand

A lapsed lease says that nobody knows. The holder of that claim may come back and know after all: what it knows still counts, as
long as the effect is `unknown`. But from there nothing is called again, since somebody may have seen it and acted upon it.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from chatapp.effects import NEVER, OUTBOUND, Effect, EffectStatus, Kind, Move
from chatapp.ports import Called, CallOutcome

MAX_PAUSE_SECONDS = 900
"""Longest pause before a retry, whatever a target asks for."""

MAX_ASK_SECONDS = 3_600
"""Longest pause between two questions about an action whose outcome is not known."""

MAX_ASKS = 24
"""Questions about one action: with the pauses as they are by default over half a day. Then it is left to people."""

LOOK_MS = 10_000
"""How long after its time an effect is left to its own message, before the relay looks."""

NO_TRACE = {"code": "not_executed", "message": "It was not carried out"}
LOST = {"code": "outcome_unknown", "message": "It was begun, and whether it was carried out is not known"}
GIVEN_UP = {"code": "not_reachable", "message": "The target could not be reached"}
CRASHED = {"code": "crashed", "message": "Too many tries were interrupted"}


class Look(Enum):
    """What a look at an effect that could not be claimed asks for."""

    NOTHING = auto()
    """It is ended, staged, or in somebody's hands."""
    WAIT = auto()
    """It is to be tried later."""
    LAPSED = auto()
    """It was begun, and who began it has not come back."""
    ASK = auto()
    """Its outcome is not known, and its target may be asked now."""
    BURY = auto()
    """It has failed for good, and the dead-letter queue does not have it yet."""


@dataclass(frozen=True, slots=True)
class EffectLimits:
    """Bounds. `lease_seconds` must be longer than `call_seconds`, in which every call is over."""

    lease_seconds: float
    call_seconds: float
    max_attempts: int
    retry_seconds: float


def look(effect: Effect, now: int) -> Look:
    """Say what is to be done about an effect as it stands."""
    match effect.status:
        case EffectStatus.CONFIRMED:
            return Look.WAIT
        case EffectStatus.EXECUTING:
            return Look.LAPSED if effect.lease_end < now else Look.NOTHING
        case EffectStatus.UNKNOWN:
            return Look.ASK if effect.due <= now else Look.NOTHING
        case EffectStatus.FAILED if effect.dlq_pending:
            return Look.BURY
        case _:
            return Look.NOTHING


def pause(number: int, limits: EffectLimits, *, longest: float = MAX_PAUSE_SECONDS, least: float | None = None) -> float:
    """Say how many seconds to wait after the `number`th try, and at least `least`, a target's own word."""
    doubled = limits.retry_seconds * 2.0 ** min(number - 1, 32)
    return min(max(doubled, least or 0), longest)


def _after(effect: Effect, now: int, seconds: float) -> int:
    """Say when it is so many seconds later, and up to a quarter more: what failed together does not come back together.

    The same effect gets the same quarter whenever it is asked, so that this stays pure.
    """
    spread = random.Random(str(effect.id)).uniform(1, 1.25)  # noqa: S311  spreads retries, guards nothing
    return now + round(seconds * spread * 1000)


def called(effect: Effect, call: Called, limits: EffectLimits, *, by: str, now: int) -> Move | None:
    """Say what a call has made of an effect, for who called: it is executing, or unknown if the lease has lapsed meanwhile.

    Returns: None when it stands as it should.
    """
    match call.outcome:
        case CallOutcome.DONE:
            return _ended(effect, EffectStatus.EXECUTED, by=by, now=now, result=call.result or {})
        case CallOutcome.REFUSED:
            return _failed(effect, call.error, by=by, now=now, untouched=True, dead=call.dead_letter)
        case CallOutcome.UNKNOWN if effect.status is EffectStatus.UNKNOWN:
            return None
        case CallOutcome.UNKNOWN if effect.id.kind is Kind.ACTION:
            return _unknown(effect, call.error or LOST, limits, by=by, now=now)
        case _ if effect.status is EffectStatus.UNKNOWN:
            return _failed(effect, NO_TRACE, by=by, now=now)
        case _:
            return _again(effect, call, limits, by=by, now=now)


def lapsed(effect: Effect, limits: EffectLimits, *, by: str, now: int) -> Move | None:
    """Say what becomes of an executing effect whose lease has lapsed. Returns: None for a delivery that may be claimed again."""
    if effect.id.kind is Kind.ACTION:
        return _unknown(effect, LOST, limits, by=by, now=now)
    if effect.attempts >= limits.max_attempts:
        return _failed(effect, CRASHED, by=by, now=now, untouched=True)
    return None


def asked(effect: Effect, answer: Called | None, limits: EffectLimits, *, by: str, now: int) -> Move:
    """Say what the target's word makes of an unknown action. `answer`: None when it offers none."""
    if answer is None:
        return _still_unknown(effect, by=by, wait=None, now=now)
    match answer.outcome:
        case CallOutcome.DONE:
            return _ended(effect, EffectStatus.EXECUTED, by=by, now=now, result=answer.result or {})
        case CallOutcome.REFUSED:
            return _failed(effect, answer.error or NO_TRACE, by=by, now=now)
        case CallOutcome.NOT_SENT:
            return _failed(effect, NO_TRACE, by=by, now=now)
        case _:
            wait = pause(effect.asks + 2, limits, longest=MAX_ASK_SECONDS) if effect.asks + 1 < MAX_ASKS else None
            return _still_unknown(effect, by=by, wait=wait, now=now)


def resolved(effect: Effect, *, executed: bool, note: str | None, by: str, now: int) -> Move:
    """Say what a person's word makes of an unknown action."""
    if executed:
        return _ended(effect, EffectStatus.EXECUTED, by=by, now=now, result={"note": note} if note else {})
    return _failed(effect, {"code": "not_executed", "message": note} if note else NO_TRACE, by=by, now=now)


def revived(*, by: str, now: int) -> Move:
    """Begin a failed effect anew. The caller has seen that it is `untouched`."""
    return Move(status=EffectStatus.CONFIRMED, by=by, due=now, wake_at=now + LOOK_MS, attempts=0)


def _again(effect: Effect, call: Called, limits: EffectLimits, *, by: str, now: int) -> Move:
    error = call.error or GIVEN_UP
    if effect.attempts >= limits.max_attempts:
        return _failed(effect, error, by=by, now=now, untouched=True)
    due = _after(effect, now, pause(effect.attempts, limits, least=call.retry_after))
    return Move(status=EffectStatus.CONFIRMED, by=by, due=due, wake_at=due + LOOK_MS, error=error, attempts=effect.attempts)


def _failed(
    effect: Effect, error: Mapping[str, Any] | None, *, by: str, now: int, untouched: bool = False, dead: bool = True
) -> Move:
    """End it as failed. `dead`: an operator should look at it; what was ever unknown is not to be tried anew by anybody."""
    untouched = untouched and effect.status is not EffectStatus.UNKNOWN
    dead = untouched and (dead or effect.id.kind is Kind.DELIVERY)
    return _ended(effect, EffectStatus.FAILED, by=by, now=now, error=error or GIVEN_UP, untouched=untouched, dlq_pending=dead)


def _unknown(effect: Effect, error: Mapping[str, Any], limits: EffectLimits, *, by: str, now: int) -> Move:
    due = _after(effect, now, pause(1, limits))
    return _ended(effect, EffectStatus.UNKNOWN, by=by, now=now, error=error, due=due, wake_at=due)


def _still_unknown(effect: Effect, *, by: str, wait: float | None, now: int) -> Move:
    due = NEVER if wait is None else _after(effect, now, wait)
    return Move(
        status=EffectStatus.UNKNOWN,
        by=by,
        due=due,
        wake_at=due,
        ended_at=effect.ended_at,
        error=effect.error,
        attempts=effect.attempts,
        asks=effect.asks + 1,
    )


def _ended(effect: Effect, status: EffectStatus, *, by: str, now: int, **fields: Any) -> Move:
    wake_at = now + LOOK_MS if fields.get("dlq_pending") else fields.pop("wake_at", None)
    owed = outcome_of(effect, status, now) if effect.reply else None
    return Move(
        status=status, by=by, ended_at=now, wake_at=wake_at, attempts=effect.attempts, asks=effect.asks, owed=owed, **fields
    )


def outcome_of(effect: Effect, status: EffectStatus, now: int) -> Effect:
    """Make the delivery that tells the session's webhook what became of an action."""
    return Effect(
        id=effect.id.outcome(effect.told + 1),
        user_id=effect.user_id,
        name="action",
        status=EffectStatus.CONFIRMED,
        payload={"action_id": effect.id.id, "status": status.value},
        target=OUTBOUND,
        created_at=now,
        expires_at=now,
        due=now,
        wake_at=now + LOOK_MS,
    )
