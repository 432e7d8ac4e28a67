"""What keeps the truth: DynamoDB's stores; and the one client of DynamoDB and of Redis."""

import secrets
import socket
import threading
from typing import TYPE_CHECKING

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError
from redis.retry import Retry

from chatapp.clock import AnchoredClock
from chatapp.flows import registry
from chatapp.services.made_once import made_once
from chatapp.stores.dynamo import connect
from chatapp.stores.effects import EffectStore
from chatapp.stores.locks import LockStore
from chatapp.stores.pauses import Pauses
from chatapp.stores.sessions import DAY_MS, SessionStore
from chatapp.stores.turns import TurnStore
from config import resources
from config.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from chatapp.stores.idempotency import IdempotencyStore
    from chatapp.stores.phones import PhoneStore
    from chatapp.stores.survey import Surveyor
    from chatapp.stores.tables import Tables

HOUR_MS = 3_600_000


class Stores:
    """The stores, over one client."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.making = threading.RLock()
        self.clock = AnchoredClock()
        self.name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        """This process, among all of the fleet."""

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
