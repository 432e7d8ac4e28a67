"""What must hold at every write, at every event, and when all has come to rest."""

import json
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from chatapp.flows.submit import Accepted
from chatapp.live.events import key_of
from chatapp.model import JobId, Status, Turn, text_of
from chatapp.payloads import COMPLETED, DELTA, OPENING, SNAPSHOT, TERMINAL
from chatapp.stores.dynamo import from_item
from tests.unit.protocol.actors import Actor, Killed
from tests.unit.protocol.expressions import Item

if TYPE_CHECKING:
    from tests.unit.protocol.world import World

ENDED = {s.value for s in Status if s.ended}
AFTER_THE_END = {"DlqPending", "OpenShard", "WakeAt"}
"""What may still change of an ended turn: what its dead letter needs until the dead-letter queue has it."""

COUNTS = ("Failures", "Crashes", "HandBacks")
"""What an attempt may come to. A wait for the breaker costs nothing."""

TRANSIENT = ("provider_unavailable", "provider_rate_limited")

KEPT_FOR_GOOD = {"UserId", "Flow", "Model", "CreatedAt", "RetryOf", "Turn", "SessionId"}


class Violation(AssertionError):
    """A law was broken. Carries what happened up to then."""


class Laws:
    """Watches a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.ends: Counter[JobId] = Counter()
        self.reached: set[str] = set()
        """What this world came to, for who wants to know that it was really tried."""
        self.waits: Counter[JobId] = Counter()
        self.retries: Counter[tuple[str, int]] = Counter()
        self.unpublished: set[JobId] = set()
        """Turns whose end may be missing in the log: who was to publish it was killed, or its message was lost."""
        self.forgotten: set[str] = set()
        """Sessions whose logs may have gaps, or be gone: they were deleted, or Redis was away or emptied."""

    def broken(self, law: str) -> NoReturn:
        """Say that a law was broken. The code that broke it is stopped, and cannot catch this."""
        self._world.broken = Violation("\n".join([law, "", *self._world.trace[-120:]]))
        if (actor := Actor.current()) is None:
            raise self._world.broken
        actor.killed = True
        raise Killed

    def _need(self, holds: bool, law: str) -> None:
        if not holds:
            self.broken(law)

    # --- every write

    def on_write(self, table: str, before: Item | None, after: Item) -> None:
        """Look at an item that has changed."""
        if table.endswith("turns") and int(after["Turn"]["N"]) > 0:
            self._turn(from_item(before) if before else None, from_item(after))

    def _turn(self, old: dict[str, Any] | None, new: dict[str, Any]) -> None:
        job_id = JobId(new["SessionId"], new["Turn"])
        self._world.note(f"    {job_id.turn} is {_shown(new)}")
        if old is None:
            self._added(job_id, new)
            return
        changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        self._need(not changed & KEPT_FOR_GOOD, f"{job_id} changed what is kept for good: {changed}")
        if old["Status"] in ENDED:
            self._need(changed <= AFTER_THE_END, f"{job_id} had ended and changed: {changed}")
            return
        for count in ("Attempt", *COUNTS):
            self._need(new.get(count, 0) >= old.get(count, 0), f"{count} of {job_id} went back")
        self.reached |= {name for name in (*COUNTS, "DlqPending", "CancelRequested") if name in changed and name in new}
        if new["Status"] in ENDED:
            self._ended(job_id, old, new)
        elif new["Status"] == "running" and new.get("ClaimId") != old.get("ClaimId"):
            self._claimed(job_id, old, new)
        elif new["Status"] == "queued" and old["Status"] == "running":
            self._requeued(job_id, old, new)
        if "Input" in changed:
            self.reached.add("merged")
            self._need(old["Status"] == "queued" and old["Attempt"] == 0, f"{job_id} was begun and got another input")

    def _added(self, job_id: JobId, new: dict[str, Any]) -> None:
        session = self._session(job_id)
        self._need(session["TurnCount"] == job_id.turn, f"{job_id} was added and is not its session's last turn")
        self._need(job_id.turn in session["OpenTurns"], f"{job_id} was added and is not open in its session")
        if "RetryOf" in new:
            self.reached.add("retried")
            self.retries[job_id.session_id, new["RetryOf"]] += 1
            self._need(self.retries[job_id.session_id, new["RetryOf"]] == 1, f"{job_id} is a second retry of one turn")
            tried = self._world.turn(JobId(job_id.session_id, new["RetryOf"]))
            self._need(tried is not None and tried.status.ended, f"{job_id} is a retry of a turn that had not ended")

    def _claimed(self, job_id: JobId, old: dict[str, Any], new: dict[str, Any]) -> None:
        opened = self._session(job_id).get("OpenTurns", frozenset())
        self._need(job_id.turn == min(opened, default=0), f"{job_id} was claimed and is not the head of {sorted(opened)}")
        self._need("CancelRequested" not in old, f"{job_id} was claimed after its cancellation was asked for")
        if old["Status"] == "running":
            self._need(not self._lease_left(job_id, old["Attempt"]), f"the live lease of {job_id} was stolen")
        came_to = sum(new.get(name, 0) for name in COUNTS) + self.waits[job_id]
        self._need(new["Attempt"] == old["Attempt"] + 1 == came_to + 1, f"the attempts of {job_id} came to something else")
        settings = self._world.settings
        self._need(new.get("Failures", 0) < settings.max_failures, f"{job_id} is tried after its last failure")

    def _requeued(self, job_id: JobId, old: dict[str, Any], new: dict[str, Any]) -> None:
        counted = sum(new.get(name, 0) - old.get(name, 0) for name in COUNTS)
        self._need(counted in (0, 1), f"one attempt of {job_id} was counted twice")
        self._need(new["Attempt"] == old["Attempt"], f"{job_id} was given back with another attempt")
        self.waits[job_id] += not counted

    def _lease_left(self, job_id: JobId, attempt: int) -> float:
        """Say for how many seconds some process may believe that it holds the turn."""
        held = [lease for p in self._world.processes for lease in p.services.leases._held.values()]
        return max((x.left for x in held if x.turn.job_id == job_id and x.turn.attempt == attempt), default=0)

    def _ended(self, job_id: JobId, old: dict[str, Any], new: dict[str, Any]) -> None:
        attempt = int(new["EndId"].split("-")[0])
        self.ends[job_id] += 1
        self._need(job_id.turn not in self._session(job_id).get("OpenTurns", ()), f"{job_id} ended and is still open")
        held = new["EndedBy"] == old.get("ClaimId")
        self._need(attempt == new["Attempt"] == old["Attempt"] + (not held), f"the end of {job_id} does not fence its attempt")
        self.reached.add(f"{new['Status']} by {'its holder' if held else 'somebody else'}")
        if new["Status"] == "completed":
            asked = self._world.model.said.get(new["Answer"])
            self._need(asked is not None, f"{job_id} completed with {new['Answer']!r}: nobody said that")
            self._need(asked == text_of(new["Input"]), f"{job_id} was answered, and {asked!r} is not what was asked")
            self._need(held, f"{job_id} was completed by somebody who did not hold it")
        if new["Status"] == "failed":
            self._need(new["Error"]["code"] != "turn_failed", f"{job_id} failed by a fault of ours")
        self._world.stored_an_end(job_id)

    def _session(self, job_id: JobId) -> dict[str, Any]:
        return from_item(self._world.table.items[self._world.settings.table_name("sessions")][job_id.session_id,])

    # --- every answer to a client

    def accepted(self, text: str, accepted: Accepted) -> None:
        """Look at what a client was told."""
        before = self._world.messages[text]
        self._need(before in (None, accepted.job_id), f"{text!r} was accepted as {before} and as {accepted.job_id}")
        self._world.messages[text] = accepted.job_id
        if accepted.replayed:
            self.reached.add("replayed")

    # --- every event

    def on_event(self, key: str, text: str) -> None:
        """Look at an event that was appended to a log."""
        said = json.loads(text)
        *before, _ = [json.loads(event) for _, event in self._world.redis.streams[key]]
        job_id = JobId.parse(said["job_id"])
        turn = self._world.turn(job_id) if job_id else None
        self._world.note(f"    log of {turn.number if turn else '?'}: {said['id']} {said['type']}")
        self.reached.add(said["type"])
        self._need(not any(e["type"] in TERMINAL for e in before), f"{said['type']} follows the end of {job_id}")
        if said["type"] in TERMINAL:
            self._need(
                turn is not None and str(turn.end_id) == said["id"], f"{job_id} is told to have ended, and its turn says no"
            )
        if turn is None or turn.session_id in self.forgotten:
            return
        same = [e for e in before if e["attempt"] == said["attempt"]]
        self._need(said["seq"] == len(same), f"{job_id} has a gap before {said['id']}")
        if said["type"] == COMPLETED:
            self._need(_text(before) == said["text"], f"the pieces of {job_id} do not join to its answer")

    # --- at rest

    def at_rest(self) -> None:
        """Look at everything once more, when nothing is left to do."""
        for turn in self._world.all_turns():
            job_id = turn.job_id
            self._need(turn.status.ended, f"{job_id} is left {turn.status}")
            self._need(self.ends[job_id] == 1, f"{job_id} ended {self.ends[job_id]} times")
            self._need(not turn.dlq_pending, f"the dead letter of {job_id} was forgotten")
            self._dead_letter(turn)
            failed = turn.failures == self._world.settings.max_failures  # then the last try is one of those
            tries = turn.failures + min(turn.crashes, self._world.settings.max_crashes) + turn.hand_backs + self.waits[job_id]
            tries += not failed
            self._need(self._world.model.calls[str(job_id)] <= tries, f"{job_id} cost more model calls than it had tries")
            ends = [e for _, e in self._world.redis.streams.get(key_of(job_id), []) if json.loads(e)["type"] in TERMINAL]
            excused = job_id in self.unpublished or job_id.session_id in self.forgotten
            self._need(len(ends) == 1 or (excused and not ends), f"{job_id} has {len(ends)} ends in its log")
        for session in self._world.all_sessions():
            self._need(not session.open_turns, f"{session.id} has open turns that are not there: {session.open_turns}")
        self._messages_kept()

    def _dead_letter(self, turn: Turn) -> None:
        held = turn.job_id in self._world.dead_letters.held
        code = turn.error["code"] if turn.status is Status.FAILED and turn.error else None
        last = turn.failures == self._world.settings.max_failures
        if code == "crashed":
            self._need(held, f"{turn.job_id} crashed for good and is not in the dead-letter queue")
        elif code in TRANSIENT and last:
            # Whoever waited an hour for the breaker was not tried for the last time: both are right.
            waited = (
                turn.ended_at is not None and turn.ended_at - turn.created_at > self._world.settings.queue_deadline_seconds * 1000
            )
            self._need(held or waited, f"{turn.job_id} failed for good and is not in the dead-letter queue")
        else:
            self._need(not held, f"{turn.job_id} is in the dead-letter queue: {turn.status} {code}")

    def _messages_kept(self) -> None:
        """Every accepted message stands in one turn, the one that was named; one that was not accepted stands in one at most."""
        said = {turn.job_id: text_of(turn.input).split("\n") for turn in self._world.all_turns()}
        for turn in self._world.all_turns():
            if turn.retry_of is not None:  # what it has from the turn that it tries again was posted to that one
                tried = said[JobId(turn.session_id, turn.retry_of)]
                self._need(said[turn.job_id][: len(tried)] == tried, f"{turn.job_id} does not ask what {turn.retry_of} asked")
        for text, job_id in self._world.messages.items():
            found = [j for j, lines in said.items() if text in lines and not self._from_another(j, text, said)]
            self._need(found == [job_id] or (job_id is None and len(found) <= 1), f"{text!r} was accepted as {job_id}: {found}")

    def _from_another(self, job_id: JobId, text: str, said: dict[JobId, list[str]]) -> bool:
        turn = self._world.turn(job_id)
        return turn is not None and turn.retry_of is not None and text in said[JobId(job_id.session_id, turn.retry_of)]


def _text(events: list[dict[str, Any]]) -> str:
    opening = max((i for i, e in enumerate(events) if e["type"] in OPENING), default=0)
    return "".join(e["text"] for e in events[opening:] if e["type"] in (DELTA, SNAPSHOT) and e.get("kind", "text") == "text")


def _shown(item: dict[str, Any]) -> str:
    names = "Status Attempt Failures Crashes HandBacks Due LeaseEnd CancelRequested EndId DlqPending".split()
    return " ".join(f"{n}={item[n]}" for n in names if item.get(n))


Watch = Callable[[str, Item | None, Item], None]
