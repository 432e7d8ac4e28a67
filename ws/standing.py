"""A channel that the process follows for good, from when it is first needed."""

import threading

from chatapp.live.channel import Callback, Channel, Following


class Standing:
    """One subscription for all who need it. Nothing connects before the first `ensure`."""

    def __init__(self, channel: Channel, name: str, callback: Callback) -> None:
        self._channel = channel
        self._name = name
        self._callback = callback
        self._lock = threading.Lock()
        self._following: Following | None = None
        self._confirmed = False

    def ensure(self) -> None:
        """Return once Redis has confirmed it. Raises: LiveUnavailable when it did not in time.

        All who come while Redis is away wait at the same time, not one after the other.
        """
        with self._lock:
            if self._following is None:
                self._following = self._channel.follow(self._name, self._callback, wait=None)
        if not self._confirmed:
            self._channel.follow(self._name, _nothing).close()
            self._confirmed = True


def _nothing(_text: str | None) -> None:
    """Only the confirmation is waited for."""
