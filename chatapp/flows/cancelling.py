"""Cancelling turns: durable first, quick second. The one way for the API, for `on_busy: interrupt` and for deleted sessions."""

from chatapp.flows.ending import Endings
from chatapp.model import JobId, Session, Status, Turn
from chatapp.ports import Clock, Signals, Turns


class Cancelling:
    """Cancels turns."""

    def __init__(self, *, turns: Turns, endings: Endings, signals: Signals, clock: Clock) -> None:
        self._turns = turns
        self._endings = endings
        self._signals = signals
        self._clock = clock

    def __call__(self, turn: Turn, *, alone: bool = True) -> Turn | None:
        """Cancel a turn. One that nobody runs ends at once; who runs one is told, and finds the word at its next renewal if not.

        `alone` False: one of several; nobody is woken. Returns: the turn as it stands, None if it has vanished.
        Raises: StoreUnavailable.
        """
        now: Turn | None = turn
        while now is not None and not now.status.ended:
            if self._held(now):
                now = self._turns.request_cancel(turn.job_id)
                if now is not None and self._held(now):
                    self._signals.look(turn.job_id)
                    return now
            elif ended := self._endings.by_other(now, Status.CANCELLED, alone=alone):
                return ended
            else:
                now = self._turns.get(turn.job_id)
        return now

    def before(self, session: Session, number: int) -> None:
        """Cancel every open turn of the session before `number`; nobody is woken. Raises: StoreUnavailable."""
        for earlier in sorted(n for n in session.open_turns if n < number):
            turn = self._turns.get(JobId(session.id, earlier))
            if turn is not None and not turn.status.ended:
                self(turn, alone=False)

    def _held(self, turn: Turn) -> bool:
        return turn.status is Status.RUNNING and turn.lease_end >= self._clock.now()
