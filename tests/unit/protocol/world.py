"""A fleet of processes with the product in them, and everything that may happen to it."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chatapp.errors import ChatappError, StoreUnavailable
from chatapp.flows.lease import Lease
from chatapp.flows.submit import Accepted, Submission
from chatapp.flows.turn import HideUntil
from chatapp.live.events import EventLog
from chatapp.model import JobId, ModelOptions, Session, Status, Turn, text_part
from chatapp.services import Services
from chatapp.stores.dynamo import call, from_item
from chatapp.stores.records import session_item, session_of, turn_of
from config.settings import Settings
from tests.unit.protocol.actors import Actor, Interrupting, reach
from tests.unit.protocol.laws import Laws
from tests.unit.protocol.table import Table
from tests.unit.protocol.wires import (
    Connection,
    DeadLetters,
    DriftingClock,
    Message,
    Model,
    Queue,
    Redis,
    Signals,
    SteppedFlusher,
    Time,
)

USER = "ada"
PREFIX = "p-"
OPTIONS = ModelOptions("m")
STEPS = 3_000
"""More requests than any single call into the product may take."""

IDLE = re.compile(r" *\w+'* (leases|relay)(: (None|0|update_item SET #Owner.*))?|\+3000 ms")

How = tuple[int, str]
"""How far a call goes: so many requests that are fine, then one that meets a fate (`ok`: none more)."""

STORE_AWAY_SECONDS = 5
"""How long a worker hides a message that it could not look at (see tasks/base.py)."""

TO_THE_END: How = (STEPS, "ok")


class Process:
    """One process of the fleet: the product as `chatapp.services` wires it, on the world's wires."""

    def __init__(self, world: "World", name: str, drift: int = 0) -> None:
        self.name = name
        self.drift = drift
        self.paused = False
        clock = DriftingClock(world.time, drift)
        self.flusher = SteppedFlusher(world.redis)  # type: ignore[arg-type]
        events = EventLog(world.redis, clock)  # type: ignore[arg-type]
        events._flusher = self.flusher
        self.services = Services(world.settings)
        wired = {"clock": clock, "name": name, "dynamodb": Connection(world.table, clock), "redis": world.redis, "events": events}
        wired |= {"wakeups": world.queue, "llm": world.model, "dead_letters": world.dead_letters, "signals": world.signals}
        self.services.__dict__.update(wired)
        self.services.leases._pool = _Pool(world, self)  # type: ignore[assignment]
        self.services.leases._interrupts = Interrupting()


@dataclass(frozen=True)
class _Pool:
    """An executor whose threads are actors."""

    world: "World"
    process: Process

    def submit(self, work: Callable[[Lease], None], lease: Lease) -> None:
        self.world.start(self.process, f"renew {_place(lease.turn.job_id)}", lambda: work(lease))


