"""Pages of a conversation, also of a part of it in time. Turns are found by number, so a page costs the same wherever it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chatapp.model import Session, Turn

SKEW_MS = 5_000
"""Turns stand in order of their numbers; their times come from several machines and may be out of order by less than this."""


class Paged(Protocol):
    """Turns that can be read page by page."""

    def page(self, session_id: str, *, limit: int, before: int | None = None) -> list[Turn]:
        """Read turns of a session, the newest first, with numbers below `before`."""
        ...


@dataclass(frozen=True, slots=True)
class Period:
    """From when (inclusive) to when (exclusive), in milliseconds since 1970; None is open."""

    since: int | None = None
    until: int | None = None

    def holds(self, turn: Turn) -> bool:
        """Say whether a turn was posted then."""
        return (self.since is None or turn.created_at >= self.since) and (self.until is None or turn.created_at < self.until)


def read_page(turns: Paged, session: Session, period: Period, *, limit: int, before: int | None) -> tuple[list[Turn], int | None]:
    """Read a page of the turns that were posted in a period, the newest first, with numbers below `before`.

    Returns: them, and what `before` is of the next page; None when this is the last. A page may be shorter than `limit`.
    """
    if before is None and period.until is not None:
        before = _first_from(turns, session, period.until + SKEW_MS)
    found = turns.page(session.id, limit=limit, before=before)
    more = _more(found, period)
    return [turn for turn in found if period.holds(turn)], found[-1].number if more else None


def _more(found: Sequence[Turn], period: Period) -> bool:
    if not found or found[-1].number == 1:  # whatever `limit` says: DynamoDB ends a page at 1 MB
        return False
    return period.since is None or found[-1].created_at >= period.since - SKEW_MS


def _first_from(turns: Paged, session: Session, time: int) -> int:
    """Find the number of the first turn that was posted at a time or later; one more than the last if there is none.

    By halving: turn 1,000 of a session costs ten reads. Numbers may be missing: the oldest, whose time is over, and gaps.
    """
    low, high = 1, session.turn_count + 1
    while low < high:
        middle = (low + high) // 2
        found = turns.page(session.id, limit=1, before=middle + 1)  # the turn of that number, or the next below that is there
        if found and found[0].created_at >= time:
            high = found[0].number
        else:
            low = middle + 1
    return low
