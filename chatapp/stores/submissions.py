"""What is accepted, in DynamoDB: a turn, its number in the session and the idempotency record, in one transaction."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chatapp.model import IdempotencyRecord, Part, Session, Status, Turn
from chatapp.ports import Clock, Known, Raced, TooLate
from chatapp.stores.dynamo import ALL_OLD, CONDITION_FAILED, call, cancellations, from_item, store_errors, transact
from chatapp.stores.records import input_key, record_of, record_put, session_item, session_of, turn_items, turn_key
from chatapp.stores.sessions import OUTLIVES_TURNS_MS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TOUCH = "SET UpdatedAt = :now, AliveUntil = :alive, ExpiresAt = :expires"
TITLE = ", Title = if_not_exists(Title, :title)"
INTERRUPT = ", CancelBefore = :n"
NEXT_TURN = ", TurnCount = :n ADD OpenTurns :turn"
OWN_AND_SAME = "attribute_exists(SessionId) AND UserId = :user AND attribute_not_exists(DeletedAt) AND TurnCount = :before"

JOINABLE = "Status = :queued AND Attempt = :none AND attribute_not_exists(CancelRequested)"
JOIN = "SET Input = list_append(Input, :parts)"


class SubmissionStore:
    """Writes what is accepted. Conditional write first, then read: a refused condition returns the item it met."""

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        table: str,
        sessions_table: str,
        actions_table: str,
        idempotency_table: str,
        clock: Clock,
    ) -> None:
        self._client = client
        self._table = table
        self._sessions = sessions_table
        self._actions = actions_table
        self._idempotency = idempotency_table
        self._clock = clock

    def add(
        self, turn: Turn, session: Session, *, new: bool, exclusive: bool, record: IdempotencyRecord | None
    ) -> Raced | Known | None:
        """Write a queued turn, its number into the session and the idempotency record, in one transaction.

        `session` is as it was before the turn, but for its new title and end of life; `exclusive` asks that no turn be
        open. Returns: None when it is written, else what stood in the way.
        """
        item, apart = turn_items(turn)
        writes = [self._new_session(turn, session) if new else self._next_turn(turn, session, exclusive=exclusive)]
        writes += self._record_write(record)
        writes.append({"Put": call(self._table, item=item, ConditionExpression="attribute_not_exists(SessionId)")})
        if apart:
            writes.append({"Put": call(self._table, item=apart)})
        try:
            self._transact(writes)
        except ClientError as error:
            return _obstacle(cancellations(error), record)
        return None

    def merge(
        self, turn: Turn, session: Session, parts: Sequence[Part], *, record: IdempotencyRecord | None
    ) -> Raced | Known | TooLate | None:
        """Add parts to the input of the session's last turn, if that was never attempted, in one transaction.

        `session` as in `add`. Returns: None when it is written, else what stood in the way.
        """
        writes = [self._touch(turn, session), *self._record_write(record)]
        open_values = {"queued": Status.QUEUED.value, "none": 0}
        said = {"parts": [dict(p) for p in parts]}
        key, job_id = turn_key(turn.job_id), turn.job_id
        if turn.input_apart:
            writes.append({"ConditionCheck": call(self._table, key=key, values=open_values, ConditionExpression=JOINABLE)})
            writes.append({"Update": call(self._table, key=input_key(job_id), values=said, UpdateExpression=JOIN)})
        else:
            values = open_values | said
            join = call(self._table, key=key, values=values, UpdateExpression=JOIN, ConditionExpression=JOINABLE)
            writes.append({"Update": join})
        try:
            self._transact(writes)
        except ClientError as error:
            reasons = cancellations(error)
            joining = [code for code, _ in reasons[1 if record is None else 2 :]]
            if CONDITION_FAILED in joining or "ValidationError" in joining:  # the latter: the item is full
                return TooLate()
            return _obstacle(reasons, record)
        return None

    def _record_write(self, record: IdempotencyRecord | None) -> list[dict[str, Any]]:
        return [record_put(self._idempotency, record)] if record else []

    def _new_session(self, turn: Turn, session: Session) -> dict[str, Any]:
        with_turn = replace(session, turn_count=turn.number, open_turns=frozenset({turn.number}))
        item = session_item(with_turn) | {"ExpiresAt": (max(turn.expires_at, session.expires_at) + OUTLIVES_TURNS_MS) // 1000}
        return {"Put": call(self._sessions, item=item, ConditionExpression="attribute_not_exists(SessionId)", **ALL_OLD)}

    def _next_turn(self, turn: Turn, session: Session, *, exclusive: bool) -> dict[str, Any]:
        values = self._session_values(turn, session) | {"n": turn.number, "turn": {turn.number}, "title": session.title}
        condition = OWN_AND_SAME + (" AND attribute_not_exists(OpenTurns)" if exclusive else "")
        interrupts = session.cancel_before == turn.number
        update = TOUCH + (TITLE if session.title else "") + (INTERRUPT if interrupts else "") + NEXT_TURN
        return self._session_write(session, update, condition, values)

    def _touch(self, turn: Turn, session: Session) -> dict[str, Any]:
        return self._session_write(session, TOUCH, OWN_AND_SAME, self._session_values(turn, session))

    def _session_values(self, turn: Turn, session: Session) -> dict[str, Any]:
        return {
            "before": session.turn_count,
            "user": turn.user_id,
            "now": session.updated_at,
            "alive": session.expires_at,
            "expires": (max(turn.expires_at, session.expires_at) + OUTLIVES_TURNS_MS) // 1000,
        }

    def _session_write(self, session: Session, update: str, condition: str, values: dict[str, Any]) -> dict[str, Any]:
        key = {"SessionId": session.id}
        written = call(self._sessions, key=key, values=values, UpdateExpression=update, ConditionExpression=condition, **ALL_OLD)
        return {"Update": written}

    def _transact(self, writes: list[Any]) -> None:
        transact(self._client, writes)

    def record(self, key: str) -> IdempotencyRecord | None:
        """Read what is kept under an Idempotency-Key, if it still counts."""
        with store_errors():
            answer = self._client.get_item(**call(self._idempotency, key={"IdempotencyKey": key}, ConsistentRead=True))
        record = record_of(from_item(answer["Item"])) if "Item" in answer else None
        return record if record and record.expires_at > self._clock.now() else None


def _obstacle(reasons: list[tuple[str, dict[str, Any] | None]], record: IdempotencyRecord | None) -> Raced | Known:
    """Say what a submit met: the session's write comes first, the record's second."""
    if record and reasons[1][0] == CONDITION_FAILED and reasons[1][1]:
        return Known(record_of(reasons[1][1]))
    code, found = reasons[0]
    return Raced(session_of(found) if code == CONDITION_FAILED and found else None)
