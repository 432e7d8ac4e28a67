"""Effects that are interrupted: their workers die and stop, their queue, store and Redis are away, their targets misbehave."""

import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

from chatapp.effects import EffectId, EffectStatus
from chatapp.model import JobId
from tests.chaos.deaths import OUTAGE_SECONDS
from tests.chaos.errands import ANY, DONE, called, confirm, propose, settled_by
from tests.chaos.member import until
from tests.chaos.requests import Rule, fault, proxies
from tests.chaos.run import Play, Run, Scene
from tests.faults.kinds import dropped, lost, status, twice

QUEUE = "chatapp-effects"
"""What only the body of a request about the queue of effects holds."""

OUTCOME = ":newMovedBy"
COPIES = 8
LAPSE_SECONDS = 25.0
"""A lease of six and a half seconds, a pass of the relay and some questions, on a busy machine."""


def effects_workers_killed_at(*points: str) -> Play:
    """A worker dies at each of some points of its way, with whatever else it has in hand."""

    def play(run: Run, scene: Scene) -> None:
        errands = propose(run, run.size, ends=ANY)
        for point in points:
            run.fleet.arm(point, "kill")
        confirm(run, errands)
        for point in points:
            run.wait_death(scene, point)

    return play


def effects_workers_killed_in_mid_call(run: Run, scene: Scene) -> None:
    """Every worker dies while targets are at it, which carry the actions out and never say so."""
    errands = propose(run, run.size, "[[action hang]]", ends=ANY)
    confirm(run, errands)
    until(lambda: called(run, errands), "nobody was called")
    for worker in run.fleet.effects:
        worker.kill()
    scene.hit_at, scene.hits = time.time(), len(called(run, errands))


def effects_worker_stopped(point: str, says: str) -> Play:
    """A worker is paused until others have given its action up, and then goes on; `says`: what it writes into its log then."""

    def play(run: Run, scene: Scene) -> None:
        errands = propose(run, run.size, ends=ANY)
        run.fleet.arm(point, "stop")
        confirm(run, errands)
        worker = run.fleet.worker_of(run.wait_hit(scene, point))
        before = len(worker.log())
        try:
            settled_by(run, errands, LAPSE_SECONDS)
        finally:
            worker.signal(signal.SIGCONT)
        until(lambda: re.search(says, worker.log()[before:]), f"it did not say {says!r}")

    return play


def effects_queue_refused(run: Run, scene: Scene) -> None:
    """SQS takes no message about effects while people say yes: what they were promised hangs on the relay."""
    errands = propose(run, run.size)
    with ExitStack() as stack:
        of_all = (*proxies(run, "both"), *proxies(run, "effects"))
        rules = [stack.enter_context(proxy.fault("AmazonSQS.SendMessage*", status(503), containing=QUEUE)) for proxy in of_all]
        confirm(run, errands)
        until(lambda: any(rule.hits for rule in rules), "no message was refused")
        assert not called(run, errands), "somebody was called without a message"
    scene.hits, scene.hit_at = sum(rule.hits for rule in rules), time.time()


def each_message_many_times(run: Run, scene: Scene) -> None:
    """Both workers find many messages about each action, confirmed ones and one that nobody said yes to, all at once."""
    fleet, store = run.fleet, run.fleet.services.effects
    errands = propose(run, run.size)
    staged = propose(run, 1, yes=False)
    for worker in fleet.effects:
        worker.signal(signal.SIGSTOP)
    try:
        confirm(run, errands)
        found = [effect for errand in (*errands, *staged) if (effect := store.get(errand.id))]
        copies = [fleet.services.composer.effect(e.id, user_id=e.user_id) for e in found for _ in range(COPIES)]
        random.Random(run.seed).shuffle(copies)
        for copy in copies:
            fleet.sqs.send_message(**copy)
    finally:
        for worker in fleet.effects:
            worker.signal(signal.SIGCONT)
    scene.hits, scene.hit_at = len(copies), time.time()
    until(lambda: not any(fleet.messages(fleet.effects_url).values()), "messages are left", 30, pause=0.2)


