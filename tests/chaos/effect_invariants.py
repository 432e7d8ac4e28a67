"""What must hold of effects after a run: I12 to I14. By the target's own count and by what arrived, not by our word."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from chatapp.effects import Effect, EffectId, EffectStatus, Kind
from chatapp.model import Turn
from tests.chaos.invariants import World
from tests.chaos.member import until
from tests.chaos.run import Run

OPEN = (EffectStatus.CONFIRMED, EffectStatus.EXECUTING)


REST_SECONDS = 45.0
"""Bound on the last deliveries: the relay first looks after ten seconds, and a receiver that fails is tried four times."""


def come_to_rest(run: Run) -> None:
    """Wait until nothing is on its way outside any more. What is after all, `unsettled` names."""
    with suppress(TimeoutError):
        store = run.fleet.services.effects
        until(lambda: not any(e.status in OPEN for e in store.scan()), "", REST_SECONDS, pause=0.5)


def unsettled(world: World) -> list[str]:
    """I13: nothing that got its yes, or is owed, is on its way for ever; and what is owed was not forgotten."""
    found = [f"{key} is {effect.status} still" for key, effect in world.effects.items() if effect.status in OPEN]
    found += [f"{key} is owed, and nobody knows of it" for key in _owed(world) if key not in world.effects]
    ids = Counter(delivery.headers["webhook-id"] for delivery in world.arrived)
    told = [effect for effect in _of(world, Kind.DELIVERY) if effect.status is EffectStatus.EXECUTED]
    return found + [f"{effect.id} is said to be delivered, and never arrived" for effect in told if not ids[str(effect.id)]]


def calls(world: World) -> Iterator[str]:
    """I12: a target is called for what has a yes, once at most, and what is said of the call is what it says itself."""
    for key, told in world.called.items():
        effect = world.effects.get(key)
        if effect is None:
            yield f"{key} was called, and nobody has proposed it"
        elif effect.confirmed_at is None:
            yield f"{key} was called, and nobody has confirmed it"
        if told["calls"] > 1:
            yield f"{key} was called {told['calls']} times"
    for effect in _of(world, Kind.ACTION):
        done = world.called.get(str(effect.id), {"status": "never called"})["status"]
        if effect.status is EffectStatus.EXECUTED and done != "executed":
            yield f"{effect.id} is executed, its target says: {done}"
        if effect.status is EffectStatus.FAILED and done == "executed":
            yield f"{effect.id} is failed, and its target has carried it out"


def ends(world: World) -> Iterator[str]:
    """I13: each errand has ended as it must; what cannot be known is shown as such; what got no yes is as it was."""
    for errand in (e for e in world.run.errands if e.order.job_id):
        effect = world.effects.get(str(errand.id))
        scene = world.scene(errand.order).name
        if effect is None:
            yield f"{errand.id} was proposed, and is not stored"
        elif errand.yes is None:
            if effect.status is not EffectStatus.STAGED:
                yield f"{errand.id} is {effect.status}, and nobody said yes"
        elif effect.status not in errand.ends or (errand.asked and effect.status is EffectStatus.UNKNOWN):
            yield f"{errand.id} ({errand.name}) is {effect.status} in: {scene}"
        elif effect.status is EffectStatus.UNKNOWN and world.shown.get(str(errand.id), "unknown") != "unknown":
            yield f"{errand.id} is unknown, and shown as {world.shown[str(errand.id)]}"


def deliveries(world: World) -> Iterator[str]:
    """I14: what is owed arrives under one id, however often; or it is a dead letter, and nothing else is."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for delivery in world.arrived:
        key = delivery.headers["webhook-id"]
        if key not in world.effects:
            yield f"{key} was delivered, and nobody owed it"
        ids[_about(delivery.body)].add(key)
    yield from (f"{about} was told under {len(several)} ids" for about, several in ids.items() if len(several) > 1)
    failed = {key for key, effect in world.effects.items() if effect.status is EffectStatus.FAILED}
    refused = {str(_reply(turn)) for o in world.accepted if o.refused and (turn := world.turn(o))}
    given_up = {key for key in failed if world.effects[key].id.kind is Kind.DELIVERY}
    yield from (f"{key} was given up, and its receiver was well" for key in given_up - refused)
    yield from (f"{key} was not given up, and its receiver took nothing" for key in refused - given_up)
    dead = Counter(letter.job_id for letter in world.dead_effects)
    yield from (f"{key} was given up, and is not in the dead-letter queue" for key in given_up if not dead[key])
    yield from (f"{key} is in the dead-letter queue {n} times" for key, n in dead.items() if n > 1 or key not in given_up)


CHECKS: tuple[tuple[str, Callable[[World], Iterable[str]]], ...] = (("I12", calls), ("I13", ends), ("I14", deliveries))


def account(world: World) -> dict[str, int]:
    """Count what happened outside."""
    confirmed = [effect for effect in _of(world, Kind.ACTION) if effect.confirmed_at is not None]
    states = Counter(effect.status.value for effect in confirmed)
    arrived = {delivery.headers["webhook-id"] for delivery in world.arrived}
    return {
        "confirmed": len(confirmed),
        "calls": sum(told["calls"] for told in world.called.values()),
        **{status: states[status] for status in ("executed", "failed", "unknown")},
        "deliveries": sum(1 for _ in _of(world, Kind.DELIVERY)),
        "arrived": len(world.arrived),
        "doubled": len(world.arrived) - len(arrived),
        "dead": len(world.dead_effects),
        "lost": len(unsettled(world)),
    }


def _of(world: World, kind: Kind) -> Iterator[Effect]:
    return (effect for effect in world.effects.values() if effect.id.kind is kind)


def _owed(world: World) -> Iterator[str]:
    """Name what must have been told: the end of each job with a callback or of a phone, and what became of a phone's actions."""
    for order in world.accepted:
        turn = world.turn(order)
        if turn is not None and ("callback_url" in order.body or not order.followed):
            yield str(_reply(turn))
    for errand in world.run.errands:
        if errand.yes is not None and not errand.order.followed:
            yield str(errand.id.outcome())


def _reply(turn: Turn) -> EffectId:
    return EffectId.reply(turn.session_id, turn.number)


def _about(body: bytes) -> str:
    """Say what a delivery tells: the end of which job, or which outcome of which action."""
    told = json.loads(body)
    data = told["data"]
    return str(data["job_id"]) if "job_id" in data else f"{told['type']} of {data['session_id']}/{data['action']['action_id']}"
