"""The composition root: the only module that names adapters. Lazy: nothing connects, or is imported, before it is used."""

import logging
import secrets
import socket
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError
from redis.retry import Retry

from chatapp import failpoints
from chatapp.clock import AnchoredClock
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
from chatapp.live.events import EventLog
from chatapp.model import ModelOptions
from chatapp.ports import LLM, Caller, External
from chatapp.stores.dynamo import connect
from chatapp.stores.effects import EffectStore
from chatapp.stores.locks import LockStore
from chatapp.stores.pauses import Pauses
from chatapp.stores.sessions import DAY_MS, SessionStore
from chatapp.stores.turns import TurnStore
from config import resources
from config.settings import DEV_WEBHOOK_SECRET, Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

    from chatapp.auth import Tokens
    from chatapp.commands import Commands
    from chatapp.deadletters import DeadLetterQueue
    from chatapp.incoming.receive import Receive
    from chatapp.incoming.signature import Signatures
    from chatapp.live.api_cache import ApiCache
    from chatapp.live.breaker import Breakers
    from chatapp.live.channel import Channel
    from chatapp.live.external import Fetch
    from chatapp.live.feeds import Feeds
    from chatapp.live.pushing import Pushes
    from chatapp.live.ratelimit import RateLimiter
    from chatapp.live.session_log import SessionLog
    from chatapp.live.signals import Signals
    from chatapp.live.sockets import SocketRegistry
    from chatapp.live.tickets import Tickets
    from chatapp.live.waiting import Waiting
    from chatapp.queue import CeleryWakeUps, Composer
    from chatapp.stores.idempotency import IdempotencyStore
    from chatapp.stores.phones import PhoneStore
    from chatapp.stores.survey import Surveyor
    from chatapp.stores.tables import Tables

log = logging.getLogger(__name__)

HOUR_MS = 3_600_000

EFFECT_LEASE_SECONDS = 5.0
"""By how much at least the lease of an effect outlives its call (else by as long as the call may take): clocks may differ, and
what it came to has to be stored within it."""


if TYPE_CHECKING:
    made_once = cached_property
else:

    class made_once(cached_property):  # noqa: N801  used as `@made_once`, like the decorator it extends
        """A `cached_property` that is made once even when two requests ask first at the same moment.

        boto3's clients must not be made by two threads at a time, and two channels would be two connections.
        """

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            """Give the value, made under the instance's lock."""
            if instance is None:
                return self
            with instance.making:
                return super().__get__(instance, owner)


