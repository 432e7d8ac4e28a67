"""The fault suite's own checks can fail: each is shown what it is there to find."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.model import ModelOptions, Status, Turn, text_part
from tests.chaos import effect_invariants, invariants
from tests.chaos.errands import DONE, Errand
from tests.chaos.follower import View
from tests.chaos.invariants import Dead
from tests.chaos.orders import Conversation, Order
from tests.chaos.outside import ASKED, UNASKED
from tests.chaos.run import Scene
from tests.outbound_kit import Received

SESSION = "a" * 32


def event(event_id, kind="message_delta", **fields):
    return {"id": event_id, "type": kind, "kind": "text", "text": "", **fields}


def seen(*events):
    view = View()
    for each in events:
        view.take(each)
    return view


START, END = event("1-0", "message_started"), event("1-2", "message_completed")


@pytest.mark.parametrize(
    "events",
    [
        (START, event("1-2")),
        (START, event("1-1"), event("1-1")),
        (event("2-0", "message_reset"), event("1-1")),
        (START, event("1-1"), END, event("1-3")),
        (START, event("2-1")),
    ],
    ids=["gap", "repeat", "attempt goes back", "after the end", "second attempt without its beginning"],
)
def test_a_client_notes_what_it_should_never_see(events):
    """I5."""
    assert seen(*events).wrong


def test_a_client_has_nothing_to_note_of_an_ordinary_answer():
    """Nor of a second attempt."""
    for events in [(START, event("1-1"), END), (START, event("2-0", "message_reset"), event("2-1"), event("2-2", "error"))]:
        view = seen(*events)
        assert (view.wrong, view.losses) == ([], [])
        assert view.end


def test_a_lost_log_is_noted_apart():
    """A snapshot, an end alone, a cursor that could not be honoured: fine where Redis was killed, and nowhere else."""
    assert seen(START, event("1-5", "message_snapshot")).losses
    assert seen(START, event("1-5", "message_completed")).losses
    view = seen(START)
    view.forget()
    view.take(event("1-7"))
    assert len(view.losses) == 2
    assert not view.wrong


def turn(number=1, **fields):
    made = Turn(
        session_id=SESSION,
        number=number,
        user_id="u",
        flow="chat",
        input=(text_part(f"order {number:05}. hello"),),
        options=ModelOptions("m"),
        created_at=0,
        expires_at=10**15,
        status=Status.COMPLETED,
        attempt=1,
        answer=f"answer {number}",
        started_at=number * 10,
        ended_at=number * 10 + 5,
    )
    return replace(made, **fields)


def world(*turns, calls=1, dead=(), order=None, scene=None, end="message_completed"):
    """What is left after a run in which each of `turns` was asked for."""
    orders, views = [], {}
    for each in turns:
        fields = {"job_id": str(each.job_id), **(order or {})}
        orders.append(Order(each.number, Conversation(), "", f"answer {each.number}", **fields))
        views[str(each.job_id)] = View(end={"type": end, "text": each.answer}, text=each.answer or "")
    scene = scene or Scene("a fault", "G1")
    made = SimpleNamespace(
        orders=orders,
        accepted=orders,
        stored={str(each.job_id): each for each in turns},
        calls={o.marker: [{"began_at": float(n)} for n in range(calls)] for o in orders},
        dead=list(dead),
        run=SimpleNamespace(poison=0, fleet=SimpleNamespace(retry_seconds=0.5, max_failures=4)),
        turn=lambda o: made.stored.get(o.job_id),
        view=lambda o: views[o.job_id],
        scene=lambda _: scene,
    )
    return made


def problems(made):
    counted = [*invariants.lost(made), *invariants.hanging(made), *invariants.doubled(made)]
    return counted + [line for _, check in invariants.CHECKS for line in check(made)]


def test_a_run_in_which_all_went_well_has_no_problem():
    """Two turns of a session, answered in order."""
    assert problems(world(turn(1), turn(2))) == []


def test_a_lost_turn_is_found():
    """I1."""
    made = world(turn(1))
    made.stored.clear()
    assert invariants.lost(made)


def test_a_hanging_turn_or_client_is_found():
    """I1."""
    assert invariants.hanging(world(turn(1, status=Status.RUNNING)))
    made = world(turn(1))
    made.view(made.orders[0]).end = None
    assert invariants.hanging(made)


def test_a_doubled_turn_is_found():
    """I3, I4: nobody asked for it, or it was asked for once and is there twice."""
    made = world(turn(1))
    made.stored[f"{SESSION}.2"] = turn(2, input=turn(1).input)
    assert len(invariants.doubled(made)) == 2


def test_an_end_without_a_log_is_fine_in_the_moment_of_the_end_and_no_later():
    """I5: who subscribes between the store of a short turn's end and its publication is told the end, and no more."""
    for seen_at, problem in ((0.5, False), (5.0, True)):
        made = world(turn(1))
        view = made.view(made.orders[0])
        view.losses, view.events, view.ended_at = ["not recovered"], 1, seen_at
        assert bool(list(invariants.events(made))) is problem


