"""The scheduler: begins calls into the product, and steps them."""

import re
from collections.abc import Callable

from tests.unit.protocol.actors import Actor
from tests.unit.protocol.process import Process
from tests.unit.protocol.wires import Message, Time

STEPS = 3_000
"""More requests than any single call into the product may take."""

IDLE = re.compile(r" *\w+'* (leases|relay)(: (None|0|update_item SET #Owner.*))?|\+3000 ms")

How = tuple[str, str]
"""How far a call goes: up to a kind of request (it is stopped before it), which then meets a fate (`ok`: none yet)."""

TO_THE_END: How = ("the end", "ok")


class Scheduler:
    """Holds the actors. `trace` tells what happened, for whoever reads a violation; `broken` is the first one."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.actors: list[Actor] = []
        self.trace: list[str] = []
        self.broken: Exception | None = None
        self.healing = False

    def note(self, line: str) -> None:
        """Put a line into the trace, but for what is done over and over while all comes to rest."""
        if not (self.healing and IDLE.fullmatch(line)):
            self.trace.append(line)

    def start(
        self,
        process: Process,
        about: str,
        work: Callable[[], object],
        done: Callable[[Actor], None] | None = None,
        *,
        message: Message | None = None,
        how: How = ("", "ok"),
    ) -> None:
        """Begin a call into the product, let it come to its first request, and go on from there."""
        actor = Actor(process, about, work)
        actor.message = message

        def finished(actor: Actor) -> None:
            self.note(f"  {actor.process.name} {actor.about}: {actor.error or actor.outcome!r}")
            if actor.error is not None:
                self.failed(actor)
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
        """Make steps with an actor until it comes to a kind of request, or is done, or sleeps; then that request meets a fate."""
        stop, fate = how
        for _ in range(STEPS):
            if actor not in self.runnable():
                return
            if actor.waits_for.startswith(stop):
                break
            self.step(actor)
        else:
            raise RuntimeError(f"{actor.about} does not come to an end")
        if fate != "ok":
            self.step(actor, fate)

    def failed(self, actor: Actor) -> None:
        """Look at a call that raised."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of everything that still runs."""
        for actor in self.actors:
            actor.kill()
        self.actors.clear()
