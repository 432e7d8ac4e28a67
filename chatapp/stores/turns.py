"""Turns in DynamoDB: the truth. Conditional write first, then read: a refused condition returns the item it met."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from chatapp.effects import Effect
from chatapp.errors import SessionContended
from chatapp.model import Ending, JobId, SessionWrite, Status, Turn
from chatapp.ports import Raced
from chatapp.stores.dynamo import ALL_OLD, CONDITION_FAILED, call, cancellations, from_item, patiently, refused_item, store_errors
from chatapp.stores.effect_records import effect_item
from chatapp.stores.records import input_key, session_of, summary_item, turn_key, turn_of
from chatapp.stores.submissions import SubmissionStore
from config.resources import OPEN_WORK

FREE = "attribute_exists(SessionId) AND Status = :queued AND Due <= :now AND attribute_not_exists(CancelRequested)"
LAPSED = "Status = :running AND Attempt = :attempt AND LeaseEnd = :lapsed AND attribute_not_exists(CancelRequested)"
CLAIM = """SET Status = :running, Attempt = Attempt + :one, LeaseEnd = :lease, WakeAt = :lease, ClaimId = :claim,
StartedAt = if_not_exists(StartedAt, :now)"""

REQUEUE = "SET Status = :queued, Due = :due, WakeAt = :wake"
MINE = "Status = :running AND Attempt = :attempt AND ClaimId = :claim"
OPEN_AS_SEEN = "Attempt = :attempt AND Status IN (:queued, :running)"

NEW_EFFECT = "attribute_not_exists(SessionId)"

OPEN_STATES = {"queued": Status.QUEUED.value, "running": Status.RUNNING.value}

COUNTERS = {"failures": "Failures", "hand_backs": "HandBacks"}

VALIDATION = "ValidationError"

BURY_LOOK_MS = 10_000
"""How long a turn that failed for good is left to who ended it, before the relay sees to the dead-letter queue."""


class TurnStore(SubmissionStore):
    """Reads and writes turns, and with them what a turn changes in its session."""

    # --- read

    def get(self, job_id: JobId) -> Turn | None:
        """Read a turn, consistently."""
        item = self._item(turn_key(job_id))
        return self._complete(item) if item else None

    def _item(self, key: dict[str, Any]) -> dict[str, Any] | None:
        with store_errors():
            answer = self._client.get_item(**call(self._table, key=key, ConsistentRead=True))
        return from_item(answer["Item"]) if "Item" in answer else None

    def _complete(self, item: dict[str, Any]) -> Turn:
        apart = self._item(input_key(JobId(item["SessionId"], item["Turn"]))) if item.get("InputApart") else None
        return turn_of(item, apart)

    def page(self, session_id: str, *, limit: int, before: int | None = None) -> list[Turn]:
        """Read turns of a session, the newest first, with numbers below `before`."""
        if before is not None and before <= 1:
            return []
        request = call(
            self._table,
            values={"session": session_id, "first": 1, "last": (before or 10**9) - 1},
            KeyConditionExpression="SessionId = :session AND Turn BETWEEN :first AND :last",
            ScanIndexForward=False,
            Limit=limit,
            ConsistentRead=True,
        )
        with store_errors():
            answer = self._client.query(**request)
        return [self._complete(from_item(i)) for i in answer["Items"]]

    # --- an attempt

    def claim(self, job_id: JobId, *, claim_id: str, now: int, lease_end: int) -> tuple[bool, Turn | None]:
        """Take the turn, if it is queued and due or its lease has lapsed, and no cancel was asked for.

        Returns: (True, the turn as claimed), or (False, the turn as it stands; None if there is none).
        """
        values = {"queued": Status.QUEUED.value, "running": Status.RUNNING.value, "one": 1}
        values |= {"now": now, "lease": lease_end, "claim": claim_id}
        claimed, turn = self._update(job_id, CLAIM, FREE, values)
        if claimed or turn is None or turn.status is not Status.RUNNING:
            return claimed, turn
        if turn.claim_id == claim_id:  # the answer to our own claim was lost
            return True, turn
        if turn.lease_end >= now or turn.cancel_requested:
            return False, turn
        del values["queued"]
        values |= {"attempt": turn.attempt, "lapsed": turn.lease_end}
        # What an attempt before the crash failed of is not why this one begins.
        claimed, turn = self._update(job_id, CLAIM + " REMOVE Error ADD Crashes :one", LAPSED, values)
        return claimed or (turn is not None and turn.claim_id == claim_id), turn

    def renew(self, turn: Turn, *, lease_end: int) -> Turn | None:
        """Move the lease on. Returns: the turn, or None when this attempt has lost it."""
        values = {"running": Status.RUNNING.value, "attempt": turn.attempt, "claim": turn.claim_id, "lease": lease_end}
        renewed, now = self._update(turn.job_id, "SET LeaseEnd = :lease, WakeAt = :lease", MINE, values, complete=False)
        return now if renewed else None

    def requeue(
        self, turn: Turn, *, due: int, wake_at: int, counted: str | None, error: Mapping[str, Any] | None = None
    ) -> Turn | None:
        """Give a running turn back to the queue, for the attempt that holds it.

        `counted`: what it came to, `failures` or `hand_backs`; None costs nothing. `error`: what the next attempt is due to.
        Returns: the turn, or None when this attempt has lost it.
        """
        values: dict[str, Any] = {"attempt": turn.attempt, "claim": turn.claim_id, "due": due, "wake": wake_at, **OPEN_STATES}
        update = REQUEUE
        if error:
            update, values["error"] = update + ", Error = :error", dict(error)
        update += " REMOVE LeaseEnd"
        if counted:
            update, values["one"] = f"{update} ADD {COUNTERS[counted]} :one", 1
        done, now = self._update(turn.job_id, update, MINE, values, complete=False)
        # A turn that is queued again under our claim was put there by us, in a write whose answer was lost.
        mine = now is not None and now.status is Status.QUEUED and now.claim_id == turn.claim_id
        return now if done or mine else None

    def _update(
        self, job_id: JobId, update: str, condition: str, values: dict[str, Any], *, complete: bool = True
    ) -> tuple[bool, Turn | None]:
        request = call(
            self._table,
            key=turn_key(job_id),
            values=values,
            UpdateExpression=update,
            ConditionExpression=condition,
            ReturnValues="ALL_NEW",
            **ALL_OLD,
        )
        done = True
        try:
            item = patiently(lambda: from_item(self._client.update_item(**request)["Attributes"]), self._clock)
        except ClientError as error:
            found = refused_item(error)
            if found is None:
                return False, None
            done, item = False, found
        return done, self._complete(item) if complete else turn_of(item)

    # --- the end

    def end(
        self, turn: Turn, ending: Ending, *, write: SessionWrite | None = None, effects: Sequence[Effect] = ()
    ) -> tuple[bool, Turn | None] | Raced:
        """End the turn, take it out of its session's open turns, and store what comes with it, in one transaction.

        `write`: what changes in the session; `effects`: new actions and deliveries. Returns: (True, the turn as ended);
        (False, the turn as it stands), when somebody else was first; Raced, when the session's state was changed meanwhile.
        """
        close = self._close(turn.job_id, messages=_messages(turn, ending), write=write)
        staged = [{"Put": call(self._actions, item=effect_item(e), ConditionExpression=NEW_EFFECT)} for e in effects]
        try:
            self._transact([{"Update": self._end_write(turn, ending)}, close, *staged])
        except ClientError as error:
            (code, found), (session_code, session), *others = cancellations(error)
            if VALIDATION in (code, session_code, *(other for other, _ in others)):
                raise  # an item would be too large: no other moment makes it smaller
            if code == CONDITION_FAILED and found:
                # Our own end, whose answer was lost, carries our mark. A big input is not in this item.
                now = replace(turn_of(found), input=turn.input, options=turn.options, metadata=turn.metadata)
                return found.get("EndedBy") == ending.by, now
            if session_code == CONDITION_FAILED and session and write is not None:
                return Raced(session_of(session))
            raise SessionContended("the end met another write on its session") from error
        return True, _as_ended(turn, ending)

    def _close(self, job_id: JobId, *, messages: int, write: SessionWrite | None = None) -> dict[str, Any]:
        values: dict[str, Any] = {"turn": {job_id.turn}}
        adds, sets, condition = "", [], "attribute_exists(SessionId)"
        if messages:
            adds, values["messages"] = "ADD MessageCount :messages ", messages
        if write is not None and write.state is not None:
            sets, condition = ["State = :state", "Version = :next"], "Version = :seen"
            values |= {"state": dict(write.state), "seen": write.seen, "next": write.seen + 1}
        if write is not None and write.summary is not None:
            sets.append("Summary = :summary")
            values["summary"] = summary_item(write.summary)
        update = adds + (f"SET {', '.join(sets)} " if sets else "") + "DELETE OpenTurns :turn"
        key = {"SessionId": job_id.session_id}
        written = call(self._sessions, key=key, values=values, UpdateExpression=update, ConditionExpression=condition, **ALL_OLD)
        return {"Update": written}

    def _end_write(self, turn: Turn, ending: Ending) -> dict[str, Any]:
        fields = {
            "Status": ending.status.value,
            "Attempt": ending.end_id.attempt,
            "EndId": str(ending.end_id),
            "EndedBy": ending.by,
            "EndedAt": ending.at,
            "Answer": ending.answer,
            "AnswerModel": ending.answer_model,
            "FinishReason": ending.finish_reason,
            "Usage": ending.usage.as_dict() if ending.usage else None,
            "Error": dict(ending.error) if ending.error else None,
            "Failures": ending.failures,
            "DlqPending": ending.dlq_pending or None,
            "QuickReplies": list(ending.quick_replies) or None,
            "WakeAt": ending.at + BURY_LOOK_MS if ending.dlq_pending else None,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        values = {f"new{name}": value for name, value in given.items()} | {
            "attempt": turn.attempt,
            "running": Status.RUNNING.value,
        }
        values |= {"claim": ending.by} if ending.holder else {"queued": Status.QUEUED.value}
        update = "SET " + ", ".join(f"{name} = :new{name}" for name in given) + " REMOVE LeaseEnd"
        if not ending.dlq_pending:  # else it stays in the index of open work, until the dead-letter queue has it
            update += ", OpenShard, WakeAt"
        if ending.error is None:
            update += ", Error"  # what an earlier attempt failed of
        return call(
            self._table,
            key=turn_key(turn.job_id),
            values=values,
            UpdateExpression=update,
            ConditionExpression=MINE if ending.holder else OPEN_AS_SEEN,
            **ALL_OLD,
        )

    # --- the relay, and who leaves word for others

    def postpone(self, job_id: JobId, *, seen: int, wake_at: int) -> Turn | None:
        """Move the relay's next look from `seen` to `wake_at`. Returns: the turn, None when another relay was first."""
        done, turn = self._update(job_id, "SET WakeAt = :next", "WakeAt = :seen", {"seen": seen, "next": wake_at}, complete=False)
        # A look that stands where we put it was moved by us, in a write whose answer was lost.
        return turn if done or (turn is not None and turn.wake_at == wake_at) else None

    def wake_now(self, job_id: JobId, now: int) -> None:
        """Let the relay look at once: the turn's message could not be sent. A turn that runs meanwhile is left alone."""
        condition = "(Status = :queued OR (Status = :running AND LeaseEnd < :now)) AND WakeAt > :now"
        self._update(job_id, "SET WakeAt = :now", condition, {**OPEN_STATES, "now": now}, complete=False)

    def request_cancel(self, job_id: JobId) -> Turn | None:
        """Leave word that the turn is to be cancelled, for the attempt that holds it or the next claimer.

        Returns: the turn as it stands; no word is left when it has ended.
        """
        values = {"yes": True, **OPEN_STATES}
        return self._update(job_id, "SET CancelRequested = :yes", "Status IN (:queued, :running)", values)[1]

    def buried(self, job_id: JobId) -> None:
        """Take note that the dead-letter queue has the turn's message. Harmless when it is noted already."""
        self._update(job_id, "REMOVE DlqPending, OpenShard, WakeAt", "attribute_exists(DlqPending)", {}, complete=False)

    def close_gap(self, job_id: JobId) -> None:
        """Take a turn that has no item out of its session's open turns: it would block the session for ever."""
        gone = call(self._table, key=turn_key(job_id), ConditionExpression="attribute_not_exists(SessionId)")
        try:
            self._transact([{"ConditionCheck": gone}, self._close(job_id, messages=0)])
        except ClientError as error:
            cancellations(error)  # there is an item after all, or the session has gone too: nothing is blocked

    def open_work(self, shard: int, *, now: int, limit: int) -> list[tuple[JobId, int]]:
        """Read a shard of the index of open work: (job, wake_at) whose time has come. A hint, perhaps stale."""
        request = call(
            self._table,
            values={"shard": shard, "now": now},
            IndexName=OPEN_WORK.name,
            KeyConditionExpression="OpenShard = :shard AND WakeAt <= :now",
            Limit=limit,
        )
        with store_errors():
            answer = self._client.query(**request)
        items = [from_item(i) for i in answer["Items"]]
        return [(JobId(i["SessionId"], i["Turn"]), i["WakeAt"]) for i in items]


def _as_ended(turn: Turn, ending: Ending) -> Turn:
    return replace(
        turn,
        status=ending.status,
        attempt=ending.end_id.attempt,
        end_id=ending.end_id,
        ended_at=ending.at,
        answer=ending.answer,
        answer_model=ending.answer_model,
        finish_reason=ending.finish_reason,
        usage=ending.usage,
        error=ending.error,
        dlq_pending=ending.dlq_pending,
        failures=turn.failures if ending.failures is None else ending.failures,
        quick_replies=ending.quick_replies,
        wake_at=None,
        lease_end=0,
    )


def _messages(turn: Turn, ending: Ending) -> int:
    """Count what the conversation gains: the input, if there was one, and the answer, if there is one."""
    return bool(turn.input) + bool(ending.answer or ending.status is Status.COMPLETED)
