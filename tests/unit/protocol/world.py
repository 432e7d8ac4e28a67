"""A fleet of processes with the product in them, and everything that may happen to it."""

from collections.abc import Callable
from typing import Any

from chatapp.errors import ChatappError, StoreUnavailable
from chatapp.flows.submit import Accepted, Idempotency, Submission
from chatapp.flows.turn import HideUntil
from chatapp.model import JobId, ModelOptions, Session, Turn, text_of, text_part
from chatapp.services import Services
from chatapp.stores.dynamo import call, from_item
from chatapp.stores.records import session_item, session_of, turn_of
from config.settings import Settings
from tests.unit.protocol.actors import Actor, reach
from tests.unit.protocol.laws import Laws
from tests.unit.protocol.live import Redis
from tests.unit.protocol.process import Process
from tests.unit.protocol.scheduler import TO_THE_END, How, Scheduler
from tests.unit.protocol.table import Table
from tests.unit.protocol.wires import DeadLetters, Message, Model, Queue, Signals, Time

USER = "ada"
PREFIX = "p-"
OPTIONS = ModelOptions("m")
STORE_AWAY_SECONDS = 5
"""How long a worker hides a message that it could not look at (see tasks/base.py)."""


class World(Scheduler):
    """Everything there is."""

    def __init__(self, settings: Settings, *, drifts: tuple[int, ...] = (0, 0), sessions: int = 2, relay: bool = True) -> None:
        super().__init__(Time())
        self.settings = settings
        self.table = Table(settings.dynamodb_table_prefix)
        self.redis = Redis()
        self.queue = Queue(self.time)
        self.model = Model()
        self.dead_letters = DeadLetters()
        self.signals = Signals(self._hear)
        self.relay = relay
        self.messages: dict[str, JobId | None] = {}
        """Every text that was posted, with the job that it was accepted as."""
        self.repeatable: list[Submission] = []
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

    # --- who publishes an end

    def stored_an_end(self, job_id: JobId) -> None:
        """Remember who is to publish an end: should that one be killed, nobody need."""
        current = Actor.current()
        if current is not None:
            current.owes.add(job_id)

    def failed(self, actor: Actor) -> None:
        """Look at a call that raised: what it owed is published when its message comes again, or by nobody."""
        if not isinstance(actor.error, ChatappError):
            raise actor.error or RuntimeError(actor.about)
        if actor.message is None:
            self.laws.unpublished |= actor.owes

    # --- what clients do

    def _client(self) -> Process:
        made = Process(self, f"api{len(self.clients) + 1}")
        self.clients.append(made)
        return made

    def submit(self, session: int, on_busy: str = "enqueue", restart: str = "reset", how: How = TO_THE_END) -> None:
        """Post a message. Every other one has an idempotency key."""
        text = f"message {len(self.messages) + 1}"
        self.messages[text] = None
        key = Idempotency(text, "same") if len(self.messages) % 2 else None
        submission = Submission(
            user_id=USER,
            input=(text_part(text),),
            options=OPTIONS,
            session_id=self.sessions[session],
            on_busy=on_busy,
            restart=restart,
            idempotency=key,
        )
        if key:
            self.repeatable.append(submission)
        self._post(submission, f"submit {on_busy} to {session}", how)

    def submit_again(self, submission: Submission, how: How = TO_THE_END) -> None:
        """Post a message once more, under the same key: perhaps its answer was lost."""
        self._post(submission, "submit again", how)

    def _post(self, submission: Submission, about: str, how: How) -> None:
        process = self._client()
        text = text_of(submission.input)

        def accepted(actor: Actor) -> None:
            if isinstance(actor.outcome, Accepted):
                self.laws.accepted(text, actor.outcome)

        self.start(process, f"{about}: {text}", lambda: process.services.submit(submission), accepted, how=how)

    def cancel(self, job_id: JobId, how: How = TO_THE_END) -> None:
        """Cancel a turn."""
        self._ask("cancel", job_id, lambda services: services.cancel, how)

    def retry(self, job_id: JobId, how: How = TO_THE_END) -> None:
        """Try an ended turn again."""
        self._ask("retry", job_id, lambda services: services.retry, how)

    def _ask(self, what: str, job_id: JobId, flow: Callable[[Services], Callable[[Turn], object]], how: How) -> None:
        process = self._client()
        turn = self.turn(job_id)
        if turn is not None:
            self.start(process, f"{what} {_place(job_id)}", lambda: flow(process.services)(turn), how=how)

    def bury(self, session: int, how: How = TO_THE_END) -> None:
        """Delete a session."""
        process = self._client()
        self.laws.forgotten.add(self.sessions[session])
        self.start(process, f"delete {session}", lambda: process.services.delete_session(self.sessions[session], USER), how=how)

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
        self.start(process, about, lambda: process.services.answer(job_id), done, message=message, how=how)

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
        self.note(f"message {message.number} of {_place(message.job_id)} LOST")
        self.queue.delete(message)
        self.laws.unpublished.add(message.job_id)

    def double(self, message: Message) -> None:
        """Double a message."""
        self.note(f"message {message.number} of {_place(message.job_id)} doubled")
        self.queue.put(message.job_id)

    def provider(self, fate: str) -> None:
        """Have every call of the model meet a fate from now on."""
        self.note(f"the model: {fate}")
        self.model.mood = fate

    def redis_trouble(self, what: str) -> None:
        """Take Redis away, give it back, or restart it empty."""
        self.note(f"redis {what}")
        self.laws.forgotten.update(self.sessions)
        if what == "restarted empty":
            self.redis.restart_empty()
        self.redis.away = what == "away"
        for process in (*self.processes, *self.clients):
            if not process.paused:
                self.flush(process)


def _place(job_id: JobId) -> str:
    return f"{int(job_id.session_id, 16)}.{job_id.turn}"


def make_settings(**more: Any) -> Settings:
    """Make the settings of a world. What is counted ends early, so that it is reached in few steps."""
    return Settings.model_validate(
        {"max_failures": 2, "max_crashes": 2, "env": "test", "dynamodb_table_prefix": PREFIX, "openai_api_key": "test", **more}
    )