class Services:
    """Everything a process may need, made on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.making = threading.RLock()
        self.clock = AnchoredClock()
        self.name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        """This process, among all of the fleet."""

    # --- connections

    @made_once
    def dynamodb(self) -> "DynamoDBClient":
        """The one DynamoDB client."""
        return connect(self.settings.aws_region, self.settings.aws_endpoint, clock=self.clock)

    @made_once
    def redis(self) -> Redis:
        """The one Redis client. It fails fast: what needs Redis decides for itself what to do without it."""
        password = self.settings.redis_password
        extra = {} if self.settings.redis_url or password is None else {"password": password.get_secret_value()}
        return Redis.from_url(
            self.settings.redis_address,
            decode_responses=True,
            socket_timeout=0.5,
            socket_connect_timeout=0.5,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[ReadOnlyError],  # not tried again, but its connection is closed: the name may lead elsewhere now
            max_connections=2_000,
            **extra,
        )

    # --- stores

    @made_once
    def turns(self) -> TurnStore:
        """The truth about turns."""
        return TurnStore(
            self.dynamodb,
            table=self._table(resources.TURNS),
            sessions_table=self._table(resources.SESSIONS),
            actions_table=self._table(resources.PENDING_ACTIONS),
            idempotency_table=self._table(resources.IDEMPOTENCY),
            clock=self.clock,
        )

    @made_once
    def sessions(self) -> SessionStore:
        """The truth about sessions."""
        return SessionStore(
            self.dynamodb,
            table=self._table(resources.SESSIONS),
            turns_table=self._table(resources.TURNS),
            idempotency_table=self._table(resources.IDEMPOTENCY),
            clock=self.clock,
            life_ms=self._session_life_ms,
            turn_life_ms=self._turn_life_ms,
        )

    @made_once
    def surveyor(self) -> "Surveyor":
        """Reads all sessions at once, for operators."""
        from chatapp.stores.survey import Surveyor

        return Surveyor(self.dynamodb, table=self._table(resources.SESSIONS), clock=self.clock)

    @made_once
    def tables(self) -> "Tables":
        """How DynamoDB's tables stand."""
        from chatapp.stores.tables import Tables

        return Tables(self.dynamodb, {table.name: self._table(table) for table in resources.TABLES})

    @made_once
    def effects(self) -> EffectStore:
        """The truth about actions and deliveries."""
        return EffectStore(self.dynamodb, table=self._table(resources.PENDING_ACTIONS), clock=self.clock)

    @made_once
    def idempotency(self) -> "IdempotencyStore":
        """Who answers which webhook, and what was answered."""
        from chatapp.stores.idempotency import IdempotencyStore

        return IdempotencyStore(self.dynamodb, table=self._table(resources.IDEMPOTENCY), clock=self.clock)

    @made_once
    def phones(self) -> "PhoneStore":
        """The sessions of phones."""
        from chatapp.stores.phones import PhoneStore

        return PhoneStore(
            self.dynamodb,
            table=self._table(resources.LOCKS),
            sessions_table=self._table(resources.SESSIONS),
            clock=self.clock,
            flow=registry.PHONE_FLOW,
            life_ms=self._phone_life_ms,
            turn_life_ms=self._turn_life_ms,
        )

    @made_once
    def locks(self) -> LockStore:
        """Leases on named things."""
        return LockStore(self.dynamodb, table=self._table(resources.LOCKS), clock=self.clock)

    @made_once
    def pauses(self) -> Pauses:
        """Which queues are not to be consumed."""
        return Pauses(self.dynamodb, table=self._table(resources.LOCKS), clock=self.clock)

    def _table(self, table: resources.Table) -> str:
        return self.settings.table_name(table.name)

    @property
    def _session_life_ms(self) -> int:
        return round(self.settings.session_hours * HOUR_MS)

    @property
    def _turn_life_ms(self) -> int:
        return round(self.settings.turn_days * DAY_MS)

    @property
    def _phone_life_ms(self) -> int:
        return round(self.settings.phone_session_days * DAY_MS)

    # --- the live layer

    @made_once
    def events(self) -> EventLog:
        """The logs of turns."""
        return EventLog(self.redis, self.clock)

    @made_once
    def channel(self) -> "Channel":
        """This process's one subscription to Redis."""
        from chatapp.live.channel import Channel

        return Channel(self.redis)

    @made_once
    def sockets(self) -> "SocketRegistry":
        """Who is connected, and where."""
        from chatapp.live.sockets import SocketRegistry

        return SocketRegistry(self.redis, self.clock)

    @made_once
    def tickets(self) -> "Tickets":
        """One-time tickets for browsers."""
        from chatapp.live.tickets import Tickets

        return Tickets(self.redis, self.clock)

    @made_once
    def pushes(self) -> "Pushes":
        """To all sockets of a user, or to all."""
        from chatapp.live.pushing import Pushes

        return Pushes(self.redis)

    @made_once
    def session_log(self) -> "SessionLog":
        """The sessions' own logs: what is no answer to a turn."""
        from chatapp.live.session_log import SessionLog

        return SessionLog(self.redis, self.clock)

    @made_once
    def signals(self) -> "Signals":
        """A word to whoever runs a turn."""
        from chatapp.live.signals import Signals

        return Signals(self.redis, self.channel)

    @made_once
    def limiter(self) -> "RateLimiter":
        """The rate limit of each user."""
        from chatapp.live.ratelimit import RateLimiter

        return RateLimiter(self.redis, requests=self.settings.rate_limit_requests, seconds=self.settings.rate_limit_seconds)

    @made_once
    def until_ended(self) -> "Waiting":
        """Waits for the end of a turn."""
        from chatapp.live.waiting import Waiting

        return Waiting(self.channel, self.turns, self.clock)

    @made_once
    def feeds(self) -> "Feeds":
        """The event streams of this process."""
        from chatapp.live.feed import Pace, Sources
        from chatapp.live.feeds import Feeds, Room
        from chatapp.live.replay import Replay

        replay = Replay(self.events, self.turns)
        room = Room(events=self.settings.ws_send_queue, size=self.settings.ws_send_bytes)
        return Feeds(Sources(self.channel, replay, self.sessions, self.clock, Pace()), room)

    # --- the queue and the model

    @made_once
    def wakeups(self) -> "CeleryWakeUps":
        """The queue."""
        from chatapp.queue import CeleryWakeUps

        return CeleryWakeUps(self.composer, self.sqs)

    @made_once
    def sqs(self) -> "SQSClient":
        """The SQS client of who sends, and of the operator's commands. Workers receive by the transport's own."""
        from chatapp.queue import connect as connect_sqs

        return connect_sqs(self.settings.aws_region, self.settings.aws_endpoint)

    @made_once
    def composer(self) -> "Composer":
        """Makes the messages of wake-ups."""
        from chatapp.queue import Composer

        return Composer(self.settings)

    @made_once
    def dead_letters(self) -> "DeadLetterQueue":
        """The dead-letter queues."""
        from chatapp.deadletters import DeadLetterQueue

        # A long poll, be it short, asks all of SQS's servers: what it does not find is not there. An emulator has only one.
        wait = 0 if self.settings.aws_endpoint else 1
        return DeadLetterQueue(self.sqs, self.composer, url_of=self.settings.queue_url, clock=self.clock, wait=wait)

    @made_once
    def llm(self) -> LLM:
        """The models: the provider and its fallbacks, each behind its breaker."""
        from chatapp.llm.guarded import GuardedLLM, Provider
        from chatapp.llm.openai import OpenAIModel  # the SDK takes a second to import: only workers pay for it

        def openai(base_url: str, key: SecretStr | None) -> OpenAIModel:
            return OpenAIModel(
                api_key=key.get_secret_value() if key else None,
                base_url=base_url,
                connect_seconds=self.settings.llm_connect_seconds,
                read_seconds=self.settings.llm_read_seconds,
            )

        providers = [
            Provider(openai(self.settings.openai_base_url, self.settings.openai_api_key)),
            *(Provider(openai(f.base_url, f.api_key), f.model) for f in self.settings.llm_fallbacks),
        ]
        return GuardedLLM(providers, self.breakers.chain, clock=self.clock, seconds=self.settings.llm_total_seconds)

    @made_once
    def caller(self) -> Caller:
        """The way out of actions and deliveries."""
        from chatapp.outbound.caller import HttpCaller
        from chatapp.outbound.client import HttpClient
        from chatapp.outbound.signing import Signer

        settings = self.settings
        return HttpCaller(
            client=HttpClient(settings.effect_timeout_seconds),
            signer=Signer(settings.delivery_secrets, self.clock),
            targets=settings.action_urls,
            outbound_url=settings.outbound_webhook_url,
            private=settings.callback_private,
            turns=self.turns,
            sessions=self.sessions,
            effects=self.effects,
            clock=self.clock,
            language=settings.default_language,
        )

    @made_once
    def breakers(self) -> "Breakers":
        """The circuit breakers in front of the models. Cheap: the API has them too."""
        from chatapp.live.breaker import Breakers, Route
        from chatapp.live.circuit import Circuits, Rules

        settings = self.settings
        rules = Rules(errors=settings.breaker_errors, window_ms=round(settings.breaker_window_seconds * 1000))
        return Breakers(
            Circuits(self.redis, rules, self.clock),
            [Route(settings.openai_base_url), *(Route(f.base_url, f.model) for f in settings.llm_fallbacks)],
            settings.models,
            open_seconds=settings.breaker_open_seconds,
        )

    # --- use cases

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
    def api_cache(self) -> "ApiCache":
        """The answers of other APIs."""
        from chatapp.live.api_cache import ApiCache

        fresh, stale = self.settings.api_cache_seconds, self.settings.api_stale_seconds
        return ApiCache(self.redis, self.clock, seconds=fresh, stale_seconds=stale)

    @made_once
    def external(self) -> External:
        """Other APIs, behind a cache."""
        from chatapp.live.api_lease import Leases as ApiLeases
        from chatapp.live.external import CachedApis

        return CachedApis(self._endpoints(), self.api_cache, ApiLeases(self.redis), self.clock)

    def _endpoints(self) -> "dict[str, Fetch]":
        """The APIs that flows may ask, by the names that they use, each behind its breaker. Another one is a line here."""
        settings = self.settings
        if settings.amadeus_base_url is None:
            return {}
        from chatapp.live.external import behind, opens
        from chatapp.travel.amadeus import Amadeus

        secret = settings.amadeus_client_secret
        amadeus = Amadeus(
            settings.amadeus_base_url,
            client_id=settings.amadeus_client_id or "",
            client_secret=secret.get_secret_value() if secret else "",
            clock=self.clock,
        )
        breaker = self.breakers.beside(urlsplit(settings.amadeus_base_url).netloc, opens)
        return {"airports": behind(breaker, amadeus.airports), "flights": behind(breaker, amadeus.flights)}

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


def build(settings: Settings) -> Services:
    """Make the services of a process."""
    failpoints.configure(settings.fail_points)
    return Services(settings)
