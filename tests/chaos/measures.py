"""What is measured beside the faults: how soon a cancelled model falls silent, and the order of fifty posts at once."""

import time
from typing import Any

from tests.chaos.member import until
from tests.chaos.orders import Conversation
from tests.chaos.run import Cell, Run, Scene
from tests.chaos.scorecard import percentile

CANCELS = 60
POSTS = 50
REFUSED = 200
BURST = 24


def measure(run: Run) -> dict[str, Any]:
    """Measure everything. Returns: by name, in words for the scorecard."""
    silences: list[float] = []
    fast: dict[str, list[float]] = {}
    run.play(Cell("fifty posts at once to one session", "G5", _fifty_posts))
    run.play(Cell("a running answer is cancelled", "G9", lambda run, scene: silences.extend(_cancels(run, scene))))
    run.play(Cell("the breaker is open: fresh turns fail", "G6", lambda run, scene: fast.update(_fail_fast(run, scene))))
    told = {"cancel to the last chunk written": silences, **fast}
    return {name: _told(values) for name, values in told.items() if values}


def _told(seconds: list[float]) -> str:
    p50, p99 = (percentile(seconds, p) * 1000 for p in (50, 99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms of {len(seconds)}"


def _fifty_posts(run: Run, scene: Scene) -> None:
    """Posted at once to one session, answered over all workers: in order, each once (I2, I11 check it)."""
    conversation = Conversation()
    run.post([run.order(conversation)])
    orders = [run.order(conversation, words=4, delay=0.0) for _ in range(POSTS)]
    run.post(orders)
    scene.hits, scene.hit_at = POSTS, time.time()
    until(lambda: all((turn := run.turn(o)) and turn.status.ended for o in orders), "not all were answered", 60)


def _cancels(run: Run, scene: Scene) -> list[float]:
    """Cancel answers in mid-stream. Returns: seconds from the request to the last chunk that the model wrote."""
    silences = []
    for _ in range(CANCELS):
        (order,) = run.post([run.order(Conversation(), words=400, delay=0.01, ends=frozenset({"cancelled"}))])
        until(lambda order=order: _call(run, order).get("chunks", 0) > 5, "no stream")
        asked_at = time.time()
        answer = run.client.cancel(order)
        assert answer.status_code in (200, 202), answer.text
        until(lambda order=order: _call(run, order)["outcome"] == "aborted", "the model was not stopped", 10)
        silences.append(max(0.0, _call(run, order)["last_chunk_at"] - asked_at))
        scene.hits += 1
    scene.hit_at = time.time()
    assert percentile(silences, 99) <= 0.25, f"cancelled answers went on for up to {max(silences) * 1000:.0f} ms"
    return silences


def _fail_fast(run: Run, scene: Scene) -> dict[str, list[float]]:
    """Answer while the breaker is open: by a worker, for what was accepted before, and by the API, for what comes.

    Returns: seconds from claim to end, and from a post to its 503.
    """
    fleet = run.fleet
    fleet.restart(fleet.workers, ON_BREAKER_OPEN="fail")
    fleet.open_breaker(run.model, 100)
    time.sleep(1)  # all know of it within a second
    fails = {"says": None, "ends": frozenset({"failed"}), "code": "provider_unavailable", "calls": 0}
    run.post([run.order(Conversation(), **fails) for _ in range(BURST)])  # to workers that have never asked for this model
    orders = []
    for _ in range(REFUSED):
        order = run.order(Conversation(), **fails)
        orders += run.post([order])
        until(lambda order=order: (turn := run.turn(order)) and turn.status.ended, "not answered")
    ends = [((turn.ended_at or 0) - (turn.started_at or 0)) / 1000 for o in orders if (turn := run.turn(o))]
    fleet.restart([fleet.api], ON_BREAKER_OPEN="fail")
    refusals = []
    for _ in range(REFUSED):
        answer = run.client.ask({"message": "hello", "model": run.model})
        assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable"), answer.text
        assert int(answer.headers["Retry-After"]) > 0
        refusals.append(answer.elapsed.total_seconds())
    scene.hits, scene.hit_at = len(orders) + len(refusals), time.time()
    for name, values in (("a worker", ends), ("the API", refusals)):
        assert percentile(values, 99) <= 0.05, f"{name} took {max(values) * 1000:.0f} ms to fail fast"
    return {"breaker open, claim to end": ends, "breaker open, post to 503": refusals}


def _call(run: Run, order: Any) -> dict[str, Any]:
    return next((call for call in run.fleet.model_calls() if call["said"].startswith(order.marker)), {})
