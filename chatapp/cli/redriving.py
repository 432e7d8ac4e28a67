"""What becomes of a dead letter: which turn it is about, whether that still wants something, and doing it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chatapp.cli.operating import age
from chatapp.deadletters import DeadLetter, Hold
from chatapp.errors import Refused, SessionContended
from chatapp.flows.retrying import record_key
from chatapp.model import JobId, Status, Turn, timestamp
from chatapp.services import Services

UNKNOWN, GONE, RETRIED = "unknown", "gone", "retried"


@dataclass(frozen=True, slots=True)
class Entry:
    """The dead letters of one job, or one that names no job.

    `state`: the turn's status; `retried` when a newer turn has taken up the failed one, `gone` when there is no such turn
    (any more), `unknown` when the message names none.
    """

    letters: tuple[DeadLetter, ...]
    turn: Turn | None
    state: str
    age: str

    @property
    def stale(self) -> bool:
        """Nothing is left to do for its turn."""
        return self.state not in (Status.FAILED, UNKNOWN)

    def as_dict(self) -> dict[str, Any]:
        """Give the form that `--json` prints. `attempts`: of the turn if it is there, else as they were when it died."""
        last = self.letters[-1]
        return {
            "job_id": str(last.job_id) if last.job_id else None,
            "session_id": last.job_id.session_id if last.job_id else None,
            "attempts": self.turn.attempt if self.turn else last.attempt,
            "reason": last.reason,
            "detail": last.detail,
            "age": self.age,
            "dead_at": timestamp(last.dead_at),
            "kind": last.kind.value,
            "turn": self.state,
            "copies": len(self.letters),
            "receives": last.receives,
            "message_id": last.id,
        }


def entries_of(letters: Iterable[DeadLetter], services: Services) -> list[Entry]:
    """Put the letters of each job together, and look up how its turn stands. The oldest comes first."""
    by_job: dict[object, list[DeadLetter]] = {}
    for letter in letters:
        by_job.setdefault(letter.job_id or letter.id, []).append(letter)
    groups = sorted((sorted(g, key=lambda x: x.dead_at) for g in by_job.values()), key=lambda g: g[0].dead_at)
    now = services.clock.now()
    return [Entry(tuple(g), *standing(g[0].job_id, services), age(now - g[0].dead_at)) for g in groups]


def standing(job_id: JobId | None, services: Services) -> tuple[Turn | None, str]:
    """Look up a turn. Returns: the turn if it is there, and its state as `Entry` says it. Raises: StoreUnavailable."""
    if job_id is None:
        return None, UNKNOWN
    turn = services.turns.get(job_id)
    if turn is None:
        return None, GONE
    if turn.status is Status.FAILED and services.turns.record(record_key(job_id)):
        return turn, RETRIED
    return turn, turn.status.value


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done about a letter: `word` is `retried`, `already_retried`, `sent_back`, `left` or `refused`."""

    letter: DeadLetter
    word: str
    new_job: JobId | None = None
    why: str = ""
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Give the form that `--json` prints."""
        return {
            "job_id": str(self.letter.job_id) if self.letter.job_id else None,
            "message_id": self.letter.id,
            "outcome": self.word,
            "new_job_id": str(self.new_job) if self.new_job else None,
            "why": self.why,
            "dry_run": self.dry_run,
        }

    def line(self) -> str:
        """Say it to people."""
        what = self.letter.job_id or f"message {self.letter.id}"
        more = f" as {self.new_job}" if self.new_job else f": {self.why}" if self.why else ""
        return f"{what} {self.word.replace('_', ' ')}{more}{' (dry run)' if self.dry_run else ''}"


class Redriver:
    """Does what is left to do for a letter that is held, and deletes it then: who dies in between has lost nothing."""

    def __init__(self, services: Services, hold: Hold, *, dry_run: bool) -> None:
        self._services = services
        self._hold = hold
        self._dry_run = dry_run

    def __call__(self, letter: DeadLetter) -> Outcome:
        """Redrive one letter. Raises: QueueUnavailable, StoreUnavailable."""
        turn, state = standing(letter.job_id, self._services)
        if state == UNKNOWN:
            if not self._dry_run:
                self._hold.send_back(letter)
            return Outcome(letter, "sent_back", dry_run=self._dry_run)
        if turn is None or turn.status is not Status.FAILED:
            return Outcome(letter, "left", why=f"its turn is {state}", dry_run=self._dry_run)
        if self._dry_run:
            return Outcome(letter, "already_retried" if state == RETRIED else "retried", dry_run=True)
        return self._retry(letter, turn)

    def _retry(self, letter: DeadLetter, turn: Turn) -> Outcome:
        try:
            accepted = self._services.retry(turn)
        except (Refused, SessionContended) as error:
            return Outcome(letter, "refused", why=error.detail)
        self._hold.delete(letter)
        return Outcome(letter, "already_retried" if accepted.replayed else "retried", accepted.job_id)
