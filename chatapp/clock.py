"""Time, as the `Clock` port asks for it: the machine's, or the machine's corrected by what DynamoDB says."""

import logging
import time
from datetime import datetime

log = logging.getLogger(__name__)

DRIFT_MS = 1_000
"""A correction that is larger is worth a warning: leases are compared by this clock on every machine of the fleet."""


class SystemClock:
    """Time as this machine tells it."""

    def now(self) -> int:
        """Milliseconds since 1970 UTC."""
        return self.machine()

    def machine(self) -> int:
        """Milliseconds since 1970 UTC, as this machine has them."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class AnchoredClock(SystemClock):
    """Time that all processes share, whatever their machines think: anchored to the Date header of DynamoDB's answers.

    An answer of `Date` d to a request asked at a and answered at b (by this machine) was made between a and b, at a time
    within the second that begins with d. So this machine is off by something between d - b and d + 1 s - a. The offset is
    moved into that range, and no further.
    """

    def __init__(self) -> None:
        self._offset = 0

    def now(self) -> int:
        """Milliseconds since 1970 UTC."""
        return self.machine() + self._offset

    def anchor(self, date: datetime, *, asked_at: int) -> None:
        """Take DynamoDB's word. `asked_at`: this machine's time in milliseconds when the request began."""
        told = round(date.timestamp() * 1000)
        least, most = told - self.machine(), told + 1_000 - asked_at
        offset = min(max(self._offset, least), most)
        if abs(offset - self._offset) > DRIFT_MS:
            log.warning("this machine's clock is off by %.1f s: corrected", offset / 1000)
        self._offset = offset
