"""Publishes events as workers do: the product's turn logs, appended and published by its own script, some in a pipeline.

`python -m bench.publisher` takes what `Publisher` does as JSON lines: `{"do": "open", ...}`.
"""

import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any

from chatapp.dev.ports import HOST
from chatapp.live.events import Flusher, TurnLog
from chatapp.model import JobId, ModelOptions, Status, Turn
from chatapp.payloads import COMPLETED, STARTED
from chatapp.services import build
from config.settings import load

TICK_SECONDS = 0.01
"""Between two pipelines. A worker's tick is 40 ms; so these are four workers."""

WORDS = "some words of an answer "


LEASE_MS = 600_000
STORING = 16
"""Requests to DynamoDB at a time."""


class Ticks(Flusher):
    """A flusher that sends when it is told to, so that the moment is known."""

    paced = True

    def kick(self, turn_log: TurnLog, *, now: bool) -> None:
        """Wait for the tick."""
        if not self.paced:
            super().kick(turn_log, now=now)


class Publisher:
    """Turns that run, one in each session."""

    def __init__(self) -> None:
        self._services = build(load())
        self._clock = self._services.clock
        self._flusher = Ticks(self._services.redis)
        self._numbers: Counter[str] = Counter()
        self._logs: list[TurnLog] = []
        self._direct = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def open(self, sessions: Sequence[tuple[str, str]], rate: int) -> dict[str, Any]:
        """Begin a turn in each session, given by its owner and its id. The table knows nothing of these turns."""
        self._numbers.update(session_id for _, session_id in sessions)
        return self._begin([self._running(user, session_id) for user, session_id in sessions], rate)

    def claim(self, jobs: Sequence[str], rate: int) -> dict[str, Any]:
        """Claim turns that wait, and begin them."""

        def take(job: str) -> Turn:
            job_id, now = JobId.parse(job), self._clock.now()
            assert job_id is not None
            claimed, turn = self._services.turns.claim(job_id, claim_id=job, now=now, lease_end=now + LEASE_MS)
            assert claimed
            assert turn is not None
            return turn

        with ThreadPoolExecutor(STORING) as threads:
            return self._begin(list(threads.map(take, jobs)), rate)

    def complete(self) -> dict[str, Any]:
        """Store the ends of the turns that were claimed, and publish them."""
        self._flusher.paced = False
        with ThreadPoolExecutor(STORING) as threads:
            list(threads.map(self._end, self._logs))
        return {}

    def publish(self, events: int, rate: int, direct: int) -> dict[str, Any]:
        """Publish so many events, so many a second, over the turns in a circle; to `direct`, a datagram with each tick.

        Returns: the seconds that it took.
        """

        def speak(turn_log: TurnLog) -> None:
            turn_log.delta(f"{time.monotonic_ns()} {WORDS}")

        return self._paced(list(islice(cycle(self._logs), events)), rate, speak, direct)

    def end(self, rate: int) -> dict[str, Any]:
        """End the turns."""
        return self._paced(
            self._logs, rate, lambda turn_log: turn_log.emit(COMPLETED, text=WORDS, model="bench", finish_reason="stop")
        )

    def _paced(
        self, turn_logs: Sequence[TurnLog], rate: int, speak: Callable[[TurnLog], None], direct: int | None = None
    ) -> dict[str, Any]:
        began, done = time.monotonic(), 0
        while done < len(turn_logs):
            # A turn speaks once in a pipeline: what it says twice would become one event.
            due = min(round((time.monotonic() - began) * rate) + 1, len(turn_logs), done + len(self._logs))
            batch = turn_logs[done:due]
            for turn_log in batch:
                speak(turn_log)
            if direct:
                self._direct.sendto(str(time.monotonic_ns()).encode(), (HOST, direct))
            self._flusher.flush(batch)
            for turn_log in batch:
                turn_log.check()
            done = due
            time.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - began) % TICK_SECONDS))
        return {"seconds": time.monotonic() - began}

    def _begin(self, turns: Sequence[Turn], rate: int) -> dict[str, Any]:
        self._logs = [TurnLog(turn, self._clock, self._flusher) for turn in turns]
        return self._paced(self._logs, rate, lambda turn_log: turn_log.emit(STARTED, model="bench"))

    def _end(self, turn_log: TurnLog) -> None:
        answer = {"answer": turn_log.text, "answer_model": "bench", "finish_reason": "stop"}
        assert self._services.endings.by_holder(turn_log.turn, turn_log, Status.COMPLETED, seconds=10, **answer)

    def _running(self, user: str, session_id: str) -> Turn:
        now = self._clock.now()
        return Turn(
            session_id=session_id,
            number=self._numbers[session_id],
            user_id=user,
            flow="chat",
            input=(),
            options=ModelOptions("bench"),
            created_at=now,
            expires_at=now + 3_600_000,
            status=Status.RUNNING,
            attempt=1,
        )


def main() -> None:
    """Do what is asked until the input ends."""
    publisher = Publisher()
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(getattr(publisher, question.pop("do"))(**question)), flush=True)


if __name__ == "__main__":
    main()
