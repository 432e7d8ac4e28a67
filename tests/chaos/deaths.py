"""Processes that die, stop and are told to stop: workers, the API, the WebSocket server, Redis."""

import signal
import time

from tests.chaos.member import Member, until
from tests.chaos.run import Play, Run, Scene

OUTAGE_SECONDS = 3.0
LAPSE_SECONDS = 7.0
"""Longer than a lease and a message's visibility."""


def killed_at(point: str, action: str = "kill") -> Play:
    """A worker dies at a point of its way, with whatever else it has in flight."""

    def play(run: Run, scene: Scene) -> None:
        place = f"{action}@{run.chance.randint(5, 60)}" if point == "turn.token" and "@" not in action else action
        run.fleet.arm(point, place)
        run.load(run.size)
        run.wait_death(scene, point)

    return play


def failing_at(point: str) -> Play:
    """Our own code fails at a point, in a way that nobody foresaw."""

    def play(run: Run, scene: Scene) -> None:
        run.fleet.arm(point, "raise")
        run.load(run.size, calls=2)
        run.wait_hit(scene, point)

    return play


def worker_stopped(run: Run, scene: Scene) -> None:
    """A worker is paused in mid-answer until others have its turns, and then goes on as if nothing had been."""
    run.fleet.arm("turn.token", f"stop@{run.chance.randint(5, 30)}")
    orders = run.load(run.size)
    worker = run.fleet.worker_of(run.wait_hit(scene, "turn.token"))
    time.sleep(LAPSE_SECONDS)
    worker.signal(signal.SIGCONT)
    until(lambda: any((turn := run.turn(o)) and turn.crashes for o in orders), "no lease has lapsed")


def workers_told_to_stop(run: Run, scene: Scene) -> None:
    """A deploy: the workers are told to stop in the middle of their answers, those with most to lose first."""
    orders = run.load(run.size, words=200)
    run.wait_streaming(run.size // 2)
    busy = [w for w in run.fleet.workers if (said := w.log()) and any(o.job_id in said for o in orders if o.job_id)]
    first = busy[: len(run.fleet.workers) - 1]
    for some in (first, [w for w in run.fleet.workers if w not in first]):
        for worker in some:
            worker.signal(signal.SIGTERM)
        scene.hit_at = time.time()
        for worker in some:
            until(lambda worker=worker: not worker.alive, f"{worker.name} did not end", 15)
            scene.hits += 1
        orders += run.load(run.size, wait=False, words=150)
        run.fleet.revive()
    until(lambda: any((turn := run.turn(o)) and turn.hand_backs for o in orders), "no turn was handed back")
    assert all((turn := run.turn(o)) is None or turn.crashes == 0 for o in orders), "a deploy cost a crash"


def fleet_killed(run: Run, scene: Scene) -> None:
    """All workers die at once, in mid-answer, with more in the queue."""
    run.load(run.size // 2)
    run.wait_streaming()
    for worker in run.fleet.workers:
        worker.kill()
        scene.hits += 1
    run.load(run.size - run.size // 2)
    scene.hit_at = time.time()


def deadly_turn(run: Run, scene: Scene) -> None:
    """A turn that kills whoever claims it, again and again, until it is given up."""
    run.fleet.arm("turn.claimed", "kill")  # before anybody can claim it, here and below: who did would answer it
    (order,) = run.load(1, says=None, ends=frozenset({"failed"}), code="crashed", dead=True, calls=0)
    for left in reversed(range(run.fleet.max_crashes)):
        run.wait_death(scene, "turn.claimed", 30)
        if left:
            run.fleet.arm("turn.claimed", "kill")
        run.fleet.revive()
    assert order.job_id


def api_killed_at(point: str) -> Play:
    """The API dies with a message half accepted; the client asks again with its key."""

    def play(run: Run, scene: Scene) -> None:
        run.fleet.arm(point, "kill")
        run.load(run.size)
        run.wait_hit(scene, point)

    return play


def api_told_to_stop(run: Run, scene: Scene) -> None:
    """The API is told to stop while clients post: what it has begun it answers, the rest is refused at the door."""
    orders = run.orders(run.size * 2)
    posting = run.client.post_all(orders[: run.size])
    took = run.fleet.api.terminate(35)
    assert took is not None, "the API did not end by itself"
    scene.hits += 1
    scene.hit_at = time.time()
    run.fleet.revive()
    for future in posting:
        run.follow(future.result())
    run.post(orders[run.size :])
    assert not [r for o in orders for r in o.refusals if r.isdecimal()], "a request in flight was refused"


def ws_killed(run: Run, scene: Scene) -> None:
    """The WebSocket server dies; clients come back with their cursors."""
    run.load(run.size, words=60)
    run.wait_streaming()
    run.fleet.ws.kill()
    scene.hits, scene.hit_at = 1, time.time()
    run.fleet.revive()


def redis_killed(run: Run, scene: Scene) -> None:
    """Redis dies in mid-stream and comes back with nothing."""
    run.load(run.size, words=60)
    run.wait_streaming()
    run.fleet.redis_server.kill()
    scene.hits, scene.hit_at = 1, time.time()
    time.sleep(run.chance.uniform(0, 0.5))
    run.fleet.revive()


def redis_stopped(run: Run, scene: Scene) -> None:
    """Redis says nothing for a while."""
    run.load(run.size, words=60)
    run.wait_streaming()
    pause(run.fleet.redis_server, OUTAGE_SECONDS)
    scene.hits, scene.hit_at = 1, time.time()


def pubsub_cut(run: Run, scene: Scene) -> None:
    """Redis drops its subscribers, silently as it does."""
    run.load(run.size, words=60)
    run.wait_streaming()
    with run.fleet.redis() as redis:
        scene.hits = int(redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub"))
    scene.hit_at = time.time()


def pause(member: Member, seconds: float) -> None:
    """Let a process stand still for a while."""
    member.signal(signal.SIGSTOP)
    time.sleep(seconds)
    member.signal(signal.SIGCONT)
