"""The faults of the suite: what each attacks, and how it is played."""

import time
from contextlib import ExitStack

from tests.chaos.deaths import (
    api_killed_at,
    api_told_to_stop,
    deadly_turn,
    failing_at,
    fleet_killed,
    killed_at,
    pause,
    pubsub_cut,
    redis_killed,
    redis_stopped,
    worker_stopped,
    workers_told_to_stop,
    ws_killed,
)
from tests.chaos.effects import (
    OUTCOME,
    between_call_and_outcome,
    calls_met,
    each_message_many_times,
    effects_queue_refused,
    effects_worker_stopped,
    effects_workers_killed_at,
    effects_workers_killed_in_mid_call,
    inbox_misbehaves,
    redis_stops,
    store_refuses,
    target_is_told,
)
from tests.chaos.errands import ANY, CUT_OFF, REFUSED, confirm, propose
from tests.chaos.member import until
from tests.chaos.models import (
    breaker_opens,
    model_cuts,
    model_fails,
    model_is_slow,
    model_never_answers,
    model_refuses,
    probe_killed,
)
from tests.chaos.requests import CLAIM, END, MODEL, SUBMIT, Rule, fault, one_key_many_posts, outage, poison, proxies, requests
from tests.chaos.run import Cell, Run, Scene
from tests.faults.kinds import conflict, dropped, late, lost, malformed, status, swallowed, throttled, twice


def storm(run: Run, scene: Scene) -> None:
    """Faults of all kinds on top of each other, drawn from the seed, under load."""
    orders = run.orders(run.size * 8, words=30, calls=4)
    errands = propose(run, run.size, ends=ANY)
    with ExitStack() as stack:
        rules = [
            stack.enter_context(fault(proxy, rule))
            for rule in (
                Rule("both", "AmazonSQS.SendMessage", twice(), probability=0.3),
                Rule("both", "AmazonSQS.*", status(503), probability=0.1),
                Rule("both", "DynamoDB_*", throttled(), probability=0.05),
                Rule("both", "*.TransactWriteItems", lost(), probability=0.1),
                Rule("workers", "*.UpdateItem", lost(), probability=0.1),
                Rule("effects", "DynamoDB_*", throttled(), probability=0.05),
                Rule("effects", "*.UpdateItem", lost(), probability=0.1),
            )
            for proxy in proxies(run, rule.of)
        ]
        confirm(run, errands)
        for number in range(8):
            run.post(orders[number::8], wait=False)
            worker = run.chance.choice(run.fleet.workers)
            time.sleep(run.chance.uniform(0.2, 0.6))
            (worker.kill, lambda w=worker: w.terminate(10), run.fleet.to_model.cut, lambda w=worker: pause(w, 1.5))[number % 4]()
            run.fleet.effects[number % 2].kill()
            scene.hits += 2
            run.fleet.revive(wait=False)
        until(lambda: all(o.accepted_at for o in orders), "not all were accepted", 30)
        scene.hits += sum(rule.hits for rule in rules)
    scene.hit_at = time.time()


RELAY_DIES_SECONDS = 75.0
"""A relay that dies between the next look at a turn or an effect (30-60 s) and its send leaves it alone until then."""

BROKEN = (status(503), status(500), status(403), throttled(), malformed(), dropped())

