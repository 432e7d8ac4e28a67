"""The dead-letter queues: what has failed for good (turns, effects) and what cannot be read, for an operator to look at."""

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from chatapp.effects import Effect, EffectId
from chatapp.model import JobId, Turn, timestamp
from chatapp.ports import Clock
from chatapp.queue import MAX_BATCH, Composer, sqs_errors
from config.resources import CHAT, EFFECTS, QUEUES, Queue

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HOLD_SECONDS = 120
"""How long what is being looked at is hidden from others, if whoever looks dies; else it is given back at once."""

MAX_DETAIL = 300

_DLQS = {q.name: q.dlq for q in QUEUES}
_WAKE_UP_ID = re.compile(r'"id": ?"([0-9a-f]{32}[./][0-9a-z-]{1,41})"')


class Kind(StrEnum):
    """How a message came here."""

    TURN = "turn"
    """Its turn has failed for good."""
    EFFECT = "effect"
    """Its action or delivery has failed for good."""
    POISON = "poison"
    """A worker could not read it."""
    COUNTED = "counted"
    """SQS moved it here by itself, after MAX_RECEIVE_COUNT receives that nobody deleted it after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message of a dead-letter queue. `reason` is an error's code, or a word for what is wrong with the message.

    It names a job, an effect, or nothing.
    """

    id: str
    kind: Kind
    body: str
    reason: str
    detail: str
    job_id: JobId | None
    effect_id: EffectId | None = None
    attempt: int | None
    dead_at: int
    sent_at: int
    receives: int

    @property
    def about(self) -> JobId | EffectId | None:
        """What it names."""
        return self.job_id or self.effect_id


class DeadLetterQueue:
    """Implements the ports `DeadLetters` and `DeadEffects`, and what an operator does with what is there.

    `url_of` says the URL of a queue by its name; `wait` is the long poll's, in seconds. Each method raises QueueUnavailable,
    in bounded time.
    """

    def __init__(self, sqs: "SQSClient", compose: Composer, *, url_of: Callable[[str], str], clock: Clock, wait: int) -> None:
        self._sqs = sqs
        self._compose = compose
        self._wait = wait
        self._url_of = url_of
        self._clock = clock

    def put(self, turn: Turn) -> None:
        """Put a failed turn's wake-up there, with reason, job and attempt as attributes.

        The wake-up is a working one, so that AWS's own redrive brings back something that a worker can read.
        """
        request = self._compose(turn.job_id, user_id=turn.user_id, traceparent=turn.traceparent)
        self._bury(request, CHAT, Kind.TURN, error=turn.error or {}, about=turn.job_id, attempt=turn.attempt)

    def put_effect(self, effect: Effect) -> None:
        """Put the wake-up of an effect that failed for good there, as `put` does a turn's. Raises: QueueUnavailable."""
        request = self._compose.effect(effect.id, user_id=effect.user_id)
        self._bury(request, EFFECTS, Kind.EFFECT, error=effect.error or {}, about=effect.id, attempt=effect.attempts)

    def _bury(
        self,
        request: dict[str, Any],
        queue: Queue,
        kind: Kind,
        *,
        error: Mapping[str, Any],
        about: JobId | EffectId,
        attempt: int,
    ) -> None:
        reason, detail = error.get("code", ""), error.get("message", "")
        attributes = self._attributes(queue.name, kind, reason=reason, detail=detail, about=about, attempt=attempt)
        with sqs_errors():
            self._sqs.send_message(**request | {"QueueUrl": self._url_of(queue.dlq), "MessageAttributes": attributes})

    def put_raw(
        self,
        queue: str,
        body: str,
        *,
        reason: str,
        detail: str = "",
        about: JobId | EffectId | None = None,
        attempt: int | None = None,
    ) -> None:
        """Put a message of `queue` there as it was received. `detail` must not hold what a user has written."""
        attributes = self._attributes(queue, Kind.POISON, reason=reason, detail=detail, about=about, attempt=attempt)
        url = self._url_of(_DLQS[queue])
        with sqs_errors():
            self._sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)

    def hold(self, queue: str, *, limit: int | None = None) -> "Hold":
        """Take up to `limit` messages out of a queue's dead-letter queue, to look at them and perhaps do something."""
        return Hold(self._sqs, url=self._url_of(_DLQS[queue]), back_url=self._url_of(queue), limit=limit, wait=self._wait)

    def _attributes(
        self, queue: str, kind: Kind, *, reason: str, detail: str, about: JobId | EffectId | None, attempt: int | None
    ) -> dict[str, Any]:
        told = {
            "Kind": kind.value,
            "Queue": queue,
            "Reason": reason,
            "Detail": detail[:MAX_DETAIL],
            "JobId": str(about) if isinstance(about, JobId) else "",
            "EffectId": str(about) if isinstance(about, EffectId) else "",
            "Attempt": "" if attempt is None else str(attempt),
            "DeadAt": timestamp(self._clock.now()),
        }
        # SQS refuses empty values, and most characters that cannot be seen.
        return {k: {"DataType": "String", "StringValue": _visible(v)} for k, v in told.items() if v}


