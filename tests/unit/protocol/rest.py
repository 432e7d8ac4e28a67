"""The end of a run: no more faults, and everything that is open must end."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.unit.protocol.world import World

TURNS = 3_000
"""More calls than it can take to come to rest."""


def come_to_rest(world: "World", seconds: int = 180) -> None:
    """Take all faults away and let the fleet go on: everything that is open must end within `seconds`.

    Paused processes stay paused until all has ended; then they go on, as zombies, and may change nothing.
    """
    _heal(world)
    deadline = world.time.ms + seconds * 1000
    _work_off(world)
    while _open_work(world):
        if world.time.ms > deadline:
            world.laws.broken(f"after {seconds} s without a fault there is still open work")
        _wait(world)
    for process in world.processes:
        if process.paused:
            world.pause(process)
    _work_off(world)
    while world.actors or world.queue.messages:
        if not world.actors:  # what was hidden for long, by somebody who stood still for long
            world.advance(max(0, min(m.visible_at for m in world.queue.messages.values()) - world.time.ms))
        _wait(world)
    world.laws.at_rest()


def _heal(world: "World") -> None:
    world.note("--- no more faults")
    world.healing = True
    world.redis.away = False
    world.model.mood = "ok"
    for client in world.clients:
        client.paused = False
    if all(p.paused for p in world.processes):
        world.pause(world.processes[0])


def _open_work(world: "World") -> bool:
    busy = any(not a.process.paused for a in world.actors)
    return busy or not all(t.status.ended and not t.dlq_pending for t in world.all_turns())


def _wait(world: "World") -> None:
    """Let three seconds pass, with what every process does meanwhile."""
    world.advance(3_000)
    for process in world.processes:
        if not process.paused:
            world.beat(process, "leases")
            world.beat(process, "relay")
    _work_off(world)


def _work_off(world: "World") -> None:
    """Let everything run that can run without waiting."""
    for _ in range(TURNS):
        awake = next((p for p in world.processes if not p.paused), None)
        visible = world.queue.visible()
        if actors := world.runnable():
            world.run(actors[0])
        elif visible and awake:
            world.receive(awake, visible[0])
        else:
            break
    else:
        world.laws.broken("the fleet does not come to rest")
    for process in (*world.processes, *world.clients):
        if not process.paused:
            world.flush(process)
