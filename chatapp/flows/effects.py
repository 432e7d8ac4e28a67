"""Carrying effects out: a worker of the queue `effects` looks at one, claims it, calls its target, stores what came of it.

A message only says "look at this effect"; what happens is decided by the effect alone:

    received effect is         then
    ended, staged              ack (and bury it, if the dead-letter queue does not have it yet)
    executing, lease alive     ack: who calls, or the relay, will see to it
    executing, lease lapsed    an action: it is unknown from now on; a delivery: claim it
    unknown                    ask its target what became of it, if it is time to
    confirmed, due in the      hide the message until then
      future
    confirmed and due          claim -> call -> store the outcome -> tell it
"""

import logging
import secrets
from typing import Protocol

from chatapp import failpoints
from chatapp.effects import Effect, EffectId, EffectStatus, Move
from chatapp.errors import NotFound, Unavailable
from chatapp.flows.effect_life import EffectLimits, Look, asked, called, lapsed, look
from chatapp.flows.ending import told
from chatapp.flows.lease import CLOCKS_DIFFER_SECONDS
from chatapp.flows.outcomes import Outcomes
from chatapp.flows.turn import HideUntil
from chatapp.ports import Called, Caller, CallOutcome, Clock

log = logging.getLogger(__name__)

RECORD_SECONDS = 30.0
"""How long to try to store an outcome: what is known of a call that was made is worth more than a free slot."""

FAULT = {"code": "outcome_unknown", "message": "A fault of ours broke the call off"}
TOO_LATE = {"code": "not_reachable", "message": "The worker was held up before the call"}


class Claimable(Protocol):
    """Effects as they are stored."""

    def claim(
        self, effect_id: EffectId, *, claim_id: str, now: int, lease_end: int, lapsed: Effect | None = ...
    ) -> tuple[bool, Effect | None]:
        """Take an effect that is confirmed and due, or, as `lapsed` says, executing with a lease that has run out.

        Returns: (True, the effect as claimed), or (False, the effect as it stands; None if there is none).
        """
        ...


class EffectRunner:
    """Carries effects out. Called with an effect's id; the caller acks the message when it returns None."""

    def __init__(self, *, effects: Claimable, caller: Caller, outcomes: Outcomes, clock: Clock, limits: EffectLimits) -> None:
        self._effects = effects
        self._caller = caller
        self._outcomes = outcomes
        self._clock = clock
        self._limits = limits

    def __call__(self, effect_id: EffectId) -> HideUntil | None:
        """Look at an effect and do what there is to do.

        Returns: None when the message has served its purpose. Raises: StoreUnavailable, and then the message must not be acked;
        NotFound, when there is no such effect.
        """
        later, effect = self._claim_and_run(effect_id)
        if effect is None:
            return later
        now = self._clock.now()
        match look(effect, now):
            case Look.WAIT:
                return HideUntil(max(0, effect.due - now) / 1000)
            case Look.LAPSED:
                return self._lapsed(effect, now)
            case Look.ASK:
                self._ask(effect)
            case Look.BURY:
                self._outcomes.bury(effect)
        return None

    def _claim_and_run(self, effect_id: EffectId, lapsed: Effect | None = None) -> tuple[HideUntil | None, Effect | None]:
        """Claim and call. Returns: (what to do with the message, None), or (None, the effect as it stands) if it is not free."""
        taken_at, now = self._clock.monotonic(), self._clock.now()
        lease_end = now + round(self._limits.lease_seconds * 1000)
        claimed, effect = self._effects.claim(
            effect_id, claim_id=secrets.token_hex(8), now=now, lease_end=lease_end, lapsed=lapsed
        )
        if effect is None:
            raise NotFound(f"{effect_id} is unknown")
        if not claimed:
            return None, effect
        failpoints.hit("effect.claimed")
        self._outcomes.tell(effect)
        call = self._call(effect, taken_at)
        failpoints.hit("effect.called")
        return self._record(effect, call), None

    def _call(self, effect: Effect, taken_at: float) -> Called:
        """Call, if the lease is certain to outlive the call: this process may have been stopped since it claimed."""
        spare = self._limits.lease_seconds - CLOCKS_DIFFER_SECONDS - self._limits.call_seconds
        if self._clock.monotonic() - taken_at > spare or self._clock.now() > effect.lease_end:
            log.warning("%s is not called: this worker was held up for too long after its claim", effect.id)
            return Called(outcome=CallOutcome.NOT_SENT, error=TOO_LATE)
        try:
            return self._caller.call(effect)
        except Unavailable as error:  # what a delivery tells of could not be read
            log.warning("the call of %s broke off: %s", effect.id, error.detail)
            return Called(outcome=CallOutcome.UNKNOWN, error=told(error))
        except Exception:  # whatever it was: nobody knows how far the call has come
            log.exception("the call of %s broke off", effect.id)
            return Called(outcome=CallOutcome.UNKNOWN, error=FAULT)

    def _record(self, effect: Effect, call: Called) -> HideUntil | None:
        """Store what a call came to, also when the lease has lapsed meanwhile and the effect is taken for unknown."""
        claim_id, stands = effect.claim_id, effect
        while move := called(stands, call, self._limits, by=secrets.token_hex(8), now=self._clock.now()):
            done, now_is = self._outcomes.store(stands, move, seconds=RECORD_SECONDS)
            if done:
                return self._stored(stands, move)
            if now_is is None or now_is.claim_id != claim_id or now_is.status is not EffectStatus.UNKNOWN:
                log.error("the outcome of %s (%s) came too late: somebody else has ended it", effect.id, call.outcome)
                return None
            stands = now_is
        return None

    def _stored(self, before: Effect, move: Move) -> HideUntil | None:
        failpoints.hit("effect.stored")
        log.info("%s of %s is %s: %s", before.name, before.id, move.status, (move.error or {}).get("code", "ok"))
        self._outcomes.follow_up(before, move)
        if move.status is not EffectStatus.CONFIRMED:
            return None
        return HideUntil(max(0, move.due - self._clock.now()) / 1000)

    def _lapsed(self, effect: Effect, now: int) -> HideUntil | None:
        move = lapsed(effect, self._limits, by=secrets.token_hex(8), now=now)
        if move is None:
            return self._claim_and_run(effect.id, effect)[0]
        self._settle(effect, move)
        return None

    def _ask(self, effect: Effect) -> None:
        try:
            answer = self._caller.status(effect)
        except Exception:  # a fault of ours: it is asked about again later
            log.exception("the question about %s broke off", effect.id)
            answer = Called(outcome=CallOutcome.UNKNOWN)
        self._settle(effect, asked(effect, answer, self._limits, by=secrets.token_hex(8), now=self._clock.now()))

    def _settle(self, effect: Effect, move: Move) -> None:
        done, _ = self._outcomes.store(effect, move, seconds=RECORD_SECONDS)
        if not done:
            return  # somebody else has seen to it
        self._outcomes.follow_up(effect, move)
