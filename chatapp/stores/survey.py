"""All sessions at once, for operators: how many there are, what they are at, and which are over. Reads the whole table.

A Scan is charged for all that it reads, whatever is left of that by filters and projections: half a read unit for 4 KB. So it is
bounded, and what `survey` found is kept for a while.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chatapp.ports import Clock
from chatapp.stores.dynamo import call, from_item, refused_item, store_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SEGMENTS = 4
"""Parts of the table that are read at the same time."""

MAX_PAGES = 16
"""Pages (1 MB of items each) that `recent` reads of a segment: 64 MB in all, 8,192 read units, some 25,000 sessions of 2.5 KB."""

KEPT_SECONDS = 30.0
ALIVE = "attribute_not_exists(DeletedAt) AND AliveUntil > :now"
SHOWN = "Flow, OpenTurns, MessageCount, State.InterviewComplete, State.Efficiency"
OVER = "ExpiresAt < :seconds"


@dataclass(slots=True)
class Survey:
    """What the sessions are at. `at`: when it was read. `whole` False: there are more sessions than were read."""

    at: int
    whole: bool = True
    active: int = 0
    by_flow: Counter[str] = field(default_factory=Counter)
    open_turns: int = 0
    messages: int = 0
    interviews: int = 0
    interviews_complete: int = 0
    efficiencies: list[float] = field(default_factory=list)

    def count(self, item: dict[str, Any]) -> None:
        """Take a living session into account."""
        state = item.get("State", {})
        self.active += 1
        self.by_flow[item["Flow"]] += 1
        self.open_turns += len(item.get("OpenTurns", ()))
        self.messages += item.get("MessageCount", 0)
        self.interviews += "InterviewComplete" in state
        self.interviews_complete += state.get("InterviewComplete") is True
        if isinstance(efficiency := state.get("Efficiency"), int | float):
            self.efficiencies.append(efficiency)

    @property
    def mean_efficiency(self) -> float | None:
        """The mean over the interviews that have one."""
        return sum(self.efficiencies) / len(self.efficiencies) if self.efficiencies else None


class Surveyor:
    """Reads the table of sessions. Each method raises StoreUnavailable."""

    def __init__(self, client: "DynamoDBClient", *, table: str, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[float, Survey] | None = None

    def recent(self) -> Survey:
        """Give a survey of a bounded part of the table, at most 30 s old; who asks while one is made waits for it."""
        with self._lock:
            if self._last is None or self._clock.monotonic() >= self._last[0] + KEPT_SECONDS:
                self._last = (self._clock.monotonic(), self.survey(max_pages=MAX_PAGES))
            return self._last[1]

    def survey(self, *, max_pages: int | None = None) -> Survey:
        """Read all living sessions, in parallel. `max_pages`: of each segment, at most."""
        made, counting = Survey(self._clock.now()), threading.Lock()

        def read(segment: int) -> None:
            request = call(self._table, values={"now": made.at}, FilterExpression=ALIVE, ProjectionExpression=SHOWN)
            for number, items in enumerate(self._scan({**request, "Segment": segment, "TotalSegments": SEGMENTS})):
                with counting:
                    if number == max_pages:
                        made.whole = False
                        return
                    for item in items:
                        made.count(item)

        with ThreadPoolExecutor(SEGMENTS, thread_name_prefix="survey") as pool:
            list(pool.map(read, range(SEGMENTS)))
        return made

    def clean(self, *, limit: int | None = None) -> int:
        """Delete the sessions whose time in the table is over (`ExpiresAt`), as DynamoDB does by itself within days.

        Each on condition that it is still so. `limit`: how many at most. Returns: how many were deleted.
        """
        deleted = 0
        with ThreadPoolExecutor(SEGMENTS, thread_name_prefix="clean") as pool:
            for page in self._over():
                batch = page if limit is None else page[: limit - deleted]
                deleted += sum(pool.map(self._delete, batch))
                if limit is not None and deleted >= limit:
                    break
        return deleted

    def _over(self) -> Iterator[list[dict[str, Any]]]:
        seconds = self._clock.now() // 1000
        return self._scan(
            call(self._table, values={"seconds": seconds}, FilterExpression=OVER, ProjectionExpression="SessionId, ExpiresAt")
        )

    def _scan(self, request: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
        while True:
            with store_errors():
                answer = self._client.scan(**request)
            yield [from_item(i) for i in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _delete(self, item: dict[str, Any]) -> bool:
        request = call(
            self._table,
            key={"SessionId": item["SessionId"]},
            values={"seen": item["ExpiresAt"]},
            ConditionExpression="ExpiresAt = :seen",  # one that was used meanwhile lives on
        )
        try:
            with store_errors():
                self._client.delete_item(**request)
        except ClientError as error:
            refused_item(error)
            return False
        return True
