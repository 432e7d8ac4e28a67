"""Queues and tables, defined once: read by Celery, by provisioning and by the tests."""

from dataclasses import dataclass

MAX_RECEIVE_COUNT = 10
DLQ_RETENTION_SECONDS = 14 * 24 * 3600
VISIBILITY_SECONDS = 24
"""How long a received message is hidden; extended every third of it while its turn runs. Whoever dies between storing an end and
publishing it is found out only by this: with more, a crash could cost a client longer than a lease and a look of the relay."""
OPEN_SHARDS = 16
"""The sparse index of open work is spread over this many partitions: `OpenShard` = hash(session) % 16."""

CHAT_TASK = "chatapp.answer"
"""Name of the Celery task that answers a turn; sent by name, so that the API never imports `tasks`."""

EFFECT_TASK = "chatapp.effect"
"""Name of the Celery task that carries out a confirmed action or an owed delivery."""


@dataclass(frozen=True)
class Queue:
    """An SQS queue with its dead-letter queue. `name` is without the prefix."""

    name: str
    purpose: str

    @property
    def dlq(self) -> str:
        """Name of its dead-letter queue."""
        return f"{self.name}-dlq"


@dataclass(frozen=True)
class Index:
    """A global secondary index. A key is (name, DynamoDB type)."""

    name: str
    hash_key: tuple[str, str]
    range_key: tuple[str, str]
    projects: tuple[str, ...] | None
    """Attributes beside the keys; None for keys only."""


@dataclass(frozen=True)
class Table:
    """A DynamoDB table. `name` is without the prefix; items vanish some time after `ttl` (epoch seconds)."""

    name: str
    hash_key: tuple[str, str]
    range_key: tuple[str, str] | None = None
    indexes: tuple[Index, ...] = ()
    ttl: str = "ExpiresAt"


CHAT = Queue("chat", "turns of any origin")
EFFECTS = Queue("effects", "confirmed actions and outbound webhooks")
QUEUES = (CHAT, EFFECTS)

OPEN_WORK = Index("OpenWorkIndex", ("OpenShard", "N"), ("WakeAt", "N"), projects=None)
"""Sparse: an item is in it only while its work is open. A hint, re-checked on the item."""

USER_SESSIONS = Index(
    "UserIdIndex",
    ("UserId", "S"),
    ("UpdatedAt", "N"),
    projects=("Flow", "Title", "Summary", "CreatedAt", "TurnCount", "AliveUntil", "MessageCount"),
)
"""Sparse: a deleted session has no `UpdatedAt`, so it leaves the list at once."""

SESSIONS = Table("sessions", ("SessionId", "S"), indexes=(USER_SESSIONS,))
TURNS = Table("turns", ("SessionId", "S"), ("Turn", "N"), indexes=(OPEN_WORK,))
PENDING_ACTIONS = Table("pending-actions", ("SessionId", "S"), ("ActionId", "S"), indexes=(OPEN_WORK,))
LOCKS = Table("locks", ("Resource", "S"))
IDEMPOTENCY = Table("idempotency", ("IdempotencyKey", "S"))
TABLES = (SESSIONS, TURNS, PENDING_ACTIONS, LOCKS, IDEMPOTENCY)