class Hold:
    """Some messages of a dead-letter queue, hidden from others while this is entered; what is left goes back at the end."""

    def __init__(self, sqs: "SQSClient", *, url: str, back_url: str, limit: int | None, wait: int) -> None:
        self._sqs = sqs
        self._url = url
        self._back_url = back_url
        self._limit = limit
        self._wait = wait
        self._receipts: dict[str, str] = {}
        self._seen: set[str] = set()
        self._began_before: float = math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Make what is left visible again. What SQS does not take back now comes back after HOLD_SECONDS by itself."""
        receipts = list(self._receipts.values())
        for start in range(0, len(receipts), MAX_BATCH):
            entries: list[Any] = [
                {"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for n, receipt in enumerate(receipts[start:][:MAX_BATCH])
            ]
            with sqs_errors():
                self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    @property
    def seen(self) -> int:
        """How many messages were received so far."""
        return len(self._seen)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Receive the messages, a few at a time, each once.

        What came only after the first receive is not among them: a message that is sent back, and cannot be read again, would
        go round for ever.
        """
        while (left := MAX_BATCH if self._limit is None else self._limit - len(self._seen)) > 0:
            page = self._receive(min(left, MAX_BATCH))
            fresh = [m for m in page if m["MessageId"] not in self._seen]
            self._receipts |= {m["MessageId"]: m["ReceiptHandle"] for m in page}
            self._seen |= self._receipts.keys()
            if not fresh:
                return
            yield from (letter for letter in map(_letter, fresh) if letter.sent_at < self._began_before)

    def _receive(self, number: int) -> "list[MessageTypeDef]":
        with sqs_errors():
            answer = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=number,
                VisibilityTimeout=HOLD_SECONDS,
                WaitTimeSeconds=self._wait,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
                MessageAttributeNames=["All"],
            )
        if self._began_before == math.inf and (date := answer["ResponseMetadata"]["HTTPHeaders"].get("date")):
            self._began_before = (parsedate_to_datetime(date).timestamp() + 1) * 1000  # by SQS's clock, in whole seconds
        return answer.get("Messages", [])

    def delete(self, letter: DeadLetter) -> None:
        """Delete a message that is held."""
        with sqs_errors():
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=self._receipts[letter.id])
        del self._receipts[letter.id]

    def send_back(self, letter: DeadLetter) -> None:
        """Send a message that is held to the queue it came from, as it was, and delete it here. A crash in between doubles it."""
        with sqs_errors():
            self._sqs.send_message(QueueUrl=self._back_url, MessageBody=letter.body)
        self.delete(letter)


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _letter(message: "MessageTypeDef") -> DeadLetter:
    told = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
    system: dict[Any, str] = dict(message.get("Attributes", {}))
    body, attempt, sent_at = message["Body"], told.get("Attempt", ""), int(system.get("SentTimestamp", 0))
    if "Reason" not in told:
        kind, told["Reason"] = Kind.COUNTED, "received_too_often"
    else:
        kind = next((k for k in (Kind.TURN, Kind.EFFECT) if told.get("Kind") == k), Kind.POISON)
    named = _named_in(body) if not {"JobId", "EffectId"} & told.keys() else told.get("JobId") or told.get("EffectId", "")
    return DeadLetter(
        id=message["MessageId"],
        kind=kind,
        body=body,
        reason=told["Reason"],
        detail=told.get("Detail", ""),
        job_id=JobId.parse(named),
        effect_id=EffectId.parse(named),
        attempt=int(attempt) if attempt.isdecimal() and len(attempt) < 10 else None,
        dead_at=_milliseconds(told.get("DeadAt", "")) or sent_at,
        sent_at=sent_at,
        receives=int(system.get("ApproximateReceiveCount", 0)),
    )


def _named_in(body: str) -> str:
    """Find the id of the job or the effect of a wake-up in its body, which may be anything."""
    try:
        text = base64.b64decode(body, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        text = body
    match = _WAKE_UP_ID.search(text)
    return match[1] if match else ""


def _milliseconds(rfc3339: str) -> int | None:
    """Read a time that anybody may have written; None for one that cannot be read, or not be shown."""
    try:
        told = round(datetime.fromisoformat(rfc3339).timestamp() * 1000)
        timestamp(told)
    except (ValueError, OverflowError):
        return None
    return told
