"""What the scripted model server counts, for tests that ask what really went over the wire."""

from collections import deque
from dataclasses import asdict, dataclass, field, replace
from time import time
from typing import Any

KEPT_REQUESTS = 200
KEPT_CALLS = 10_000


@dataclass
class Call:
    """One chat completion as it went over the wire, for who asks how often and when a message was answered.

    `said` is the beginning of the last user message; times are in seconds since 1970; `outcome` is `open`, `completed`,
    `failed` (ended by this server on purpose) or `aborted` (the client left before the end).
    """

    began_at: float = field(default_factory=time)
    said: str = ""
    chunks: int = 0
    last_chunk_at: float | None = None
    outcome: str = "open"

    def wrote(self, chunks: int) -> None:
        """Count chunks that went out just now."""
        self.chunks += chunks
        self.last_chunk_at = time()


@dataclass
class Stats:
    """Counts of chat completions. requests = completed + failed + aborted_streams + in_flight."""

    requests: int = 0
    completed: int = 0
    failed: int = 0
    """Ended by this server on purpose: an HTTP error, a cut, garbage."""
    aborted_streams: int = 0
    """The client left before the end."""
    in_flight: int = 0
    chunks_written: int = 0
    """Chunks with text, of streamed answers."""
    last: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS))
    """The latest requests as they came, oldest first."""

    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=KEPT_CALLS))
    """The latest calls, oldest first; what `/calls` shows."""

    def as_json(self) -> dict[str, Any]:
        """Say it as `/stats` does."""
        shown = asdict(replace(self, calls=deque()))
        del shown["calls"]
        return {**shown, "last": list(self.last)}

    def calls_as_json(self) -> list[dict[str, Any]]:
        """Say it as `/calls` does."""
        return [asdict(call) for call in self.calls]
