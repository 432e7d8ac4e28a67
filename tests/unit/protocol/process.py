"""One process of the fleet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatapp.flows.lease import Lease
from chatapp.live.events import EventLog
from chatapp.services import Services
from tests.unit.protocol.actors import Interrupting
from tests.unit.protocol.live import SteppedFlusher
from tests.unit.protocol.wires import Connection, DriftingClock

if TYPE_CHECKING:
    from tests.unit.protocol.world import World


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
        self.world.start(self.process, f"renew {lease.turn.number}", lambda: work(lease))