CELLS = (
    Cell("worker killed before the claim", "G1 G10", killed_at("worker.received"), crashing=True),
    Cell("worker killed after the claim", "G1 G2 G10", killed_at("turn.claimed"), crashing=True),
    Cell("worker killed at the first token", "G2 G3 G10", killed_at("turn.token", "kill@1"), crashing=True),
    Cell("worker killed at the k-th token", "G2 G3 G10", killed_at("turn.token"), crashing=True, short=True),
    Cell("worker killed after the stream", "G1 G2 G10", killed_at("turn.streamed"), crashing=True),
    Cell("worker killed after the stored answer", "G2 G3 G5", killed_at("turn.stored"), crashing=True, short=True),
    Cell("worker killed after the published end", "G2 G5", killed_at("turn.published"), crashing=True),
    Cell("worker killed before the ack", "G2", killed_at("turn.woken"), crashing=True),
    Cell("unforeseen exception after the claim", "G4", failing_at("turn.claimed")),
    Cell("worker stopped past its lease, then continued", "G2 G3", worker_stopped, crashing=True, short=True),
    Cell("every worker told to stop, under load", "G10 G4", workers_told_to_stop),
    Cell("all workers killed at once", "G1 G10", fleet_killed, crashing=True),
    Cell("a turn that kills its workers", "G4", deadly_turn, crashing=True),
    Cell("API killed between transaction and send", "G1", api_killed_at("api.stored"), short=True),
    Cell("API killed between send and answer", "G1 G2", api_killed_at("api.sent")),
    Cell("API told to stop, under load", "G1", api_told_to_stop),
    Cell("eight posts with one key at once", "G2", one_key_many_posts),
    Cell("WebSocket server killed", "G3", ws_killed),
    Cell(
        "SQS takes no message (503)",
        "G1",
        requests(Rule("both", "AmazonSQS.SendMessage*", status(503)), seconds=1, bounded=3.5),
        short=True,
    ),
    Cell("SQS says nothing to the API", "G1", requests(Rule("api", "AmazonSQS.SendMessage*", swallowed()), bounded=4.5)),
    Cell(
        "receives fail: 503, 500, 403, throttled, garbage, reset",
        "G1",
        outage("workers", "AmazonSQS.ReceiveMessage", BROKEN),
        short=True,
    ),
    Cell("receives are swallowed", "G1", outage("workers", "AmazonSQS.ReceiveMessage", (swallowed(),))),
    Cell("deletes fail", "G2", requests(Rule("workers", "AmazonSQS.DeleteMessage*", status(503), times=10))),
    Cell(
        "messages cannot be hidden until a retry",
        "G4",
        requests(Rule("workers", "AmazonSQS.ChangeMessageVisibility*", status(500), times=6), calls=2, directives="[[fail=1]]"),
    ),
    Cell("every message twice", "G2 G5", requests(Rule("both", "AmazonSQS.SendMessage*", twice(), times=20)), short=True),
    Cell("poison in the queue", "G4", poison),
    Cell("answers to sends are lost", "G2", requests(Rule("both", "AmazonSQS.SendMessage*", lost(), times=6))),
    Cell(
        "DynamoDB throttles every third request",
        "G1 G2",
        requests(Rule("both", "DynamoDB_*", throttled(), probability=0.3), seconds=2),
    ),
    Cell(
        "transactions conflict",
        "G1 G2 G5",
        requests(
            Rule("both", "*.TransactWriteItems", conflict(), times=6), Rule("both", "DynamoDB_*", throttled(), probability=0.1)
        ),
        short=True,
    ),
    Cell("DynamoDB refuses the API", "G1", outage("api", "DynamoDB_*", (dropped(), status(500)))),
    Cell("DynamoDB refuses the workers", "G2", outage("workers", "DynamoDB_*", (dropped(),)), crashing=True),
    Cell("DynamoDB says nothing to the workers", "G2", outage("workers", "DynamoDB_*", (swallowed(),)), crashing=True),
    Cell(
        "answers to submits, claims and ends are lost",
        "G1 G2",
        requests(
            Rule("api", "*.TransactWriteItems", lost(), times=3, containing=SUBMIT),
            Rule("workers", "*.UpdateItem", lost(), times=3, containing=CLAIM),
            Rule("workers", "*.TransactWriteItems", lost(), times=3, containing=END),
        ),
        crashing=True,  # a claim whose answers are all lost is found out by its lapse
        short=True,
    ),
    Cell(
        "answers to claims and ends come late",
        "G2",
        requests(
            Rule("workers", "*.UpdateItem", late(3.5), times=2, containing=CLAIM),
            Rule("workers", "*.TransactWriteItems", late(3.5), times=2, containing=END),
        ),
        crashing=True,
    ),
    Cell("Redis killed and restarted empty", "G2 G3", redis_killed, loses_logs=True, short=True),
    Cell("Redis stopped for a while", "G3", redis_stopped),
    Cell("Redis drops its subscribers", "G3", pubsub_cut),
    Cell("model: 429 with Retry-After", "G4", model_fails("[[fail=1]] [[status=429 retry_after=1]]", calls=2), short=True),
    Cell("model: 500 twice", "G4", model_fails("[[fail=2]]", calls=3)),
    Cell("model: 500 for ever", "G4", model_never_answers("[[status=500]]", "provider_unavailable", dead=True)),
    Cell(
        "model: refuses the request", "G4", model_never_answers("[[status=400]]", "model_request_invalid", dead=False), short=True
    ),
    Cell("model: garbage in mid-stream, for ever", "G4", model_never_answers("[[garbage=3]]", "provider_unavailable", dead=True)),
    Cell("model: connections refused", "G4", model_refuses),
    Cell("model: streams cut", "G4 G3", model_cuts, short=True),
    Cell("model: says nothing", "G4", requests(Rule("model", MODEL, swallowed(), times=2), calls=2)),
    Cell("model: garbage", "G4", requests(Rule("model", MODEL, malformed(), times=2), calls=2)),
    Cell("more errors than the breaker bears", "G6 G4", breaker_opens),
    Cell("the breaker's probe dies with its worker", "G6", probe_killed, crashing=True),
    Cell("model: a token now and then", "G2 G10", model_is_slow),
    Cell(
        "effects worker killed before the claim", "G7 G10", effects_workers_killed_at("effect.received"), rest=RELAY_DIES_SECONDS
    ),
    Cell("effects workers killed in mid-call", "G7", effects_workers_killed_in_mid_call, rest=RELAY_DIES_SECONDS),
    Cell(
        "effects workers killed before, and after, the outcome",
        "G7",
        effects_workers_killed_at("effect.called", "effect.stored"),
        rest=RELAY_DIES_SECONDS,
    ),
    Cell(
        "effects worker stopped between claim and call",
        "G7",
        effects_worker_stopped("effect.claimed", "is not called"),
        rest=RELAY_DIES_SECONDS,
    ),
    Cell(
        "effects worker stopped between call and outcome",
        "G7",
        effects_worker_stopped("effect.called", "is executed|came too late"),
        rest=RELAY_DIES_SECONDS,
    ),
    Cell("SQS takes no message about effects", "G7 G1", effects_queue_refused),
    Cell("effects: each message many times", "G7", each_message_many_times),
    Cell("target: 500", "G7", target_is_told("[[action status=500]]", REFUSED)),
    Cell("target: 429", "G7", calls_met(Rule("target", "POST /actions/*", status(429), times=4))),
    Cell("target: carries it out and says nothing", "G7", target_is_told("[[action hang]]", CUT_OFF)),
    Cell(
        "target: closes the connection, and cannot say why",
        "G7",
        calls_met(Rule("target", "GET /actions/*", status(503), times=4), directives="[[action cut]]", ends=CUT_OFF),
    ),
    Cell("Redis stops while a target is called", "G7", between_call_and_outcome(redis_stops)),
    Cell("DynamoDB refuses the outcomes of calls", "G7", between_call_and_outcome(store_refuses)),
    Cell(
        "answers to claims and outcomes of effects are lost",
        "G7",
        calls_met(
            Rule("effects", "*.UpdateItem", lost(), times=3, containing=CLAIM),
            Rule("effects", "*.UpdateItem", lost(), times=1, containing=OUTCOME),
            Rule("effects", "*.TransactWriteItems", lost(), times=1, containing=OUTCOME),
        ),
    ),
    Cell("inbox: lost, reset, 429, twice, and 500 for ever", "G7 G4", inbox_misbehaves),
    Cell("a storm of all of it", "G1 G2 G3 G4 G5 G7 G10", storm, crashing=True, rest=RELAY_DIES_SECONDS),
)
