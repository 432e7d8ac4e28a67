"""Named places at which a test can let a process die, stop or fail. Off, and free, unless the setting FAIL_POINTS is set.

FAIL_POINTS names a folder. A test arms a point by putting a file of the point's name there, with an action in it:

    kill        SIGKILL to this process
    stop        SIGSTOP to this process, until somebody sends SIGCONT
    raise       raise FailPointHit

and optionally `@k`: at the k-th time that this process comes to the point. The process that acts takes the file away first (it
becomes `<point>.hit`, with the process id in it), so that a fault happens once in the fleet, a restarted process does not die
again, and the test has the proof that it hit. Nothing is left to chance here: the schedule is drawn by the test, from its seed.

The points: `worker.received`, `turn.claimed`, `turn.token` (each piece of an answer), `turn.streamed`, `turn.stored`,
`turn.published`, `turn.woken` (all is done but the ack), `api.stored` (after the transaction, before the send), `api.sent`,
`webhook.began` (a webhook's key is held, nothing is stored of its message), and of workers of the queue `effects`
`effect.received`, `effect.claimed` (before the call), `effect.called` (its answer is there), `effect.stored` (nobody knows yet).
"""

import os
import signal
from collections import Counter
from pathlib import Path


class FailPointHit(Exception):
    """What an armed point raises: an error that nobody expects."""


class FailPoints:
    """The points of one process, armed by files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._passed: Counter[str] = Counter()

    def hit(self, name: str) -> None:
        """Do what `name` is armed with, if it is. Raises: FailPointHit."""
        armed = self._folder / name
        try:
            action, _, place = armed.read_text().strip().partition("@")
        except FileNotFoundError:
            self._passed.pop(name, None)
            return
        self._passed[name] += 1
        if self._passed[name] < int(place or 1) or not self._take(armed):
            return
        self._passed[name] = 0
        if action == "raise":
            raise FailPointHit(name)
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[action])

    def _take(self, armed: Path) -> bool:
        """Take the order away, and say who did. Returns: False when another process was faster."""
        mine = armed.with_name(f"{armed.name}.{os.getpid()}")
        try:
            armed.rename(mine)
        except FileNotFoundError:
            return False
        mine.write_text(str(os.getpid()))
        mine.rename(armed.with_name(f"{armed.name}.hit"))
        return True


_points: FailPoints | None = None


def configure(folder: str | None) -> None:
    """Switch the points on, by the setting FAIL_POINTS, or (None) off. Once per process, at its start."""
    global _points  # noqa: PLW0603  a check that costs nothing when off has to stand in a module
    _points = FailPoints(Path(folder)) if folder else None


def hit(name: str) -> None:
    """Pass the point `name`. Raises: FailPointHit, where a test has asked for it."""
    if _points is not None:
        _points.hit(name)
