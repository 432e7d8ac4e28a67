"""Requests that fail: of the API, of the workers, of the model; and messages that nobody can read."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.chaos.member import until
from tests.chaos.orders import Conversation
from tests.chaos.run import Play, Run, Scene
from tests.faults.kinds import Fault
from tests.faults.proxy import FaultProxy
from tests.faults.proxy import Rule as WaitingRule

CLAIM, END, SUBMIT = ":claim", ":newEndId", "TurnCount"
"""What only the body of such a write holds."""

MODEL = "POST /v1/chat/completions"
POISON = ("not a message", "e30=", "[" * 5_000, '{"body": "e30=", "headers": {"task": "os.system", "id": "1"}}')
OUTAGE_SECONDS = 3.0


@dataclass(frozen=True)
class Rule:
    """Which requests are faulted, and how. `of`: whose, as `proxies` knows them."""

    of: str
    name: str
    fault: Fault
    times: int | None = None
    probability: float = 1.0
    containing: str = ""


def requests(*rules: Rule, seconds: float = 0.0, bounded: float | None = None, calls: int = 1, directives: str = "") -> Play:
    """Fault requests while messages are posted and answered, and (`seconds`) for a while longer.

    `bounded`: the longest (s) that a post may take meanwhile.
    """

    def play(run: Run, scene: Scene) -> None:
        pids = [worker.pid for worker in run.fleet.workers]
        with ExitStack() as stack:
            made = [[stack.enter_context(fault(proxy, rule)) for proxy in proxies(run, rule.of)] for rule in rules]
            orders = run.load(run.size, wait=bounded is None, calls=calls, directives=directives)
            if bounded is not None:
                until(lambda: all(o.accepted_at for o in orders), "not all were accepted", 10)
                slowest = max(o.accepted_at - o.posted_at for o in orders)
                assert slowest <= bounded, f"a post took {slowest:.1f} s"
            time.sleep(seconds)
            if not any(rule.times is None for rule in rules):
                until(lambda: all(_hits(rule) for rule in made), "a fault met no request", 15)
        scene.hits = sum(map(_hits, made))
        scene.hit_at = time.time()
        assert scene.hits, "no request was met"
        _live_on(run, pids)

    return play


def outage(of: str, name: str, faults: Sequence[Fault]) -> Play:
    """Let all requests of a kind fail for a while, in one way after the other; nobody may die of it."""

    def play(run: Run, scene: Scene) -> None:
        pids = [worker.pid for worker in run.fleet.workers]
        orders = run.orders(run.size, calls=2)
        run.post(orders, wait=False)
        for kind in faults:
            with ExitStack() as stack:
                rules = [stack.enter_context(proxy.fault(name, kind)) for proxy in proxies(run, of)]
                until(lambda rules=rules: any(r.hits for r in rules), f"{kind.kind} {kind.status} met nothing", 10)
                time.sleep(OUTAGE_SECONDS / len(faults))
            scene.hits += sum(r.hits for r in rules)
        scene.hit_at = time.time()
        until(lambda: all(o.accepted_at for o in orders), "not all were accepted")
        _live_on(run, pids)

    return play


def fault(proxy: FaultProxy, rule: Rule) -> WaitingRule:
    """Set a rule before a proxy."""
    return proxy.fault(rule.name, rule.fault, times=rule.times, probability=rule.probability, containing=rule.containing)


def _hits(rules: Sequence[WaitingRule]) -> int:
    return sum(rule.hits for rule in rules)


def proxies(run: Run, of: str) -> list[FaultProxy]:
    """The proxies that somebody's requests pass."""
    fleet = run.fleet
    return {
        "api": [fleet.to_aws_of_api],
        "workers": [fleet.to_aws_of_workers],
        "both": [fleet.to_aws_of_api, fleet.to_aws_of_workers],
        "model": [fleet.to_model],
        "effects": [fleet.to_aws_of_effects],
        "target": [fleet.outside.to_target] if fleet.outside else [],
    }[of]


def _live_on(run: Run, pids: list[int]) -> None:
    assert [w.pid for w in run.fleet.workers if w.alive] == pids, "a worker died of it"


def one_key_many_posts(run: Run, scene: Scene) -> None:
    """The same message with the same key, eight times at once; then another one with that key."""
    (order,) = run.orders(1)
    order.conversation = Conversation()
    futures = [run.client.submit(run.client.send, order) for _ in range(8)]
    answers = [future.result() for future in futures]
    assert {a.status_code for a in answers} == {202}, [a.text for a in answers]
    jobs = {a.json()["job_id"] for a in answers}
    assert len(jobs) == 1, f"one key, {len(jobs)} jobs"
    scene.hits = sum(a.headers.get("Idempotency-Replayed") == "true" for a in answers)
    assert scene.hits == 7
    order.accepted_at, order.job_id = time.time(), jobs.pop()
    run.follow(order)
    words, order.says = order.says, "something else"
    assert run.client.send(order).status_code == 422
    order.says = words


def poison(run: Run, scene: Scene) -> None:
    """Messages that no worker can read, between those that it can."""
    pids = [worker.pid for worker in run.fleet.workers]
    for body in POISON:
        run.fleet.sqs.send_message(QueueUrl=run.fleet.queue_url, MessageBody=body)
    run.load(run.size)
    run.poison += len(POISON)
    until(lambda: run.fleet.messages(run.fleet.dlq_url)["Visible"] >= run.poison, "it is not in the dead-letter queue")
    scene.hits, scene.hit_at = len(POISON), time.time()
    _live_on(run, pids)
