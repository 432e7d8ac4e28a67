"""Actors: pieces of the product's code, each a greenlet that stops before every request it makes of the world.

Whoever steps an actor chooses the fate of the request that it waits for.
"""

from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

FATES = ("ok", "fail", "lost", "conflict", "limited", "breaker")
"""ok: done and answered. fail: not done. lost: done, but the answer does not arrive (of the model: cut short). conflict: two
writes met, not done (of the model: refused for good). limited, breaker: of the model."""


class Killed(BaseException):
    """The process died: nothing of it runs on. No `except Exception` and no fail-open may catch it."""


class Actor(greenlet):
    """A call into the product. `process` is whose call it is; `about` says for the trace what it does.

    `message` is the message that it answers, if it answers one; `owes` are the jobs whose stored end it has yet to publish.
    """

    def __init__(self, process: Any, about: str, work: Callable[[], object]) -> None:
        super().__init__()
        self.process = process
        self.about = about
        self._work = work
        self.waits_for = "start"
        self.wakes_at = 0.0
        self.killed = False
        self.outcome: object = None
        self.error: Exception | None = None
        self.when_done: Callable[[Actor], None] = lambda _actor: None
        self.message: Any = None
        self.owes: set[object] = set()
        self.interrupts: list[tuple[Exception, Callable[[], bool]]] = []

    def run(self, _fate: str) -> None:
        """Do the work. For greenlet: the first step begins it."""
        try:
            self.outcome = self._work()
        except Killed:
            return
        except Exception as error:  # noqa: BLE001  what a flow raises is its answer to who called it
            self.error = error
        self.waits_for = "done"
        self.when_done(self)

    @staticmethod
    def current() -> "Actor | None":
        """Give the actor that runs now."""
        found = getcurrent()
        return found if isinstance(found, Actor) else None

    def step(self, fate: str = "ok") -> None:
        """Let the request that is waited for meet its fate, or be broken off, and run up to the next one."""
        self.parent = getcurrent()
        while self.interrupts:
            error, still_waits = self.interrupts.pop(0)
            if still_waits():
                self.interrupts.clear()
                self.throw(error)
                return
        self.switch(fate)

    def kill(self) -> None:
        """End it here and now: what its cleaning up would ask of the world does not happen."""
        self.killed = True
        if self:  # it has begun and not ended
            self.parent = getcurrent()
            self.throw(Killed)


class Interrupting:
    """The `Interrupts` port: the exception is raised in the actor when it is stepped next, if it waits there by then."""

    def here(self) -> Callable[[Exception, Callable[[], bool]], None]:
        """Make an interrupt of the current actor."""
        actor = Actor.current()
        if actor is None:
            raise RuntimeError("only an actor can be interrupted")
        return lambda error, still_waits: actor.interrupts.append((error, still_waits))


def reach(what: str, detail: str = "") -> str:
    """Stand before a request. Returns: its fate. Raises: Killed. The test's own requests are always fine."""
    actor = Actor.current()
    if actor is None:
        return "ok"
    if actor.killed:
        raise Killed
    actor.waits_for = f"{what} {detail}".strip()
    fate: str = actor.parent.switch()
    return fate


def wait_until(seconds: float) -> None:
    """Let the current actor sleep until the world's monotonic time is `seconds`."""
    actor = Actor.current()
    if actor is not None:
        actor.wakes_at = seconds
        reach("sleep")
        actor.wakes_at = 0.0
