"""A fleet of processes that carry effects out, and everything that may happen to it."""

# ruff: noqa: ARG002  the wires have the interface of the real ones

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatapp.effects import OUTBOUND, Effect, EffectId, EffectStatus, Kind
from chatapp.errors import ChatappError, QueueUnavailable, StoreUnavailable
from chatapp.flows.turn import HideUntil
from chatapp.model import Session
from chatapp.ports import Called, CallOutcome
from chatapp.services import Services
from chatapp.stores.dynamo import call, from_item
from chatapp.stores.effect_records import effect_item, effect_key, effect_of
from config.resources import VISIBILITY_SECONDS
from config.settings import Settings
from tests.unit.effects_model.laws import Laws
from tests.unit.protocol.actors import Actor, reach
from tests.unit.protocol.scheduler import TO_THE_END, How, Scheduler
from tests.unit.protocol.table import Table
from tests.unit.protocol.wires import Connection, DriftingClock, Time

SESSION = f"{1:032x}"
USER = "ada"
PREFIX = "p-"
STORE_AWAY_SECONDS = 5
"""How long a worker hides a message that it could not look at (see tasks/base.py)."""

SETTINGS = Settings.model_validate(
    {"env": "test", "dynamodb_table_prefix": PREFIX, "openai_api_key": "test", "effect_max_attempts": 3}
)
ASKED = "book"
"""The action whose target says afterwards what became of a call; the others' do not."""


@dataclass
class Message:
    """A wake-up in the queue. `returned`: it was in the dead-letter queue."""

    number: int
    effect_id: EffectId
    visible_at: int
    returned: bool = False
    receives: int = 0


@dataclass
class Queue:
    """The `EffectWakeUps` port, and the queue behind it."""

    time: Time
    messages: dict[int, Message] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def send_effect(self, effect_id: EffectId, *, user_id: str, delay: float = 0) -> None:
        self._take([effect_id])

    def send_effects(self, effects: Sequence[Effect]) -> None:
        self._take([effect.id for effect in effects])

    def _take(self, batch: list[EffectId]) -> None:
        fate = reach("send", str([e.id for e in batch]))
        if fate in ("ok", "lost"):
            for effect_id in batch:
                self.put(effect_id)
        if fate != "ok":
            raise QueueUnavailable

    def put(self, effect_id: EffectId, *, returned: bool = False) -> None:
        """Hold a message."""
        message = Message(next(self._numbers), effect_id, self.time.ms, returned)
        self.messages[message.number] = message

    def visible(self) -> list[Message]:
        """Give the messages that may be received."""
        return [m for m in self.messages.values() if m.visible_at <= self.time.ms]


@dataclass
class Letters:
    """The `DeadEffects` port: `held` is what was ever put there, `there` what is."""

    held: set[EffectId] = field(default_factory=set)
    there: list[EffectId] = field(default_factory=list)

    def put_effect(self, effect: Effect) -> None:
        fate = reach("dead letter", effect.id.id)
        if fate in ("ok", "lost"):
            self.held.add(effect.id)
            self.there.append(effect.id)
        if fate != "ok":
            raise QueueUnavailable


class Events:
    """The `SessionEvents` port: fails open."""

    def tell(self, session_id: str, kind: str, /, **fields: Any) -> None:
        reach("tell", kind)


@dataclass
class Way:
    """The `Caller` port of one process: it gives a call up when its time is over, before it sends anything or after it."""

    world: "EffectsWorld"
    clock: DriftingClock

    def call(self, effect: Effect) -> Called:
        give_up = self.clock.monotonic() + self.world.settings.effect_timeout_seconds
        fate = reach("call", effect.id.id)
        fate = self.world.mood if fate == "ok" else fate
        if self.clock.monotonic() > give_up:
            return self._said(CallOutcome.UNKNOWN)
        if fate == "fail":
            return self._said(CallOutcome.NOT_SENT)
        self.world.laws.called(effect, done=fate in ("ok", "lost"))
        outcomes = {"conflict": CallOutcome.REFUSED, "limited": CallOutcome.RETRY_LATER, "ok": CallOutcome.DONE}
        return self._said(outcomes.get(fate, CallOutcome.UNKNOWN))

    def status(self, effect: Effect) -> Called | None:
        if effect.name != ASKED:
            return None
        if reach("status", effect.id.id) != "ok":
            return self._said(CallOutcome.RETRY_LATER)
        return self._said(CallOutcome.DONE if self.world.laws.done[effect.id] else CallOutcome.NOT_SENT)

    def _said(self, outcome: CallOutcome) -> Called:
        error = None if outcome is CallOutcome.DONE else {"code": outcome.value, "message": "as it was told to"}
        return Called(outcome=outcome, error=error, dead_letter=outcome is CallOutcome.REFUSED)