def target_is_told(directives: str, ends: frozenset[str]) -> Play:
    """The target does something else than to answer: it is told so by what it is sent."""

    def play(run: Run, scene: Scene) -> None:
        errands = propose(run, run.size, directives, ends=ends)
        confirm(run, errands)
        until(lambda: len(called(run, errands)) == len(errands), "not all were called")
        scene.hits, scene.hit_at = len(errands), time.time()

    return play


def calls_met(*rules: Rule, directives: str = "", ends: frozenset[str] = DONE) -> Play:
    """Requests of effects fail: of their workers, of the target's, in a call or in the question that follows it."""

    def play(run: Run, scene: Scene) -> None:
        errands = propose(run, run.size, directives, ends=ends)
        with ExitStack() as stack:
            made = [[stack.enter_context(fault(proxy, rule)) for proxy in proxies(run, rule.of)] for rule in rules]
            confirm(run, errands)
            for rule in made:
                until(lambda rule=rule: any(r.hits for r in rule), "a fault met no request")
            settled_by(run, errands, LAPSE_SECONDS)
        scene.hits, scene.hit_at = sum(r.hits for rule in made for r in rule), time.time()

    return play


def between_call_and_outcome(breaks: Callable[[Run, EffectId], int]) -> Play:
    """Something breaks while a target is at it: it is away when what came of the call is to be stored and told.

    `breaks` is given the action, and returns the hits.
    """

    def play(run: Run, scene: Scene) -> None:
        errands = propose(run, run.size - 1)
        slow = propose(run, 1, "[[action delay=0.5]]")
        confirm(run, slow)
        until(lambda: called(run, slow), "nobody was called")
        scene.hits = breaks(run, slow[0].id)
        scene.hit_at = time.time()
        confirm(run, errands)

    return play


def redis_stops(run: Run, action: EffectId) -> int:
    """Redis says nothing: what came of the call is stored all the same, before it is back."""
    store = run.fleet.services.effects
    run.fleet.redis_server.signal(signal.SIGSTOP)
    try:
        until(lambda: (e := store.get(action)) and e.status.final, "the outcome waits for Redis")
    finally:
        run.fleet.redis_server.signal(signal.SIGCONT)
    return 1


def store_refuses(run: Run, action: EffectId) -> int:
    """DynamoDB answers nothing that the effects workers ask; the outcome is reset, and then refused, again and again."""
    proxy = run.fleet.to_aws_of_effects
    with (
        proxy.fault("DynamoDB_*", dropped(), times=3, containing=OUTCOME) as reset,
        proxy.fault("DynamoDB_*", status(500), containing=OUTCOME) as refused,
        proxy.fault("DynamoDB_*", status(500)),
    ):
        until(lambda: refused.hits, "no outcome was to be stored")
        time.sleep(OUTAGE_SECONDS)
        effect = run.fleet.services.effects.get(action)
        assert effect is not None
        assert not effect.status.final, "the outcome was stored meanwhile"
    return reset.hits + refused.hits


def inbox_misbehaves(run: Run, scene: Scene) -> None:
    """Who is told of ends takes them late, twice, and for one job never."""
    outside = run.fleet.outside
    assert outside is not None
    orders = run.orders(run.size)
    for order in orders:
        order.body["callback_url"] = outside.callback_url
    orders[0].refused = True
    with ExitStack() as stack:
        refused = outside.to_inbox.fault("POST /callback", status(500), containing=(orders[0].says or "").partition(":")[0])
        others = [outside.to_inbox.fault("POST /callback", kind, times=1) for kind in (lost(), dropped(), status(429), twice())]
        rules = [stack.enter_context(rule) for rule in (refused, *others)]
        run.post(orders)
        job = JobId.parse(orders[0].job_id or "")
        assert job is not None
        given_up = EffectId.reply(job.session_id, job.turn)
        store = run.fleet.services.effects
        until(lambda: (e := store.get(given_up)) and e.status is EffectStatus.FAILED, "it was not given up")
    scene.hits, scene.hit_at = sum(rule.hits for rule in rules), time.time()
    assert all(rule.hits for rule in rules), "a fault met no delivery"
