"""What becomes of a dead letter: which turn or effect it is about, whether that still wants something, and doing it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chatapp.cli.operating import age
from chatapp.deadletters import DeadLetter, Hold
from chatapp.effects import EffectId, EffectStatus
from chatapp.errors import NotFound, Refused, SessionContended
from chatapp.flows.retrying import record_key
from chatapp.model import JobId, Status, Turn, timestamp
from chatapp.services import Services

UNKNOWN, GONE, RETRIED = "unknown", "gone", "retried"


@dataclass(frozen=True, slots=True)
class Standing:
    """How what a letter is about stands now.

    `state`: the status of its turn or effect; `retried` when a newer turn has taken up the failed one, `gone` when there is no
    such thing (any more), `unknown` when the message names none. `stale`: nothing is left to do for it. `attempts`: None if
    not known.
    """

    state: str
    stale: bool
    attempts: int | None = None
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """The dead letters of one job or effect, or one that names none."""

    letters: tuple[DeadLetter, ...]
    standing: Standing
    age: str

    @property
    def stale(self) -> bool:
        """Nothing is left to do for it."""
        return self.standing.stale

    def as_dict(self) -> dict[str, Any]:
        """Give the form that `--json` prints. `attempts`: those of now if they are known, else as they were when it died."""
        last = self.letters[-1]
        known = self.standing.attempts
        return {
            "job_id": str(last.job_id) if last.job_id else None,
            "effect_id": str(last.effect_id) if last.effect_id else None,
            "session_id": last.about.session_id if last.about else None,
            "attempts": last.attempt if known is None else known,
            "reason": last.reason,
            "detail": last.detail,
            "age": self.age,
            "dead_at": timestamp(last.dead_at),
            "kind": last.kind.value,
            "turn": self.standing.state,
            "copies": len(self.letters),
            "receives": last.receives,
            "message_id": last.id,
        }


def entries_of(letters: Iterable[DeadLetter], services: Services) -> list[Entry]:
    """Put the letters of each job or effect together, and look up how it stands. The oldest comes first."""
    by_subject: dict[object, list[DeadLetter]] = {}
    for letter in letters:
        by_subject.setdefault(letter.about or letter.id, []).append(letter)
    groups = sorted((sorted(g, key=lambda x: x.dead_at) for g in by_subject.values()), key=lambda g: g[0].dead_at)
    now = services.clock.now()
    return [Entry(tuple(g), standing(g[0].about, services), age(now - g[0].dead_at)) for g in groups]


def standing(about: JobId | EffectId | None, services: Services) -> Standing:
    """Look up a turn or an effect. Raises: StoreUnavailable."""
    match about:
        case JobId():
            return _of_turn(about, services)
        case EffectId():
            return _of_effect(about, services)
        case None:
            return Standing(UNKNOWN, stale=False)


def _of_turn(job_id: JobId, services: Services) -> Standing:
    turn = services.turns.get(job_id)
    if turn is None:
        return Standing(GONE, stale=True)
    retried = turn.status is Status.FAILED and services.turns.record(record_key(job_id)) is not None
    state = RETRIED if retried else turn.status.value
    return Standing(state, stale=state != Status.FAILED, attempts=turn.attempt, turn=turn)


def _of_effect(effect_id: EffectId, services: Services) -> Standing:
    effect = services.effects.get(effect_id)
    if effect is None:
        return Standing(GONE, stale=True)
    return Standing(effect.status.value, stale=effect.status is not EffectStatus.FAILED, attempts=effect.attempts)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done about a letter: `word` is `retried`, `already_retried`, `revived`, `sent_back`, `left` or `refused`."""

    letter: DeadLetter
    word: str
    new_job: JobId | None = None
    why: str = ""
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Give the form that `--json` prints."""
        return {
            "job_id": str(self.letter.job_id) if self.letter.job_id else None,
            "effect_id": str(self.letter.effect_id) if self.letter.effect_id else None,
            "message_id": self.letter.id,
            "outcome": self.word,
            "new_job_id": str(self.new_job) if self.new_job else None,
            "why": self.why,
            "dry_run": self.dry_run,
        }

    def line(self) -> str:
        """Say it to people."""
        what = self.letter.about or f"message {self.letter.id}"
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
        if letter.about is None:
            if not self._dry_run:
                self._hold.send_back(letter)
            return Outcome(letter, "sent_back", dry_run=self._dry_run)
        found = standing(letter.about, self._services)
        if letter.effect_id is not None:
            return self._revive(letter, letter.effect_id, found)
        if found.turn is None or found.turn.status is not Status.FAILED:
            return Outcome(letter, "left", why=f"its turn is {found.state}", dry_run=self._dry_run)
        if self._dry_run:
            return Outcome(letter, "already_retried" if found.state == RETRIED else "retried", dry_run=True)
        return self._retry(letter, found.turn)

    def _retry(self, letter: DeadLetter, turn: Turn) -> Outcome:
        try:
            accepted = self._services.retry(turn)
        except (Refused, SessionContended) as error:
            return Outcome(letter, "refused", why=error.detail)
        self._hold.delete(letter)
        return Outcome(letter, "already_retried" if accepted.replayed else "retried", accepted.job_id)

    def _revive(self, letter: DeadLetter, effect_id: EffectId, found: Standing) -> Outcome:
        if found.stale:
            return Outcome(letter, "left", why=f"its effect is {found.state}", dry_run=self._dry_run)
        if self._dry_run:
            return Outcome(letter, "revived", dry_run=True)
        try:
            if not self._services.resolving.revive(effect_id):
                return Outcome(letter, "refused", why="it may have been carried out: nobody may try it again")
        except NotFound as error:
            return Outcome(letter, "refused", why=error.detail)
        self._hold.delete(letter)
        return Outcome(letter, "revived")