class Process:
    """One process of the fleet: the product as `chatapp.services` wires it, on the world's wires."""

    def __init__(self, world: "EffectsWorld", name: str, drift: int = 0) -> None:
        self.name = name
        self.drift = drift
        self.paused = False
        clock = DriftingClock(world.time, drift)
        self.services = Services(world.settings)
        wired = {"clock": clock, "name": name, "dynamodb": Connection(world.table, clock), "caller": Way(world, clock)}
        wired |= {"wakeups": world.queue, "dead_letters": world.letters, "session_log": Events()}
        self.services.__dict__.update(wired)
        self.services.effects.get(EffectId(SESSION, "a0-0"))  # as workers do before their first message: it sets their clock


class EffectsWorld(Scheduler):
    """Everything there is: an action that can be asked about, one that cannot, and a delivery."""

    def __init__(self, *, drifts: tuple[int, ...] = (0, 0), relay: bool = True) -> None:
        super().__init__(Time())
        self.settings = SETTINGS
        self.table = Table(PREFIX)
        self.queue = Queue(self.time)
        self.letters = Letters()
        self.mood = "ok"
        self.relay = relay
        self.laws = Laws(self)
        self.clients: list[Process] = []
        self.processes = [Process(self, f"w{i}", drift) for i, drift in enumerate(drifts)]
        self.session = Session(id=SESSION, user_id=USER, flow="chat", created_at=0, updated_at=0, expires_at=10**14)
        self.actions = [self._put(EffectId.action(SESSION, 1, n), name) for n, name in enumerate((ASKED, "note"))]
        self._put(EffectId.reply(SESSION, 1), "turn")
        self.table.reach = reach  # from here on: these are there from the beginning
        self.table.watch = self.laws.on_write

    def _put(self, effect_id: EffectId, name: str) -> EffectId:
        now = self.time.ms
        staged = effect_id.kind is Kind.ACTION
        fields: dict[str, Any] = {"status": EffectStatus.STAGED, "expires_at": now + 3_600_000, "reply": True}
        if not staged:
            fields = {"status": EffectStatus.CONFIRMED, "expires_at": now, "target": OUTBOUND, "wake_at": now + 10_000}
        effect = Effect(id=effect_id, user_id=USER, name=name, created_at=now, **fields)
        self.table.put_item(**call(self.settings.table_name("pending-actions"), item=effect_item(effect)))
        return effect_id

    # --- the truth, as it is

    def effect(self, effect_id: EffectId) -> Effect | None:
        """Read an effect."""
        item = self.table.items[self.settings.table_name("pending-actions")].get(tuple(effect_key(effect_id).values()))
        return effect_of(from_item(item)) if item else None

    def effects(self) -> list[Effect]:
        """Read them all."""
        return [effect_of(from_item(i)) for i in self.table.items[self.settings.table_name("pending-actions")].values()]

    def failed(self, actor: Actor) -> None:
        """Look at a call that raised."""
        if not isinstance(actor.error, ChatappError):
            raise actor.error or RuntimeError(actor.about)

    # --- what people do

    def ask(self, what: str, effect_id: EffectId, how: How = TO_THE_END) -> None:
        """Have a user confirm or cancel, or an operator resolve as the target has it."""
        process = Process(self, f"api{len(self.clients) + 1}")
        self.clients.append(process)
        services, done = process.services, self.laws.done[effect_id] > 0
        work: dict[str, Callable[[], object]] = {
            "confirm": lambda: services.actions.confirm(self.session, effect_id.id, by="http"),
            "cancel": lambda: services.actions.cancel(self.session, effect_id.id),
            "resolve": lambda: services.resolving.resolve(effect_id, executed=done),
            "revive": lambda: services.resolving.revive(effect_id),
        }
        self.start(process, f"{what} {effect_id.id}", work[what], how=how)

    def redrive(self, effect_id: EffectId) -> None:
        """Give a dead letter back to the queue, as AWS does: it bears the reason still."""
        self.note(f"{effect_id.id} redriven")
        self.letters.there.remove(effect_id)
        self.queue.put(effect_id, returned=True)

    # --- what workers do

    def receive(self, process: Process, message: Message, how: How = TO_THE_END) -> None:
        """Give a message to a worker, which does with it what tasks/effects.py and tasks/base.py do."""
        message.receives += 1
        message.visible_at = self.time.ms + VISIBILITY_SECONDS * 1000
        receipt, services = message.receives, process.services

        def work() -> HideUntil | None:
            if message.returned:
                services.resolving.revive(message.effect_id)
            return services.effect_runner(message.effect_id)

        def done(actor: Actor) -> None:
            if message.receives != receipt:
                return  # somebody else has it by now
            if isinstance(actor.error, StoreUnavailable):
                message.visible_at = self.time.ms + STORE_AWAY_SECONDS * 1000
            elif actor.error is not None:
                raise actor.error
            elif isinstance(actor.outcome, HideUntil):
                message.visible_at = self.time.ms + round(actor.outcome.seconds * 1000)
            else:
                self.queue.messages.pop(message.number, None)

        about = f"carry out {message.effect_id.id} by message {message.number}"
        self.start(process, about, work, done, message=message, how=how)

    def look(self, process: Process, how: How = TO_THE_END) -> None:
        """Let a process's relay look at open work, unless it is at it."""
        if self.relay and not any(a.process is process and a.about == "relay" for a in self.actors):
            self.start(process, "relay", process.services.effect_relay.look, how=how)

    # --- what happens to them

    def kill(self, process: Process) -> None:
        """Kill a process, and start another in its place."""
        self.note(f"{process.name} KILLED")
        for actor in [a for a in self.actors if a.process is process]:
            actor.kill()
            self.actors.remove(actor)
        if process in self.processes:
            self.processes[self.processes.index(process)] = Process(self, process.name + "'", process.drift)
        else:
            self.clients.remove(process)

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
        self.note(f"message {message.number} of {message.effect_id.id} LOST")
        self.queue.messages.pop(message.number, None)

    def double(self, message: Message) -> None:
        """Double a message."""
        self.note(f"message {message.number} of {message.effect_id.id} doubled")
        self.queue.put(message.effect_id, returned=message.returned)

    # --- the end of a run

    def come_to_rest(self, seconds: int = 240) -> None:
        """Take all faults away and let the fleet go on: every effect must end within `seconds`, or be known as unknown.

        Paused processes stay paused until all has ended; then they go on, as zombies, and may change nothing.
        """
        self.note("--- no more faults")
        self.healing, self.mood = True, "ok"
        for client in self.clients:
            client.paused = False
        if all(p.paused for p in self.processes):
            self.pause(self.processes[0])
        until = self.time.ms + seconds * 1000
        self._work_off()
        while self._open_work():
            if self.time.ms > until:
                self.laws.broken(f"after {seconds} s without a fault there is still open work")
            self._wait()
        for process in self.processes:
            if process.paused:
                self.pause(process)
        for _ in range(20):
            self._wait()
        self.laws.at_rest()

    def _open_work(self) -> bool:
        busy = any(not a.process.paused for a in self.actors)
        return busy or any(e.status in (EffectStatus.CONFIRMED, EffectStatus.EXECUTING) or e.dlq_pending for e in self.effects())

    def _wait(self) -> None:
        self.advance(3_000)
        for process in self.processes:
            if not process.paused:
                self.look(process)
        self._work_off()

    def _work_off(self) -> None:
        for _ in range(3_000):
            awake = next((p for p in self.processes if not p.paused), None)
            visible = self.queue.visible()
            if actors := self.runnable():
                self.run(actors[0])
            elif visible and awake:
                self.receive(awake, visible[0])
            else:
                return
        self.laws.broken("the fleet does not come to rest")
