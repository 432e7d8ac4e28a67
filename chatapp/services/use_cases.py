"""The use cases, over the stores, the live layer and the ways out."""

import logging
from typing import TYPE_CHECKING

from chatapp.flows import registry
from chatapp.flows.actions import Actions
from chatapp.flows.cancelling import Cancelling
from chatapp.flows.concluding import Concluding
from chatapp.flows.deleting import Deleting
from chatapp.flows.effect_life import EffectLimits
from chatapp.flows.effect_relay import EffectRelay
from chatapp.flows.effects import EffectRunner
from chatapp.flows.ending import Endings
from chatapp.flows.lease import Leases
from chatapp.flows.outcomes import Outcomes
from chatapp.flows.patching import Patching
from chatapp.flows.port import Flow
from chatapp.flows.relay import Relay
from chatapp.flows.resolving import Resolving
from chatapp.flows.retrying import Retrying
from chatapp.flows.submit import Submit, SubmitLimits
from chatapp.flows.turn import Answer, TurnLimits
from chatapp.flows.waking import Waking
from chatapp.health import Health
from chatapp.interrupts import fitting
from chatapp.live.cache import ContextCache
from chatapp.model import ModelOptions
from chatapp.services.made_once import made_once
from chatapp.services.outside import Outside
from config import resources
from config.settings import DEV_WEBHOOK_SECRET

if TYPE_CHECKING:
    from chatapp.auth import Tokens
    from chatapp.commands import Commands
    from chatapp.incoming.receive import Receive
    from chatapp.incoming.signature import Signatures

log = logging.getLogger(__name__)

EFFECT_LEASE_SECONDS = 5.0
"""By how much at least the lease of an effect outlives its call (else by as long as the call may take): clocks may differ, and
what it came to has to be stored within it."""


