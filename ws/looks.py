"""How often this process looks into silence: a look is a precaution, and must not hold up what is live.

When all turns fall silent at once (the provider is away, say), thousands of sockets would look at the same moment, each for
milliseconds; what is published meanwhile would wait, look like silence, and be looked into as well.
"""

from chatapp.ports import Clock

LOOKS_PER_SECOND = 50


class Looks:
    """Lets LOOKS_PER_SECOND through, a second's worth at once. The rest is to come again later."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken_until = 0.0

    def take(self) -> bool:
        """Take one look, if there is one left."""
        now = self._clock.monotonic()
        if self._taken_until > now:
            return False
        self._taken_until = max(self._taken_until, now - 1) + 1 / LOOKS_PER_SECOND
        return True
