"""What the scripted model server counts, for tests that ask what really went over the wire."""

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

KEPT_REQUESTS = 200


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

    def as_json(self) -> dict[str, Any]:
        """Say it as `/stats` does."""
        return {**asdict(self), "last": list(self.last)}