class Services(Outside):
    """Everything a process may need, made on first use."""

    @made_once
    def flows(self) -> dict[str, Flow]:
        """The flows that clients may begin, by name. Raises: SettingsError."""
        return registry.load(self.settings.flows)

    @made_once
    def answered_flows(self) -> dict[str, Flow]:
        """The flows that a worker answers, by name: those, and all of ours (webhooks need one whatever clients may begin).

        One of FLOWS that bears a name of ours takes its place. Raises: SettingsError.
        """
        return registry.load((*registry.OURS, *self.settings.flows))

    @made_once
    def actions(self) -> Actions:
        """What users do with proposed actions."""
        return Actions(effects=self.effects, wakeups=self.wakeups, events=self.session_log, clock=self.clock)

    @made_once
    def wake(self) -> Waking:
        """Wakes workers."""
        return Waking(turns=self.turns, wakeups=self.wakeups, clock=self.clock)

    @made_once
    def submit(self) -> Submit:
        """Accepts messages."""
        limits = SubmitLimits(
            max_open_turns=self.settings.max_open_turns,
            session_life_ms=self._session_life_ms,
            turn_life_ms=self._turn_life_ms,
            first_look_ms=round(self.settings.relay_first_look_seconds * 1000),
            phone_life_ms=self._phone_life_ms,
        )
        return Submit(
            turns=self.turns, sessions=self.sessions, wake=self.wake, cancel=self.cancel, clock=self.clock, limits=limits
        )

    @made_once
    def cancel(self) -> Cancelling:
        """Cancels turns."""
        return Cancelling(turns=self.turns, endings=self.endings, signals=self.signals, clock=self.clock)

    @made_once
    def retry(self) -> Retrying:
        """Tries ended turns again."""
        return Retrying(self.submit)

    @made_once
    def endings(self) -> Endings:
        """Ends turns."""
        return Endings(
            turns=self.turns,
            sessions=self.sessions,
            events=self.events,
            session_events=self.session_log,
            wake=self.wake,
            effect_wakeups=self.wakeups,
            dead_letters=self.dead_letters,
            clock=self.clock,
        )

    @made_once
    def leases(self) -> Leases:
        """The leases of the turns in flight in this process."""
        return Leases(
            self.turns,
            self.clock,
            fitting(),
            seconds=self.settings.lease_seconds,
            renew_seconds=self.settings.lease_renew_seconds,
            attempt_seconds=self.settings.attempt_deadline_seconds,
        )

    @made_once
    def answer(self) -> Answer:
        """Answers turns."""
        limits = TurnLimits(
            lease_seconds=self.settings.lease_seconds,
            queue_seconds=self.settings.queue_deadline_seconds,
            max_failures=self.settings.max_failures,
            retry_seconds=self.settings.retry_seconds,
            max_crashes=self.settings.max_crashes,
            wait_for_breaker=self.settings.on_breaker_open == "wait",
            history_turns=self.settings.history_turns,
            history_tokens=self.settings.history_tokens,
            action_ms=round(self.settings.action_seconds * 1000),
            language=self.settings.default_language,
        )
        return Answer(
            turns=self.turns,
            sessions=self.sessions,
            events=self.events,
            context=ContextCache(self.redis),
            leases=self.leases,
            endings=self.endings,
            cancel=self.cancel,
            flows=self.answered_flows,
            llm=self.llm,
            actions=self.actions.within,
            external=self.external,
            clock=self.clock,
            limits=limits,
        )

    @made_once
    def relay(self) -> Relay:
        """Finds open work that nobody attends to."""
        return Relay(
            turns=self.turns,
            sessions=self.sessions,
            endings=self.endings,
            cancel=self.cancel,
            wakeups=self.wakeups,
            locks=self.locks,
            clock=self.clock,
            owner=self.name,
            queue_seconds=self.settings.queue_deadline_seconds,
        )

    @made_once
    def effect_relay(self) -> EffectRelay:
        """Finds open effects that nobody attends to."""
        return EffectRelay(
            effects=self.effects,
            outcomes=self.outcomes,
            wakeups=self.wakeups,
            locks=self.locks,
            clock=self.clock,
            owner=self.name,
        )

    @made_once
    def outcomes(self) -> Outcomes:
        """Stores and tells what becomes of effects."""
        return Outcomes(
            effects=self.effects,
            wakeups=self.wakeups,
            events=self.session_log,
            dead_letters=self.dead_letters,
            clock=self.clock,
        )

    @made_once
    def effect_runner(self) -> EffectRunner:
        """Carries effects out."""
        call_seconds = self.settings.effect_timeout_seconds
        limits = EffectLimits(
            lease_seconds=call_seconds + max(call_seconds, EFFECT_LEASE_SECONDS),
            call_seconds=call_seconds,
            max_attempts=self.settings.effect_max_attempts,
            retry_seconds=self.settings.effect_retry_seconds,
        )
        return EffectRunner(effects=self.effects, caller=self.caller, outcomes=self.outcomes, clock=self.clock, limits=limits)

    @made_once
    def resolving(self) -> Resolving:
        """What operators do with effects."""
        return Resolving(effects=self.effects, outcomes=self.outcomes, wakeups=self.wakeups, clock=self.clock)

    @made_once
    def delete_session(self) -> Deleting:
        """Deletes sessions."""
        return Deleting(sessions=self.sessions, events=self.events, cancel=self.cancel)

    @made_once
    def end_session(self) -> Concluding:
        """Ends sessions, with what they came to."""
        return Concluding(sessions=self.sessions, flows=self.flows, events=self.events, cancel=self.cancel)

    @made_once
    def patch_state(self) -> Patching:
        """Changes sessions' states from outside."""
        return Patching(sessions=self.sessions, flows=self.flows, events=self.session_log)

    @made_once
    def commands(self) -> "Commands":
        """What users may ask for, over HTTP or the socket."""
        from chatapp.commands import Commands

        return Commands(
            self.settings,
            submit=self.submit,
            cancel=self.cancel,
            retry=self.retry,
            turns=self.turns,
            sessions=self.sessions,
            actions=self.actions,
            conclude=self.end_session,
            flows=self.flows,
            breakers=self.breakers,
            clock=self.clock,
        )

    @made_once
    def receive(self) -> "Receive":
        """Keeps what webhooks bring."""
        from chatapp.incoming.receive import Receive

        return Receive(
            records=self.idempotency,
            phones=self.phones,
            submit=self.submit,
            options=ModelOptions(self.settings.llm_model, max_output_tokens=self.settings.max_output_tokens),
            clock=self.clock,
            remember_ms=self._phone_life_ms,
        )

    # --- the edge

    @made_once
    def signatures(self) -> "Signatures | None":
        """Checks who calls the webhooks; None when nobody may."""
        from chatapp.incoming.signature import Signatures

        secrets_set = [secret.get_secret_value() for secret in self.settings.webhook_secrets]
        if not secrets_set and self.settings.env == "production":
            log.warning("a webhook was called, and WEBHOOK_SECRETS is not set: all of them are answered 404")
            return None
        return Signatures(secrets_set or [DEV_WEBHOOK_SECRET])

    @made_once
    def tokens(self) -> "Tokens":
        """Verifies bearer tokens."""
        from chatapp.auth import KeySet, SharedSecret, Tokens

        secret, url = self.settings.signing_secret, self.settings.jwt_jwks_url
        keys = KeySet(url) if url else SharedSecret(secret or "")
        return Tokens(keys, issuer=self.settings.jwt_issuer, audience=self.settings.jwt_audience)

    @made_once
    def health(self) -> Health:
        """Says which parts answer."""
        queue_url = self.settings.queue_url(resources.CHAT.name)
        return Health(self.redis, self.dynamodb, self._table(resources.TURNS), self.settings, queue_url)
