"""Effects: what is to happen in the outside world, stored before it is begun. Two kinds, one life, one table, one queue.

An *action* was proposed by a flow and needs a yes: it is carried out at most once. A *delivery* is owed to a webhook (a reply,
the end of a job, the outcome of an action): it is sent until it is taken.

    action     staged -> confirmed -> executing -> executed | failed | unknown      staged -> cancelled | expired
    delivery             confirmed -> executing -> executed | failed                executing -> confirmed, due later

What makes which of these, and why, is in chatapp/flows/effect_life.py. Times are milliseconds since 1970 UTC.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from chatapp.model import is_session_id

_ID = re.compile(r"([ad])(?!0)([0-9a-z-]{1,40})")


class Kind(StrEnum):
    """What an effect is."""

    ACTION = "action"
    DELIVERY = "delivery"


class EffectStatus(StrEnum):
    """The states of an effect."""

    STAGED = "staged"
    CONFIRMED = "confirmed"
    EXECUTING = "executing"
    EXECUTED = "executed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """True for states that nothing of ours leaves again by itself; `unknown` is resolved by a status call or by hand."""
        return self not in (EffectStatus.STAGED, EffectStatus.CONFIRMED, EffectStatus.EXECUTING)


@dataclass(frozen=True, slots=True, order=True)
class EffectId:
    """An effect within its session, `<session_id>/<id>`, as its message names it. Actions begin with `a`, deliveries with `d`."""

    session_id: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read an effect's id; None for anything that is not one."""
        session_id, _, rest = text.partition("/")
        return cls(session_id, rest) if is_session_id(session_id) and _ID.fullmatch(rest) else None

    @classmethod
    def action(cls, session_id: str, turn: int, number: int) -> Self:
        """Name the action that a turn proposes as its `number`th: the same however often the turn is attempted."""
        return cls(session_id, f"a{turn}-{number}")

    @classmethod
    def reply(cls, session_id: str, turn: int) -> Self:
        """Name the delivery of a turn's end."""
        return cls(session_id, f"d{turn}")

    def outcome(self, number: int = 1) -> "EffectId":
        """Name the delivery that tells what became of this action; it may become something else later (`number` 2, 3...)."""
        return EffectId(self.session_id, f"d-{self.id}" if number == 1 else f"d-{self.id}-{number}")

    @property
    def kind(self) -> Kind:
        """Whether it is an action or a delivery."""
        return Kind.ACTION if self.id.startswith("a") else Kind.DELIVERY

    def __str__(self) -> str:
        return f"{self.session_id}/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """An action or a delivery.

    `name`: of an action, the key in ACTION_URLS; of a delivery, what it tells (`turn` or `action`). `payload`: what the action's
    URL is sent; of a delivery, which turn or action it tells of: `{"turn": 3}`, `{"action_id": "a3-0", "status": "executed"}`.
    `target`: where a delivery goes, a URL or OUTBOUND. `reply`: its outcome is owed to the session's own webhook. `expires_at`:
    until when a staged action waits for a yes. `attempts` count the calls that were begun; `claim_id` and `lease_end` are those
    of the call that runs, or ran last. `asks`: how often the target of an unknown one was asked what became of it. `told`: how
    many deliveries of its outcome are owed so far. `untouched`: it failed and certainly was not carried out, so an operator may
    have it tried anew. `moved_by`: the mark of its last change.
    """

    id: EffectId
    user_id: str
    name: str
    status: EffectStatus
    created_at: int
    expires_at: int
    payload: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    target: str | None = None
    reply: bool = False
    confirmed_at: int | None = None
    confirmed_by: str | None = None
    attempts: int = 0
    due: int = 0
    claim_id: str | None = None
    lease_end: int = 0
    wake_at: int | None = None
    ended_at: int | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    dlq_pending: bool = False
    asks: int = 0
    told: int = 0
    untouched: bool = False
    moved_by: str | None = None

    def status_at(self, now: int) -> EffectStatus:
        """Say the state as it is at a time: nobody writes down that a staged action has expired."""
        if self.status is EffectStatus.STAGED and now >= self.expires_at:
            return EffectStatus.EXPIRED
        return self.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What becomes of an effect, whole: what is not said here is as the defaults say.

    `wake_at`: when the relay is to look; None: there is nothing to look at. `by`: a mark by which a write is recognised whose
    answer was lost. `owed`: the delivery that tells its outcome, stored with it.
    """

    status: EffectStatus
    by: str
    due: int = 0
    wake_at: int | None = None
    ended_at: int | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    attempts: int
    asks: int = 0
    untouched: bool = False
    dlq_pending: bool = False
    owed: Effect | None = None


NEVER = 253_402_300_799_000
"""The end of the year 9999: the `wake_at` of what stays in the index of open work until a person sees to it."""

OUTBOUND = "outbound"
"""The target of replies to webhook sessions: OUTBOUND_WEBHOOK_URL, as it is when they are sent."""