class World:
    """Everything there is. `trace` tells what happened, for whoever reads a violation."""

    def __init__(self, settings: Settings, *, drifts: tuple[int, ...] = (0, 0), sessions: int = 2, relay: bool = True) -> None:
        self.settings = settings
        self.time = Time()
        self.table = Table(settings.dynamodb_table_prefix)
        self.redis = Redis()
        self.queue = Queue(self.time)
        self.model = Model()
        self.dead_letters = DeadLetters()
        self.signals = Signals(self._hear)
        self.trace: list[str] = []
        self.relay = relay
        self.broken: Exception | None = None
        self.healing = False
        self.troubles: Counter[str] = Counter()
        self.actors: list[Actor] = []
        self.messages: dict[str, JobId | None] = {}
        """Every text that was posted, with the job that it was accepted as."""
        self.laws = Laws(self)
        self.clients: list[Process] = []
        self.processes = [Process(self, f"w{i}", drift) for i, drift in enumerate(drifts)]
        self.sessions = [self._session(i) for i in range(sessions)]
        self.table.reach = reach  # from here on: the sessions are there from the beginning
        self.table.watch = self.laws.on_write
        self.redis.watch = self.laws.on_event

    def _session(self, number: int) -> str:
        now = self.time.ms
        made = Session(id=f"{number:032x}", user_id=USER, flow="chat", created_at=now, updated_at=now, expires_at=now + 10**10)
        self.table.put_item(**call(self.settings.table_name("sessions"), item=session_item(made)))
        return made.id

    def note(self, line: str) -> None:
        """Put a line into the trace, but for what is done over and over while all comes to rest."""
        if not (self.healing and IDLE.fullmatch(line)):
            self.trace.append(line)

    # --- the truth, as it is

    def turn(self, job_id: JobId) -> Turn | None:
        """Read a turn."""
        item = self.table.items[self.settings.table_name("turns")].get((job_id.session_id, str(job_id.turn)))
        return turn_of(from_item(item)) if item else None

    def all_turns(self) -> list[Turn]:
        """Read every turn."""
        items = self.table.items[self.settings.table_name("turns")].values()
        return [turn_of(from_item(i)) for i in items if int(i["Turn"]["N"]) > 0]

    def all_sessions(self) -> list[Session]:
        """Read every session."""
        return [session_of(from_item(i)) for i in self.table.items[self.settings.table_name("sessions")].values()]

    def job_ids(self) -> list[JobId]:
        """Name every turn."""
        return [JobId(s, int(n)) for s, n in self.table.items[self.settings.table_name("turns")] if int(n) > 0]

    # --- actors

    def start(
        self,
        process: Process,
        about: str,
        work: Callable[[], object],
        done: Callable[[Actor], None] | None = None,
        message: Message | None = None,
        how: How = (0, "ok"),
    ) -> None:
        """Begin a call into the product, let it come to its first request, and go on from there."""
        actor = Actor(process, about, work)
        actor.message = message

        def finished(actor: Actor) -> None:
            self.note(f"  {actor.process.name} {actor.about}: {actor.error or actor.outcome!r}")
            if actor.error is not None and not isinstance(actor.error, ChatappError):
                raise actor.error
            if actor.error is not None and actor.message is None:
                self.laws.unpublished |= actor.owes
            if done:
                done(actor)

        actor.when_done = finished
        self.actors.append(actor)
        self.note(f"{process.name} {about}")
        if Actor.current() is None:  # else it begins when it is stepped next
            self.step(actor)
            self.run(actor, how)

    def runnable(self) -> list[Actor]:
        """Give the actors that a step may be made with."""
        now = self.time.ms / 1000
        return [a for a in self.actors if not a.process.paused and a.wakes_at <= now]

    def step(self, actor: Actor, fate: str = "ok") -> None:
        """Make one step with an actor."""
        if actor.waits_for != "start":
            self.note(f"  {actor.process.name} {actor.about}: {actor.waits_for[:60]} -> {fate}")
        try:
            actor.step(fate)
        except Exception as error:
            self.broken = error
            raise
        finally:
            if actor.killed or actor.waits_for == "done":
                self.actors.remove(actor)
        if self.broken:
            raise self.broken

    def run(self, actor: Actor, how: How = TO_THE_END) -> None:
        """Make fine steps with an actor, and one more that meets a fate, unless it is done or sleeps before."""
        steps, fate = how
        for n in range(steps + 1):
            if actor not in self.runnable() or (n == steps and fate == "ok"):
                break
            self.step(actor, fate if n == steps else "ok")
        if n == STEPS:
            self.laws.broken(f"{actor.about} does not come to an end")

    def stored_an_end(self, job_id: JobId) -> None:
        """Remember who is to publish an end: should that one be killed, nobody need."""
        current = Actor.current()
        if current is not None:
            current.owes.add(job_id)

    # --- what clients do

    def _client(self) -> Process:
        made = Process(self, f"api{len(self.clients) + 1}")
        self.clients.append(made)
        return made

    def submit(self, session: int, on_busy: str = "enqueue", restart: str = "reset", how: How = TO_THE_END) -> None:
        """Post a message."""
        process = self._client()
        text = f"message {len(self.messages) + 1}"
        self.messages[text] = None
        submission = Submission(
            user_id=USER,
            input=(text_part(text),),
            options=OPTIONS,
            session_id=self.sessions[session],
            on_busy=on_busy,
            restart=restart,
        )

        def accepted(actor: Actor) -> None:
            if isinstance(actor.outcome, Accepted):
                self.messages[text] = actor.outcome.job_id

        self.start(process, f"submit {on_busy} to {session}", lambda: process.services.submit(submission), accepted, how=how)

    def cancel(self, job_id: JobId, how: How = TO_THE_END) -> None:
        """Cancel a turn."""
        self._ask("cancel", job_id, lambda services: services.cancel, how)

    def retry(self, job_id: JobId, how: How = TO_THE_END) -> None:
        """Try an ended turn again."""
        self._ask("retry", job_id, lambda services: services.retry, how)

    def _ask(self, what: str, job_id: JobId, flow: Callable[[Services], Callable[[Turn], object]], how: How) -> None:
        self.troubles[what] += 1
        process = self._client()
        turn = self.turn(job_id)
        if turn is not None:
            self.start(process, f"{what} {_place(job_id)}", lambda: flow(process.services)(turn), how=how)

    def bury(self, session: int) -> None:
        """Delete a session."""
        self.troubles["bury"] += 1
        process = self._client()
        self.laws.forgotten.add(self.sessions[session])
        self.start(process, f"delete {session}", lambda: process.services.delete_session(self.sessions[session], USER))

    # --- what workers do

    def receive(self, process: Process, message: Message, how: How = TO_THE_END) -> None:
        """Give a message to a worker."""
        self.queue.receive(message)
        receipt, job_id = message.receives, message.job_id

        def done(actor: Actor) -> None:
            if message.receives != receipt:
                return  # somebody else has it by now
            if isinstance(actor.error, StoreUnavailable):
                self.queue.hide(message, STORE_AWAY_SECONDS)
                return
            if actor.error is not None:
                raise actor.error
            if isinstance(actor.outcome, HideUntil):
                self.queue.hide(message, actor.outcome.seconds)
            else:
                self.queue.delete(message)

        about = f"answer {_place(job_id)} by message {message.number}"
        self.start(process, about, lambda: process.services.answer(job_id), done, message, how)

    def beat(self, process: Process, what: str, how: How = TO_THE_END) -> None:
        """Let a process look after its leases, or at open work, unless it is at it."""
        if any(a.process is process and a.about == what for a in self.actors) or (what == "relay" and not self.relay):
            return
        work = {"leases": process.services.leases.beat, "relay": process.services.relay.look}[what]
        self.start(process, what, work, how=how)

    def flush(self, process: Process) -> None:
        """Let a process send what its turns have to say."""
        if not process.flusher.idle:
            self.note(f"{process.name} flush")
            process.flusher.beat()

    def hand_back(self, process: Process) -> None:
        """Let a process that stops give its turns back."""
        self.note(f"{process.name} hands back")
        process.services.leases.hand_back()

    def _hear(self, job_id: JobId) -> None:
        for process in self.processes:
            if not process.paused:
                process.services.leases.look(job_id)

    # --- what happens to them

    def kill(self, process: Process) -> Process:
        """Kill a process, and start another in its place."""
        self.note(f"{process.name} KILLED")
        for actor in [a for a in self.actors if a.process is process]:
            actor.kill()
            self.actors.remove(actor)
            if actor.message is None or actor.message.number not in self.queue.messages:
                self.laws.unpublished |= actor.owes
        self.laws.unpublished |= {log.turn.job_id for log in process.flusher._dirty.values() if log.turn.status.ended}
        if process not in self.processes:
            self.clients.remove(process)
            return process
        fresh = Process(self, process.name + "'", process.drift)
        self.processes[self.processes.index(process)] = fresh
        return fresh

    def pause(self, process: Process) -> None:
        """Stop a process, or let it go on."""
        process.paused = not process.paused
        self.note(f"{process.name} {'PAUSED' if process.paused else 'goes on'}")

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.time.ms += ms
        self.note(f"+{ms} ms")

    def lose(self, message: Message) -> None:
        """Lose a message."""
        self.troubles["message"] += 1
        self.note(f"message {message.number} of {_place(message.job_id)} LOST")
        self.queue.delete(message)
        self.laws.unpublished.add(message.job_id)

    def double(self, message: Message) -> None:
        """Double a message."""
        self.troubles["message"] += 1
        self.note(f"message {message.number} of {_place(message.job_id)} doubled")
        self.queue.put(message.job_id)

    def provider(self, fate: str) -> None:
        """Have every call of the model meet a fate from now on."""
        self.note(f"the model: {fate}")
        self.model.mood = fate

    def redis_trouble(self, what: str) -> None:
        """Take Redis away, give it back, or restart it empty."""
        self.troubles["redis"] += 1
        self.note(f"redis {what}")
        self.laws.forgotten.update(self.sessions)
        if what == "restarted empty":
            self.redis.restart_empty()
        self.redis.away = what == "away"

    # --- the end

    def come_to_rest(self, seconds: int = 300) -> None:
        """Take all faults away and let the fleet go on: everything that is open must end within `seconds`.

        Paused processes stay paused until all has ended; then they go on, as zombies, and may change nothing.
        """
        self.note("--- no more faults")
        self.healing = True
        self.redis.away = False
        self.model.mood = "ok"
        for client in self.clients:
            client.paused = False
        if all(p.paused for p in self.processes):
            self.pause(self.processes[0])
        deadline = self.time.ms + seconds * 1000
        self._work_off()
        while self._open_work():
            if self.time.ms > deadline:
                self.laws.broken(f"after {seconds} s without a fault there is still open work")
            self.advance(3_000)
            for process in self.processes:
                if not process.paused:
                    self.beat(process, "leases")
                    self.beat(process, "relay")
            self._work_off()
        while self.queue.messages:  # what was hidden for long, by somebody who stood still for long
            self.advance(max(0, min(m.visible_at for m in self.queue.messages.values()) - self.time.ms))
            self._work_off()
        for process in self.processes:
            if process.paused:
                self.pause(process)
        self._work_off()
        self.laws.at_rest()

    def _open_work(self) -> bool:
        busy = any(not a.process.paused for a in self.actors)
        return busy or not all(t.status.ended and not t.dlq_pending for t in self.all_turns())

    def _work_off(self) -> None:
        for _ in range(STEPS):
            awake = next((p for p in self.processes if not p.paused), None)
            visible = self.queue.visible()
            if actors := self.runnable():
                self.run(actors[0])
            elif visible and awake:
                self.receive(awake, visible[0])
            else:
                break
        else:
            self.laws.broken("the fleet does not come to rest")
        for process in (*self.processes, *self.clients):
            if not process.paused:
                self.flush(process)

    def close(self) -> None:
        """Let go of everything that still runs."""
        for actor in self.actors:
            actor.kill()
        self.actors.clear()


def _place(job_id: JobId) -> str:
    return f"{int(job_id.session_id, 16)}.{job_id.turn}"


def make_settings(**more: Any) -> Settings:
    """Make the settings of a world. What is counted ends early, so that it is reached in few steps."""
    return Settings.model_validate(
        {"max_failures": 2, "max_crashes": 2, "env": "test", "dynamodb_table_prefix": PREFIX, "openai_api_key": "test", **more}
    )
