"""Which session a phone number has: an item of its own in the table of locks, so that many messages at once make one session."""

import hashlib
import random
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chatapp.errors import SessionContended
from chatapp.model import USER_PREFIX, Session
from chatapp.ports import Clock
from chatapp.stores.dynamo import call, cancellations, from_item, refused_item, store_errors
from chatapp.stores.records import session_item
from chatapp.stores.sessions import DAY_MS, OUTLIVES_TURNS_MS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TRIES = 8
PAUSE_SECONDS = 0.05
"""About what a transaction of somebody else holds the item."""

KEPT_MS = 30 * DAY_MS
"""How much longer than its session's life a phone's item is kept: it is put off only when it comes near its end."""


@dataclass(frozen=True, slots=True)
class PhoneSession:
    """A phone's session and user. The session may be over: whoever writes into it finds out."""

    session_id: str
    user_id: str


class PhoneStore:
    """Finds and begins the sessions of phones.

    A phone's user id is drawn at random and kept with the item: whatever bears it (a queue's group, a rate limit, what a model's
    provider is told) cannot be traced to the number, of which a plain hash could be guessed.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        table: str,
        sessions_table: str,
        clock: Clock,
        flow: str,
        life_ms: int,
        turn_life_ms: int,
    ) -> None:
        self._client = client
        self._table = table
        self._sessions = sessions_table
        self._clock = clock
        self._flow = flow
        self._life_ms = life_ms
        self._session_kept_ms = max(life_ms, turn_life_ms) + OUTLIVES_TURNS_MS

    def find(self, phone: str) -> PhoneSession | None:
        """Find a phone's session. `phone` is in the form of E.164. Raises: StoreUnavailable."""
        with store_errors():
            answer = self._client.get_item(**call(self._table, key=_key(phone), ConsistentRead=True))
        if "Item" not in answer:
            return None
        item = from_item(answer["Item"])
        found = _read(item)
        now = self._clock.now()
        if item["ExpiresAt"] * 1000 < now + self._life_ms + KEPT_MS // 2:
            self._put_off(phone, found, now)
        return found

    def begin(self, phone: str, *, after: PhoneSession | None = None) -> PhoneSession:
        """Begin a session for a phone, `after` one that is over. Returns: the phone's session, also if another was faster.

        Raises: SessionContended, StoreUnavailable.
        """
        user_id = after.user_id if after else USER_PREFIX + secrets.token_hex(16)
        for _ in range(TRIES):
            made = self._write(phone, user_id, after)
            if made is not None:
                return made
            self._clock.sleep(random.uniform(0.1, 1) * PAUSE_SECONDS)  # noqa: S311  spreads the writers, guards nothing
        raise SessionContended(retry_after=1)

    def _write(self, phone: str, user_id: str, after: PhoneSession | None) -> PhoneSession | None:
        """Write session and item in one transaction. Returns: None when another transaction was in the way."""
        now = self._clock.now()
        session = Session.begin(user_id=user_id, flow=self._flow, now=now, life_ms=self._life_ms, contact=phone)
        condition, values = "attribute_not_exists(Resource)", {}
        if after:
            condition, values = "attribute_not_exists(Resource) OR SessionId = :over", {"over": after.session_id}
        item = _key(phone) | {"SessionId": session.id, "UserId": user_id, "ExpiresAt": self._end_of_item(now)}
        stored = session_item(session) | {"ExpiresAt": (now + self._session_kept_ms) // 1000}
        seen: dict[str, Any] = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        writes: list[Any] = [
            {"Put": call(self._table, item=item, values=values, ConditionExpression=condition, **seen)},
            {"Put": call(self._sessions, item=stored, ConditionExpression="attribute_not_exists(SessionId)")},
        ]
        try:
            with store_errors():
                self._client.transact_write_items(TransactItems=writes, ClientRequestToken=secrets.token_hex(16))
        except ClientError as error:
            _, met = cancellations(error)[0]
            return _read(met) if met else None  # also our own write, if its answer was lost
        return PhoneSession(session.id, user_id)

    def _put_off(self, phone: str, found: PhoneSession, now: int) -> None:
        """Keep the item for as long again. Harmless when the phone has another session meanwhile."""
        values = {"gone": self._end_of_item(now), "session": found.session_id}
        update, same = "SET ExpiresAt = :gone", "SessionId = :session"
        request = call(self._table, key=_key(phone), values=values, UpdateExpression=update, ConditionExpression=same)
        try:
            with store_errors():
                self._client.update_item(**request)
        except ClientError as error:
            refused_item(error)

    def _end_of_item(self, now: int) -> int:
        return (now + self._life_ms + KEPT_MS) // 1000


def _key(phone: str) -> dict[str, Any]:
    return {"Resource": "phone#" + hashlib.sha256(phone.encode()).hexdigest()}


def _read(item: dict[str, Any]) -> PhoneSession:
    return PhoneSession(item["SessionId"], item["UserId"])
