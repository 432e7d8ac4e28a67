"""A session with its worker, its Redis and its table; one socket's subscriptions; and the client at the other end."""

import json
from collections import deque
from dataclasses import dataclass, field, replace

from chatapp.frames import Resume
from chatapp.live.following import Event
from chatapp.live.replay import Replay
from chatapp.model import EventId, JobId, Status
from chatapp.payloads import OPENING, TERMINAL
from tests.unit.resuming import SID, Logs, made, session, stored
from ws.notices import Gap, Live
from ws.subscriptions import Subscriptions


@dataclass
class View:
    """What the client has of a turn. `truth` holds the text that an answer had when an event was made, by its id."""

    truth: dict[str, str]
    events: list[Event] = field(default_factory=list)
    text: str = ""

    @property
    def ended(self) -> bool:
        return bool(self.events) and self.events[-1].terminal

    def take(self, event: Event) -> None:
        """Take an event, and check that no text is missing or doubled."""
        assert not self.ended, event
        assert not self.events or event.id > self.events[-1].id, event
        fields = json.loads(event.text)
        if event.terminal or event.kind == "message_snapshot":
            self.text = fields["text"]
        elif event.kind in OPENING:
            self.text = ""
        else:
            assert self.events, f"the first event of an answer is {event}"
            self.text += fields.get("text", "")
        assert self.text == self.truth[str(event.id)], event
        self.events.append(event)


