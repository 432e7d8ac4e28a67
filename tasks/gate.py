"""Whether this worker may receive. Whoever needs it to stop closes the gate with a reason of their own, and opens it again.

gate.close("paused"); gate.close("shutdown"); gate.open("paused")     # still closed: "shutdown" is left
"""


class Gate:
    """Open when no reason to be closed is left. Never blocks and never logs: signal handlers close it."""

    def __init__(self) -> None:
        # Changed in place, by operations that a signal cannot divide.
        self._reasons: set[str] = set()

    def close(self, reason: str) -> None:
        """Stop receiving, until the same reason is taken back. What a poll that is under way returns is given back at once."""
        self._reasons.add(reason)

    def open(self, reason: str) -> None:
        """Take a reason back; one that was not given is ignored."""
        self._reasons.discard(reason)

    @property
    def is_open(self) -> bool:
        """True when nobody has a reason against receiving."""
        return not self._reasons

    @property
    def reasons(self) -> frozenset[str]:
        """Why it is closed."""
        return frozenset(self._reasons)


gate = Gate()
"""The gate of this process."""
