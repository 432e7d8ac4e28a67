"""A provider that fails, falls silent or is slow, and the breaker before it."""

import time

from tests.chaos.member import until
from tests.chaos.orders import Order
from tests.chaos.requests import MODEL
from tests.chaos.run import Play, Run, Scene
from tests.faults.kinds import swallowed


def model_fails(directives: str, *, calls: int) -> Play:
    """The provider fails some of the times it is asked, and then answers."""

    def play(run: Run, scene: Scene) -> None:
        orders = run.load(max(2, run.size // 2), directives=directives, calls=calls)
        scene.hit_at = time.time()
        until(lambda: all(_calls(run, o) >= calls for o in orders), "the model was not asked again")
        scene.hits = sum(_calls(run, o) - 1 for o in orders)

    return play


def model_never_answers(directives: str, code: str, *, dead: bool) -> Play:
    """The provider fails for good: at the first attempt, or (`dead`) at the last one, into the dead-letter queue."""

    def play(run: Run, scene: Scene) -> None:
        calls = run.fleet.max_failures if dead else 1
        orders = run.load(1, says=None, ends=frozenset({"failed"}), code=code, dead=dead, calls=calls, directives=directives)
        scene.hit_at = time.time()
        until(lambda: all(_calls(run, o) >= calls for o in orders), "the model was not asked so often", 30)
        scene.hits = sum(_calls(run, o) for o in orders)

    return play


def model_refuses(run: Run, scene: Scene) -> None:
    """Nobody listens where the provider was; streams that run are reset."""
    run.load(run.size, words=60, calls=4)
    run.wait_streaming()
    before = run.fleet.to_model.connections
    run.fleet.to_model.refuse()
    scene.hits = 1
    time.sleep(1.0)
    run.fleet.to_model.heal()
    scene.hit_at = time.time()
    assert run.fleet.to_model.connections == before


def model_cuts(run: Run, scene: Scene) -> None:
    """Every stream is reset in the middle."""
    run.load(run.size, words=60, calls=2)
    run.wait_streaming(2)
    scene.hits = run.fleet.to_model.cut()
    scene.hit_at = time.time()


def breaker_opens(run: Run, scene: Scene) -> None:
    """More errors than the breaker bears: it opens for all workers, and lets the fleet in again by one probe."""
    run.load(8, directives="[[fail=1]]", calls=2)
    until(lambda: run.fleet.breaker(run.model) != "closed", "the breaker did not open", 10)
    scene.hits, scene.hit_at = 1, time.time()
    until(lambda: run.fleet.breaker(run.model) == "closed", "the breaker did not close", 20)


def probe_killed(run: Run, scene: Scene) -> None:
    """The breaker is half open, and whoever tries the provider for all the others dies over it."""
    run.fleet.open_breaker(run.model, 2)
    with run.fleet.to_model.fault(MODEL, swallowed(), times=1) as rule:
        run.load(run.size, calls=2)
        until(lambda: rule.hits, "nobody probed", 15)
        for worker in run.fleet.workers:
            worker.kill()
    scene.hits, scene.hit_at = rule.hits, time.time()
    run.fleet.revive()
    until(lambda: run.fleet.breaker(run.model) == "closed", "the breaker did not close", 30)


def model_is_slow(run: Run, scene: Scene) -> None:
    """A token now and then: the answer outlasts the lease and the visibility of its message."""
    run.load(4, words=20, delay=0.35)
    scene.hits, scene.hit_at = 4, time.time()


def _calls(run: Run, order: Order) -> int:
    return sum(call["said"].startswith(order.marker) for call in run.fleet.model_calls())