@pytest.mark.parametrize(
    ("check", "made"),
    [
        ("I2", world(turn(1, answer="another's"))),
        ("I2", world(turn(1, status=Status.FAILED, error={"code": "provider_unavailable"}), end="error")),
        ("I6", world(turn(1), end="error")),
        ("I7", world(turn(1), dead=[Dead(f"{SESSION}.1", "crashed")])),
        ("I7", world(turn(1), dead=[Dead(None, "not_json")])),
        ("I7", world(turn(1), order={"dead": True})),
        ("I8", world(turn(1), order={"dead": True}, calls=4)),
        ("I10", world(turn(1), calls=2)),
        ("I10", world(turn(1, crashes=1), calls=2)),
        ("I11", world(turn(1), turn(2, started_at=12))),
        ("I11", world(turn(1), turn(3))),
    ],
)
def test_each_invariant_can_be_broken(check, made):
    """And is found by the check that is there for it."""
    assert list(dict(invariants.CHECKS)[check](made))


ACTION, REPLY = EffectId.action(SESSION, 1, 0), EffectId.reply(SESSION, 1)


def effect(effect_id, status=EffectStatus.EXECUTED, **fields):
    return Effect(
        **{"id": effect_id, "user_id": "u", "name": ASKED, "status": status, "created_at": 0, "expires_at": 1, "confirmed_at": 1}
        | fields
    )


def delivery(effect_id=REPLY, **data):
    return Received("POST", "/", {"webhook-id": str(effect_id)}, json.dumps({"type": "t", "data": data}).encode())


TOLD = delivery(job_id=f"{SESSION}.1")


def outside(*effects, calls=None, target="executed", arrived=(TOLD,), **more):
    """What is left of a turn that proposed an action, with a callback: as it should be, but for what is given."""
    made = world(turn(1), order={"body": {"callback_url": "http://x/"}, "refused": more.get("refused", False)})
    errand = Errand(made.orders[0], more.get("name", ASKED), more.get("yes", "http"), more.get("ends", DONE))
    made.run.errands = [errand]
    made.effects = {str(e.id): e for e in (effect(ACTION), effect(REPLY), *effects)}
    made.called = {str(ACTION): {"calls": 1, "status": target}} if calls is None else calls
    made.arrived, made.shown = list(arrived), more.get("shown", {})
    made.dead_effects = [Dead(str(of), "http_500") for of in more.get("dead", ())]
    return made


def effect_problems(made):
    found = [line for _, check in effect_invariants.CHECKS for line in check(made)]
    return found + effect_invariants.unsettled(made)


def test_a_run_in_which_all_went_well_outside_has_no_problem():
    """An action and a delivery; a delivery twice; one that was refused for good; an action that nobody confirmed."""
    twice = outside(arrived=[TOLD, TOLD])
    refused = outside(effect(REPLY, EffectStatus.FAILED), refused=True, dead=[REPLY])
    staged = outside(effect(ACTION, EffectStatus.STAGED, confirmed_at=None), yes=None, calls={})
    for made in (outside(), twice, refused, staged):
        assert effect_problems(made) == []
    assert effect_invariants.account(twice) | {"confirmed": 1, "calls": 1, "doubled": 1, "lost": 0} == effect_invariants.account(
        twice
    )


@pytest.mark.parametrize(
    "made",
    [
        outside(effect(ACTION, EffectStatus.CONFIRMED)),
        outside(effect(REPLY, EffectStatus.EXECUTING)),
        outside(arrived=()),
    ],
    ids=["confirmed", "executing", "never arrived"],
)
def test_what_is_on_its_way_for_ever_is_found(made):
    """It counts as lost."""
    assert effect_invariants.unsettled(made)


def test_a_delivery_that_was_forgotten_is_found():
    """It was owed, and nobody has stored that."""
    made = outside()
    del made.effects[str(REPLY)]
    assert effect_invariants.unsettled(made)


@pytest.mark.parametrize(
    ("check", "made"),
    [
        ("I12", outside(calls={str(ACTION): {"calls": 2, "status": "executed"}})),
        ("I12", outside(effect(ACTION, EffectStatus.STAGED, confirmed_at=None), yes=None)),
        ("I12", outside(calls={f"{SESSION}/a7-0": {"calls": 1, "status": "executed"}})),
        ("I12", outside(target="failed")),
        ("I12", outside(effect(ACTION, EffectStatus.FAILED))),
        ("I13", outside(effect(ACTION, EffectStatus.UNKNOWN), ends=DONE | {"unknown"})),
        ("I13", outside(effect(ACTION, EffectStatus.UNKNOWN), name=UNASKED)),
        ("I13", outside(yes=None)),
        (
            "I13",
            outside(effect(ACTION, EffectStatus.UNKNOWN), name=UNASKED, ends=DONE | {"unknown"}, shown={str(ACTION): "executed"}),
        ),
        ("I14", outside(arrived=[delivery(EffectId.reply(SESSION, 7), job_id=f"{SESSION}.7")])),
        ("I14", outside(arrived=[TOLD, delivery(ACTION.outcome(), job_id=f"{SESSION}.1")])),
        ("I14", outside(effect(REPLY, EffectStatus.FAILED), dead=[REPLY])),
        ("I14", outside(effect(REPLY, EffectStatus.FAILED), refused=True)),
        ("I14", outside(refused=True)),
        ("I14", outside(dead=[REPLY])),
    ],
)
def test_each_invariant_of_effects_can_be_broken(check, made):
    """And is found by the check that is there for it."""
    assert list(dict(effect_invariants.CHECKS)[check](made))