class World:
    """One user `ann`, one session. Time is in seconds."""

    socket_id = "socket"

    def __init__(self) -> None:
        self.logs = Logs()
        self.logs.events[0] = []
        self.turns = 0
        self.open: set[int] = set()
        self.next: dict[int, tuple[int, int]] = {}
        self.texts: dict[int, str] = {}
        self.answers: dict[int, str] = {}
        self.ends: dict[int, EventId] = {}
        self.truth: dict[int, dict[str, str]] = {}
        self.said: list[Event] = []  # notices
        self.epoch = 1_700_000_000
        self.attached = self.lossy = self.cut = self.unsure = False
        self.deleted = False
        self.away: Exception | None = None
        self.inbox: deque[Live | Gap] = deque()
        self.client: dict[int, View] = {}
        self.notes: list[Event] = []
        self.notes_from = 0
        self.note_cursor: str | None = None
        self.promised: set[int] = set()
        self.above = 0
        self.asked = 0
        self.seconds = 1.0
        self.may_look = lambda: True
        self.connect()

    # --- what the subscriptions use

    def now(self) -> int:
        return 2_000

    def monotonic(self) -> float:
        return self.seconds

    def attach(self, _session_id, _socket) -> None:
        self.attached = True

    def detach(self, _session_id, _socket) -> None:
        self.attached = False

    def get(self, key):
        self.asked += 1
        if self.away:
            raise self.away
        if isinstance(key, JobId):
            end = self.ends.get(key.turn)
            turn = stored(key.turn, Status.COMPLETED if end else Status.QUEUED, end)
            return replace(turn, answer=self.answers.get(key.turn))
        self.logs.before_read()
        return None if self.deleted else session(self.turns, frozenset(self.open))

    def send(self, text: str) -> None:
        frame = json.loads(text)
        if frame["type"] == "subscribed":
            self._subscribed(frame)
            return
        event = Event.decode(text)
        if event.job_id.turn:
            self._view(event.job_id.turn).take(event)
            return
        assert not self.notes or event.id > self.notes[-1].id
        self.notes.append(event)
        self.note_cursor = str(event.id)

    def _subscribed(self, frame) -> None:
        self.promised = set()
        for entry in frame["turns"]:
            turn = JobId.parse(entry["job_id"]).turn
            self.promised.add(turn)
            if not entry["recovered"]:
                self.client.pop(turn, None)
        self.above = self.subscriptions._followed[SID].follower.highest
        if self.note_cursor is None:
            self.note_cursor = frame["log"]["after"]
            self.notes_from = sum(said.id <= EventId.parse(self.note_cursor) for said in self.said)

    def _view(self, turn: int) -> View:
        return self.client.setdefault(turn, View(self.truth[turn]))

    # --- the worker

    def submit(self) -> None:
        self.turns += 1
        self.open.add(self.turns)
        self.next[self.turns], self.texts[self.turns], self.truth[self.turns] = (1, 0), "", {}

    def say(self, kind: str, turn: int | None = None) -> None:
        """The attempt says something; a cancel of a waiting turn ends it without one."""
        turn = turn or min(self.open, default=None)
        if turn is None:
            return
        attempt, seq = self.next[turn]
        if seq == 0 and kind in ("message_delta", "message_retrying"):
            self._write(turn, "message_started" if attempt == 1 else "message_reset", text="")
            attempt, seq = self.next[turn]
        elif kind == "message_delta":
            self.texts[turn] += (piece := f"{turn}.{attempt}.{seq} ")
            self._write(turn, kind, text=piece)
        if kind == "message_retrying":
            self._write(turn, kind)
            self.next[turn], self.texts[turn] = (attempt + 1, 0), ""
        if kind in TERMINAL:
            self._store_end(turn)
            self._write(turn, kind, text=self.answers[turn])

    def _store_end(self, turn: int) -> None:
        attempt, seq = self.next[turn]
        self.answers[turn], self.ends[turn] = self.texts[turn], EventId(attempt, seq)
        self.open.discard(turn)

    def _write(self, turn: int, kind: str, **fields) -> None:
        """Do what append.lua does; a log that was lost is begun anew with the text so far."""
        attempt, seq = self.next[turn]
        self.next[turn] = (attempt, seq + 1)
        said = made(turn, attempt, seq, kind, **fields)
        log = self.logs.events.get(turn)
        follows = bool(log) and (seq == 0 or log[-1].id >= EventId(attempt, seq - 1))
        if follows or said.kind in OPENING or said.terminal:
            self._append(turn, said, self.answers[turn] if said.terminal else "" if seq == 0 else self.texts[turn])
        elif kind == "message_delta":
            self._write(turn, "message_snapshot", text=self.texts[turn])

    def _append(self, turn: int, said: Event, text: str) -> None:
        self.truth[turn][str(said.id)] = text
        self.logs.events.setdefault(turn, []).append(said)
        self.logs.owner = "ann"
        self._publish(said)

    def _publish(self, said: Event) -> None:
        if self.attached and not self.cut and not self.lossy:
            self.inbox.append(Live(said))

    def end_unpublished(self) -> None:
        """The worker stores the end of the head, and is killed before it can say so."""
        if self.open:
            turn = min(self.open)
            self._store_end(turn)
            self.truth[turn][str(self.ends[turn])] = self.answers[turn]

    def publish_again(self) -> None:
        """Whoever receives the message of such a turn publishes its end."""
        for turn, end in self.ends.items():
            if (log := self.logs.events.get(turn)) is None or log[-1].id < end:
                self._append(
                    turn, made(turn, end.attempt, end.seq, "message_completed", text=self.answers[turn]), self.answers[turn]
                )

    def notice(self) -> None:
        """An event on the session's own log."""
        log = self.logs.events[0]
        said = made(0, self.epoch, log[-1].id.seq + 1 if log else 0, "notice")
        log.append(said)
        self.said.append(said)
        self._publish(said)

    # --- the client and the network

    def connect(self) -> None:
        self.inbox.clear()
        self.attached = False
        self.subscriptions = Subscriptions(
            self,
            hub=self,
            sessions=self,
            replay=Replay(self.logs, self),
            clock=self,
            send=self.send,
            limit=1,
            may_look=self.may_look,
        )

    def subscribe(self, *, resume: bool) -> None:
        """The client comes, for the first time or from its cursors."""
        self.connect()
        wanted = self.owed() - {turn for turn, view in self.client.items() if view.ended}
        at = None
        if resume and wanted:
            first = min(wanted)
            seen = self.client[first].events if first in self.client else []
            at = Resume(job_id=f"{SID}.{first}", after=str(seen[-1].id) if seen else None)
            self.client = {turn: view for turn, view in self.client.items() if turn <= first}
        else:
            self.client.clear()
        if not resume:
            self.notes, self.note_cursor = [], None
        self.subscriptions.begin(SID, "ann", at, None, EventId.parse(self.note_cursor) if self.note_cursor else None)

    def owed(self) -> set[int]:
        """The turns whose ends the client waits for, or has."""
        return {*self.promised, *range(self.above + 1, self.turns + 1)}

    def owed_notes(self) -> list[Event]:
        return self.said[self.notes_from :]

    def step(self) -> None:
        """The worker of the socket takes one item."""
        if not self.inbox:
            return
        match self.inbox.popleft():
            case Live(event=live):
                self.subscriptions.live(live)
            case Gap():
                self.subscriptions.catch_up(SID)

    def wait(self, seconds: float) -> None:
        """Time passes; what is due is done."""
        self.seconds += seconds
        if self.subscriptions.due_at <= self.seconds:
            self.subscriptions.look()

    def rest(self) -> None:
        """Everything works again, and all that is due is done."""
        self.back()
        for _ in range(6):
            while self.inbox:
                self.step()
            self.wait(61)

    def lose(self) -> None:
        """One event of a turn that is followed goes to the log only, and nobody is told."""
        self.lossy = min(self.open, default=0) in self.known()
        self.say("message_delta")
        self.lossy = False

    def known(self) -> set[int]:
        """The turns that the socket follows or has seen the end of."""
        return set(range(self.subscriptions._followed[SID].follower.highest + 1))

    def back(self) -> None:
        """The connection to Redis is there again."""
        if self.cut and self.attached:
            self.inbox.append(Gap(SID))
        self.cut = False

    def fall(self) -> None:
        self.cut = True

    # --- what Redis loses

    def restart(self) -> None:
        """Redis comes back empty."""
        self.cut = True
        self.logs.events, self.logs.owner = {0: []}, None
        self.epoch += 1
        self.back()

    def take_over(self) -> None:
        """A replica takes over that had not yet been given the last events."""
        self.cut = True
        for turn in self.open:
            if log := self.logs.events.get(turn):
                del log[-(len(log) // 2 + 1) :]
                if not log:
                    del self.logs.events[turn]
        self.back()

    def expire(self) -> None:
        """The log of a turn that has ended is gone."""
        for turn in [t for t in self.logs.events if t and t not in self.open]:
            del self.logs.events[turn]


ACTS = {
    "submit": World.submit,
    "delta": lambda w: w.say("message_delta"),
    "retry": lambda w: w.say("message_retrying"),
    "end": lambda w: w.say("message_completed"),
    "cancel the last": lambda w: w.say("message_cancelled", max(w.open, default=None)),
    "notice": World.notice,
    "step": World.step,
    "subscribe": lambda w: w.subscribe(resume=False),
    "resume": lambda w: w.subscribe(resume=True),
    "lose": World.lose,
    "cut": World.fall,
    "back": World.back,
    "wait": lambda w: w.wait(11),
}
FAULTS = {
    "restart": World.restart,
    "take over": World.take_over,
    "expire": World.expire,
    "end unpublished": World.end_unpublished,
}
