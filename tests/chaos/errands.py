"""Errands: actions that somebody asks the orchestrator for and says yes to, over HTTP, by a message, by phone; or never does."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.model import JobId
from chatapp.stores.effects import EffectStore
from tests.chaos.member import until
from tests.chaos.orders import Conversation, Order
from tests.chaos.outside import ASKED, UNASKED

if TYPE_CHECKING:
    from tests.chaos.run import Run

WAYS = (
    (ASKED, "http", False),
    (UNASKED, "message", True),
    (ASKED, "message", True),
    (UNASKED, "http", False),
    (ASKED, "message", False),
)
"""What is asked for, how it is confirmed, and whether it is asked for by phone: in turns, so that four have something of all."""

DONE = frozenset({"executed"})
REFUSED = frozenset({"failed", "unknown"})
CUT_OFF = frozenset({"executed", "unknown"})
ANY = frozenset({"executed", "failed", "unknown"})
"""Where a call may have been cut off: what is right then, the target's own account says."""


@dataclass(eq=False)
class Errand:
    """An action that an order proposes. `yes`: how it is confirmed, None: never. `ends`: the ways in which it may end."""

    order: Order
    name: str
    yes: str | None
    ends: frozenset[str]

    @property
    def asked(self) -> bool:
        """Whether its target says what became of a call: then it does not stay unknown."""
        return self.name == ASKED

    @property
    def id(self) -> EffectId:
        """The action, once its order was accepted."""
        job = JobId.parse(self.order.job_id or "")
        assert job is not None, f"{self.order.marker} was not accepted"
        return EffectId.action(job.session_id, job.turn, 0)


def propose(run: "Run", count: int, directives: str = "", *, ends: frozenset[str] = DONE, yes: bool = True) -> list[Errand]:
    """Ask for actions, and wait until all of them wait for a yes. `directives`: what the target is to do with the calls."""
    made = []
    for number in range(count):
        name, way, phone = WAYS[number % len(WAYS)]
        conversation = Conversation(phone=f"+55119{len(run.errands):08}" if phone else None)
        order = run.order(conversation)
        words = f"note: {order.marker} all is well" if name == ASKED else f"check in, ward {order.marker[:-1]}"
        order.text, order.says = f"{words} {directives}".strip(), order.marker[:-1]
        order.body["flow"] = "orchestrator"
        made.append(Errand(order, name, way if yes else None, ends))
        run.errands.append(made[-1])
    run.post([errand.order for errand in made])
    store = run.fleet.services.effects
    until(lambda: all((turn := run.turn(e.order)) and turn.status.ended for e in made), "not all were answered")
    until(lambda: all((e := store.get(errand.id)) and e.status is EffectStatus.STAGED for errand in made), "not all are staged")
    return made


def confirm(run: "Run", errands: Sequence[Errand]) -> None:
    """Say yes to all of them at the same time, each in its way, and wait until each yes was taken."""
    by_message = [e for e in errands if e.yes == "message"]
    waiting = [
        run.client.submit(lambda _, e=errand: run.client.confirm(e.id.session_id, e.id.id), errand.order)
        for errand in errands
        if errand.yes == "http"
    ]
    run.post([run.order(e.order.conversation, text="yes", says="") for e in by_message])
    for future in waiting:
        future.result()
    store = run.fleet.services.effects
    until(lambda: all((e := store.get(errand.id)) and e.confirmed_at for errand in errands), "not all were confirmed", 30)


def called(run: "Run", errands: Sequence[Errand]) -> list[Errand]:
    """Say whose call has reached the target."""
    assert run.fleet.outside is not None
    calls = run.fleet.outside.calls()
    return [errand for errand in errands if str(errand.id) in calls]


def open_ends(store: EffectStore, errands: Iterable[Errand]) -> Iterator[str]:
    """Say what is not at rest yet: an action on its way, and what is owed of it."""
    for errand in errands:
        if errand.order.job_id is None:
            yield f"{errand.order.marker} was never accepted"
            continue
        action = store.get(errand.id)
        if action is None:
            yield f"{errand.id} is not stored"
        elif errand.yes is not None and not _rests(action, errand):
            yield f"{errand.id} is {action.status} after {action.attempts} calls"
        else:
            owed = [action.id.outcome(number) for number in range(1, action.told + 1)]
            yield from (f"{one} is {found.status if found else 'gone'}" for one in owed if _open(found := store.get(one)))


def _rests(action: Effect, errand: Errand) -> bool:
    if action.status is EffectStatus.UNKNOWN:
        return not errand.asked
    return action.status.final


def _open(effect: Effect | None) -> bool:
    return effect is None or not effect.status.final


def ended_after(store: EffectStore, errands: Iterable[Errand], moment: float) -> list[float]:
    """Say how many seconds after a moment (since 1970) each action ended that did so later."""
    ends = [effect.ended_at / 1000 for e in errands if e.yes and (effect := store.get(e.id)) and effect.ended_at]
    return [at - moment for at in ends if moment and at > moment]


def settled_by(run: "Run", errands: Sequence[Errand], seconds: float) -> None:
    """Wait until all is at rest. Raises: TimeoutError with what is not."""
    store = run.fleet.services.effects
    left = list(errands)
    deadline = time.monotonic() + seconds
    while left := [errand for errand in left if any(open_ends(store, [errand]))]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not at rest: {'; '.join(open_ends(store, left))}")
        time.sleep(0.1)
