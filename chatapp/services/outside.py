"""What is outside: the queues, the models, other APIs, and whom effects call."""

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from chatapp.ports import LLM, Caller, External
from chatapp.services.live import Live
from chatapp.services.made_once import made_once

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from chatapp.deadletters import DeadLetterQueue
    from chatapp.live.api_cache import ApiCache
    from chatapp.live.breaker import Breakers
    from chatapp.live.external import Fetch
    from chatapp.queue import CeleryWakeUps, Composer

log = logging.getLogger(__name__)


class Outside(Live):
    """The ways out."""

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
