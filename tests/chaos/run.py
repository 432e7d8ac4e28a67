"""One run: faults one after the other, each under load, and after each the world must come to rest."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from chatapp.model import JobId, Turn
from tests.chaos.errands import Errand, ended_after, settled_by
from tests.chaos.fleet import Fleet
from tests.chaos.follower import Follower, View
from tests.chaos.member import until
from tests.chaos.orders import Client, Conversation, Order

REST_SECONDS = 30.0
"""Bound on coming to rest: a lapsed lease, a lapsed visibility and a relay pass, several times over."""

FOLLOWERS = 8
"""A socket follows a hundred sessions at most."""


@dataclass(eq=False)
class Scene:
    """One fault: what it is, whether it hit, and how long the world took to be whole again."""

    name: str
    attacks: str
    turns: int = 0
    hits: int = 0
    hit_at: float = 0.0
    """When it hit, or (an outage) ended; seconds since 1970."""
    recovery: list[float] = field(default_factory=list)
    """Seconds from there until the client of each turn that was open then saw its end."""
    seconds: float = 0.0
    problem: str | None = None
    crashing: bool = False
    loses_logs: bool = False
    rest: float = REST_SECONDS
    """The longest that it may take to be whole again."""


Play: TypeAlias = "Callable[[Run, Scene], None]"
"""How a fault is played."""


@dataclass(frozen=True)
class Cell:
    """A fault of the suite. `crashing`: leases may lapse; `loses_logs`: Redis may forget; `short`: also in the short cut.

    `rest`: the longest (s) that the world may take to be whole again.
    """

    name: str
    attacks: str
    play: Play
    crashing: bool = False
    loses_logs: bool = False
    short: bool = False
    rest: float = REST_SECONDS


class Run:
    """The state of a run, and what a fault needs."""

    def __init__(self, fleet: Fleet, *, seed: int, size: int) -> None:
        self.fleet = fleet
        self.seed = seed
        self.size = size
        """How many turns a fault is played with."""
        self.chance = random.Random(seed)
        self.client = Client(fleet.api_url, fleet.token, seed=seed)
        self.followers = [Follower(fleet.ws_url, fleet.token) for _ in range(FOLLOWERS)]
        self.scenes: list[Scene] = []
        self.poison = 0
        """Messages that were never meant to be read."""
        self.views: dict[str, View] = {}
        self.turns: dict[str, Turn] = {}
        self.scene_of: dict[int, Scene] = {}
        self.errands: list[Errand] = []
        self._conversations: list[Conversation] = []

    @property
    def model(self) -> str:
        """The model of this scene."""
        return f"m{len(self.scenes)}"

    def close(self) -> None:
        """Let the clients leave."""
        self.client.close()
        for follower in self.followers:
            follower.close()

    # --- load

    def orders(self, count: int, **more: Any) -> list[Order]:
        """Write orders: about half of them go to conversations that are known already; every third has a callback."""
        made = []
        for _ in range(count):
            if self._conversations and self.chance.random() < 0.5:
                conversation = self.chance.choice(self._conversations[-12:])
            else:
                self._conversations.append(conversation := Conversation())
            made.append(self.order(conversation, **more))
            if self.fleet.outside is not None and made[-1].number % 3 == 0:
                made[-1].body["callback_url"] = self.fleet.outside.callback_url
        return made

    def order(self, conversation: Conversation, **more: Any) -> Order:
        """Write one order."""
        return self.client.order(conversation, body={"model": self.model}, **more)

    def post(self, orders: list[Order], *, wait: bool = True) -> list[Order]:
        """Post orders at the same time, and follow each. `wait`: until all are accepted."""
        waiting = self.client.post_all(orders)
        for future in waiting:
            future.add_done_callback(lambda done: self.follow(done.result()) if done.exception() is None else None)
        if wait:
            for future in waiting:
                future.result()
        return orders

    def load(self, count: int, *, wait: bool = True, **more: Any) -> list[Order]:
        """Write orders and post them."""
        return self.post(self.orders(count, **more), wait=wait)

    def follow(self, order: Order) -> None:
        """Follow an accepted order's turn to its end, if it can be."""
        if not order.followed:
            return
        assert order.job_id is not None
        job = JobId.parse(order.job_id)
        assert job is not None
        follower = self.followers[int(job.session_id, 16) % FOLLOWERS]
        self.views[order.job_id] = follower.follow(order.job_id)

    # --- what a fault asks

    def turn(self, order: Order) -> Turn | None:
        """The turn as it is stored."""
        job = JobId.parse(order.job_id or "")
        return self.fleet.services.turns.get(job) if job else None

    def wait_hit(self, scene: Scene, point: str, seconds: float = 15) -> int:
        """Wait until a process has met a fail point. Returns: its id."""
        proof = self.fleet.hit_file(point)
        until(proof.exists, f"{point} was not hit", seconds)
        scene.hits += 1
        scene.hit_at = proof.stat().st_mtime
        return int(proof.read_text())

    def wait_death(self, scene: Scene, point: str, seconds: float = 15) -> None:
        """Wait until a worker has died at a fail point: it says so just before, and would not be started again yet."""
        worker = self.fleet.worker_of(self.wait_hit(scene, point, seconds))
        until(lambda: not worker.alive, f"{worker.name} did not die")

    def wait_streaming(self, count: int = 1) -> None:
        """Wait until the model is in the middle of so many answers."""
        until(lambda: sum(c["outcome"] == "open" and c["chunks"] > 2 for c in self.fleet.model_calls()) >= count, "no stream")

    # --- a scene

    def play(self, cell: Cell) -> Scene:
        """Let a fault happen, and wait until every turn has ended and its client knows."""
        scene = Scene(cell.name, cell.attacks, crashing=cell.crashing, loses_logs=cell.loses_logs)
        self.scenes.append(scene)
        began, first, first_errand = time.monotonic(), len(self.client.orders), len(self.errands)
        try:
            cell.play(self, scene)
        except (TimeoutError, AssertionError) as error:
            scene.problem = str(error) or type(error).__name__
        finally:
            self.fleet.revive()
        orders = self.client.orders[first:]
        for order in orders:
            self.scene_of[order.number] = scene
        scene.turns = len(orders)
        errands = self.errands[first_errand:]
        try:
            self._rest(orders, cell.rest)
            settled_by(self, errands, cell.rest)
        except TimeoutError as error:
            scene.problem = scene.problem or str(error)
        ended = [view.ended_at for order in orders if (view := self.views.get(order.job_id or ""))]
        scene.recovery = [at - scene.hit_at for at in ended if scene.hit_at and at > scene.hit_at]
        scene.recovery += ended_after(self.fleet.services.effects, errands, scene.hit_at)
        scene.seconds = time.monotonic() - began
        return scene

    def _rest(self, orders: Iterable[Order], seconds: float) -> None:
        """Wait until each order was accepted, its turn has ended, and the client has seen the end."""
        waiting = {order.number: order for order in orders}

        def rested() -> bool:
            for number, order in list(waiting.items()):
                view = self.views.get(order.job_id or "")
                if order.followed and (view is None or view.end is None):
                    continue
                turn = self.turn(order)
                if turn is not None and turn.status.ended:
                    self.turns[order.job_id or ""] = turn
                    del waiting[number]
            return not waiting

        try:
            until(rested, "", seconds, pause=0.05)
        except TimeoutError:
            raise TimeoutError(f"not at rest: {'; '.join(self._state(order) for order in waiting.values())}") from None

    def _state(self, order: Order) -> str:
        turn, view = self.turn(order), self.views.get(order.job_id or "")
        if turn is not None and turn.status.ended:
            self.turns[order.job_id or ""] = turn
        stored = f"{turn.status} attempt {turn.attempt}" if turn else f"not stored {order.refusals[-3:]}"
        seen = ("ended" if view.end else f"saw {view.cursor}") if view else "not followed"
        return f"{order.marker} {order.job_id} is {stored}, its client {seen}"
