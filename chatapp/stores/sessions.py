"""Sessions in DynamoDB."""

import base64
import json
import random
import secrets
from collections.abc import Mapping, Sequence
from time import sleep
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chatapp.errors import IdempotencyMismatch, InvalidRequest, NotFound, SessionContended, StoreUnavailable
from chatapp.flows.submit import Idempotency
from chatapp.model import IdempotencyRecord, JobId, Session, State, Turn, is_session_id
from chatapp.ports import Clock
from chatapp.stores.dynamo import (
    ALL_OLD,
    CONDITION_FAILED,
    call,
    cancellations,
    from_item,
    patiently,
    refused_item,
    store_errors,
    to_item,
    transact,
)
from chatapp.stores.records import input_key, record_of, record_put, session_item, session_of, turn_key, turn_of
from config.resources import USER_SESSIONS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DAY_MS = 86_400_000
MAX_TIME_MS = 10**15
OWN_AND_ALIVE = "attribute_exists(SessionId) AND UserId = :user AND attribute_not_exists(DeletedAt) AND AliveUntil > :now"
OUTLIVES_TURNS_MS = 3 * DAY_MS
"""A session's item outlives its last turn by this much, so that the turn's end can still be written into it."""


class SessionStore:
    """Reads and writes sessions. What changes with a turn is written by `TurnStore`, in the turn's transaction."""

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        table: str,
        turns_table: str,
        idempotency_table: str,
        clock: Clock,
        life_ms: int,
        turn_life_ms: int,
    ) -> None:
        self._client = client
        self._table = table
        self._turns = turns_table
        self._idempotency = idempotency_table
        self._clock = clock
        self._life_ms = life_ms
        self._kept_ms = turn_life_ms + OUTLIVES_TURNS_MS

    def create(self, *, user_id: str, flow: str, **more: Any) -> Session:
        """Store a session without turns; `more`: its title and its flow's first state."""
        session = Session.begin(user_id=user_id, flow=flow, now=self._clock.now(), life_ms=self._life_ms, **more)
        item = session_item(session) | {"ExpiresAt": (session.created_at + self._kept_ms) // 1000}
        with store_errors():
            self._client.put_item(**call(self._table, item=item))  # unconditional: a new id cannot meet another
        return session

    def create_once(self, once: Idempotency | None, *, user_id: str, flow: str, **more: Any) -> tuple[Session, bool]:
        """Store a session, unless a request with the same key has. Returns: it, and whether that was so.

        Raises: IdempotencyMismatch; NotFound, when the session of the key is gone.
        """
        if once is None:
            return self.create(user_id=user_id, flow=flow, **more), False
        now = self._clock.now()
        session = Session.begin(user_id=user_id, flow=flow, now=now, life_ms=self._life_ms, **more)
        # The record names the session by its first turn, which is still to come.
        record = IdempotencyRecord(once.key, once.fingerprint, JobId(session.id, 1), 0, now, now + once.life_ms)
        item = session_item(session) | {"ExpiresAt": (now + self._kept_ms) // 1000}
        try:
            transact(self._client, [{"Put": call(self._table, item=item)}, record_put(self._idempotency, record)])
        except ClientError as error:
            return self._known(once, error), True
        return session, False

    def _known(self, once: Idempotency, error: ClientError) -> Session:
        _, (code, found) = cancellations(error)
        if code != CONDITION_FAILED or found is None:
            raise SessionContended("the key is being written at this moment", retry_after=1) from error
        record = record_of(found)
        if record.fingerprint != once.fingerprint:
            raise IdempotencyMismatch from error
        if (session := self.get(record.job_id.session_id)) is None:
            raise NotFound("The session that this key began is gone") from error
        return session

    def get(self, session_id: str) -> Session | None:
        """Read a session, consistently; also one that is deleted or has expired: the caller looks."""
        with store_errors():
            answer = self._client.get_item(**call(self._table, key={"SessionId": session_id}, ConsistentRead=True))
        return session_of(from_item(answer["Item"])) if "Item" in answer else None

    def load(self, session_id: str, history: Sequence[int]) -> tuple[Session | None, list[Turn]]:
        """Read a session and, in the same request, earlier turns by number; big inputs cost a second request."""
        if not history:
            return self.get(session_id), []
        found = self._batch(
            {self._table: [{"SessionId": session_id}], self._turns: [turn_key(JobId(session_id, n)) for n in history]}
        )
        items = found[self._turns]
        apart = [input_key(JobId(session_id, i["Turn"])) for i in items if i.get("InputApart")]
        contents = {-i["Turn"]: i for i in self._batch({self._turns: apart})[self._turns]} if apart else {}
        turns = sorted((turn_of(i, contents.get(i["Turn"])) for i in items), key=lambda t: t.number)
        sessions = found[self._table]
        return (session_of(sessions[0]) if sessions else None), turns

    def _batch(self, keys: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {table: [] for table in keys}
        wanted: dict[str, Any] = {t: {"Keys": [to_item(k) for k in ks], "ConsistentRead": True} for t, ks in keys.items()}
        for attempt in range(5):  # DynamoDB may leave keys unprocessed over 16 MB or under load
            sleep(attempt * random.uniform(0.02, 0.1))  # noqa: S311  spreads the readers, guards nothing
            with store_errors():
                answer = self._client.batch_get_item(RequestItems=wanted)
            for table, items in answer["Responses"].items():
                found[table] += [from_item(i) for i in items]
            wanted = answer.get("UnprocessedKeys") or {}
            if not wanted:
                return found
        raise StoreUnavailable("DynamoDB left keys unread")

    def list(self, user_id: str, limit: int, cursor: str | None = None) -> tuple[list[Session], str | None]:
        """List a user's living sessions, the last used first. `open_turns` is not in the index and comes empty.

        Raises: InvalidRequest for a cursor that this method did not make.
        """
        more: dict[str, Any] = {"ExclusiveStartKey": _read_cursor(cursor, user_id)} if cursor else {}
        with store_errors():
            answer = self._client.query(
                **call(
                    self._table,
                    values={"user": user_id},
                    IndexName=USER_SESSIONS.name,
                    KeyConditionExpression="UserId = :user",
                    ScanIndexForward=False,
                    Limit=limit,
                    **more,
                )
            )
        now = self._clock.now()
        sessions = [session_of(from_item(i)) for i in answer["Items"]]
        last = answer.get("LastEvaluatedKey")
        return [s for s in sessions if s.alive(now)], _write_cursor(from_item(last)) if last else None

    def rename(self, session_id: str, *, user_id: str, title: str) -> Session:
        """Give a session another title. Raises: NotFound."""
        return self._change(session_id, user_id, "SET Title = :title", {"title": title})

    def bury(self, session_id: str, *, user_id: str) -> Session:
        """Mark a session as deleted and take it out of the user's list; its open turns are left to the caller.

        Harmless when it is done already, as it is when the answer to it was lost. Raises: NotFound.
        """
        return self._change(session_id, user_id, "SET DeletedAt = :now REMOVE UpdatedAt", {}, done="DeletedAt")

    def change_state(self, session: Session, state: State) -> tuple[bool, Session]:
        """Write a state if the version is still that of `session`, which rises by one.

        Returns: (True, the session with it), or (False, the session as it stands). Raises: NotFound.
        """
        mark = secrets.token_hex(8)
        values = {"state": dict(state), "next": session.version + 1, "mark": mark}
        written, found = self._as_seen(session, "SET State = :state, Version = :next, StateBy = :mark", values)
        if "DeletedAt" in found:
            raise NotFound("There is no such session")
        # A state that bears our mark is ours, written before an answer was lost.
        return written or found.get("StateBy") == mark, session_of(found)

    def conclude(self, session: Session, result: Mapping[str, Any]) -> tuple[bool, Session]:
        """Mark a session as ended, with its result, if the version is still that of `session`; it leaves the user's list.

        Returns: (True, the session as ended), or (False, the session as it stands, perhaps ended before). Raises: NotFound.
        """
        update = "SET DeletedAt = :now, Result = :result REMOVE UpdatedAt"
        written, found = self._as_seen(session, update, {"result": dict(result)})
        return written, session_of(found)

    def _as_seen(self, session: Session, update: str, values: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        now = self._clock.now()
        request = call(
            self._table,
            key={"SessionId": session.id},
            values={"user": session.user_id, "now": now, "seen": session.version, **values},
            UpdateExpression=update,
            ConditionExpression=f"{OWN_AND_ALIVE} AND Version = :seen",
            ReturnValues="ALL_NEW",
            **ALL_OLD,
        )
        try:
            return True, patiently(lambda: from_item(self._client.update_item(**request)["Attributes"]), self._clock)
        except ClientError as error:
            found = refused_item(error)
            ended = found is not None and "Result" in found
            if found is None or found["UserId"] != session.user_id or not (session_of(found).alive(now) or ended):
                raise NotFound("There is no such session") from error
            return False, found

    def _change(self, session_id: str, user_id: str, update: str, values: dict[str, Any], *, done: str | None = None) -> Session:
        used = {"user": user_id, "now": self._clock.now(), **values}
        request = call(
            self._table,
            key={"SessionId": session_id},
            values=used,
            UpdateExpression=update,
            ConditionExpression=OWN_AND_ALIVE,
            ReturnValues="ALL_NEW",
            **ALL_OLD,
        )
        try:
            with store_errors():
                answer = self._client.update_item(**request)
        except ClientError as error:
            found = refused_item(error)
            if done and found and found["UserId"] == user_id and done in found:
                return session_of(found)
            raise NotFound("There is no such session") from error
        return session_of(from_item(answer["Attributes"]))


def _write_cursor(key: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([key["SessionId"], key["UpdatedAt"]]).encode()).decode()


def _read_cursor(cursor: str, user_id: str) -> dict[str, Any]:
    # The user is not taken from the cursor: a forged one only moves about in the caller's own list.
    try:
        session_id, updated_at = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, TypeError) as error:
        raise InvalidRequest("`cursor` is not one that this list gave") from error
    if (
        not isinstance(session_id, str)
        or not is_session_id(session_id)
        or type(updated_at) is not int
        or not 0 <= updated_at < MAX_TIME_MS
    ):
        raise InvalidRequest("`cursor` is not one that this list gave")
    return to_item({"UserId": user_id, "SessionId": session_id, "UpdatedAt": updated_at})
