"""What must hold after a run, whatever broke in it: I1 to I11. Each function returns what it found wrong, a line each."""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
from redis import Redis

from chatapp.effects import Effect
from chatapp.model import JobId, Status, Turn, text_of
from tests.chaos.fleet import Fleet
from tests.chaos.follower import View
from tests.chaos.member import until
from tests.chaos.orders import Order
from tests.chaos.run import Run, Scene
from tests.outbound_kit import Received

SLACK_SECONDS = 3.0
"""What a retry may come late by: the rounding up of a hidden message to seconds, one poll, and a busy machine."""

MARKER = re.compile(r"order \d{5}")
PUBLISHED_SECONDS = 1.0
"""How long after its store an end may reach the log, on a busy machine."""

MAX_NEW_FILES = 60
MAX_NEW_MEGABYTES = 80


@dataclass(frozen=True)
class Dead:
    """A message of a dead-letter queue. `job_id`: the job, or the effect, that it names."""

    job_id: str | None
    reason: str | None


class World:
    """What is left after a run, read once, from the servers themselves."""

    def __init__(self, run: Run) -> None:
        fleet = run.fleet
        self.run = run
        self.orders = run.client.orders
        self.stored = {str(turn.job_id): turn for turn in _all_turns(fleet)}
        self.calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for call in fleet.model_calls():
            self.calls[call["said"][: len("order 00000.")]].append(call)
        self.dead = list(_dead_letters(fleet, fleet.dlq_url, "JobId"))
        self.effects: dict[str, Effect] = {}
        self.called: dict[str, dict[str, Any]] = {}
        self.arrived: list[Received] = []
        self.dead_effects: list[Dead] = []
        self.shown: dict[str, str] = {}
        """How users see their actions."""
        if fleet.outside is not None:
            self.effects = {str(effect.id): effect for effect in fleet.services.effects.scan()}
            self.called, self.arrived = fleet.outside.calls(), fleet.outside.arrived()
            self.shown = _shown(run)
            self.dead_effects = list(_dead_letters(fleet, fleet.effects_dlq_url, "EffectId"))

    def turn(self, order: Order) -> Turn | None:
        """An order's turn."""
        return self.stored.get(order.job_id or "")

    def view(self, order: Order) -> View:
        """What an order's client has seen."""
        return self.run.views.get(order.job_id or "") or View()

    def scene(self, order: Order) -> Scene:
        """The fault under which an order was given."""
        return self.run.scene_of[order.number]

    @property
    def accepted(self) -> list[Order]:
        """The orders that got their 202."""
        return [order for order in self.orders if order.job_id]


def lost(world: World) -> list[str]:
    """I1: every 202 has a turn that can be read."""
    return [f"{o.marker} was accepted as {o.job_id}, which does not exist" for o in world.accepted if world.turn(o) is None]


def hanging(world: World) -> list[str]:
    """I1: every turn has ended, and its client knows."""
    found = [f"{o.marker} was never accepted: {o.refusals}" for o in world.orders if o.job_id is None]
    for order in world.accepted:
        turn = world.turn(order)
        if turn is not None and not turn.status.ended:
            found.append(f"{order.marker} is still {turn.status}")
        elif order.followed and world.view(order).end is None:
            found.append(f"the client of {order.marker} waits for an end that was stored")
    return found


def doubled(world: World) -> list[str]:
    """I3, I4: as many turns as requests, and one job for each."""
    wanted = {o.job_id for o in world.accepted}
    found = [f"{job} was never asked for: {text_of(t.input)[:60]!r}" for job, t in world.stored.items() if job not in wanted]
    jobs = Counter(o.job_id for o in world.accepted)
    found += [f"{job} answers {count} requests" for job, count in jobs.items() if count > 1]
    asked = Counter(m[0] for turn in world.stored.values() if (m := MARKER.search(text_of(turn.input))))
    return found + [f"{marker} is in {count} turns" for marker, count in asked.items() if count > 1]


def answers(world: World) -> Iterator[str]:
    """I1, I2: each turn has ended as it must, with the answer that the model gives to it."""
    for order in world.accepted:
        turn = world.turn(order)
        if turn is None:
            continue
        code = (turn.error or {}).get("code")
        if turn.status not in order.ends:
            yield f"{order.marker} is {turn.status} ({code}) instead of {'/'.join(order.ends)} in: {world.scene(order).name}"
        elif turn.status is Status.COMPLETED and not order.answered_by(turn.answer):
            yield f"{order.marker} is answered with {turn.answer!r}"
        elif order.code is not None and code != order.code:
            yield f"{order.marker} failed with {code} instead of {order.code}"


def events(world: World) -> Iterator[str]:
    """I5: no gap, no repeat, no attempt that goes back, one end and nothing after it."""
    for order in world.accepted:
        view = world.view(order)
        yield from (f"{order.marker}: {wrong}" for wrong in view.wrong)
        if not world.scene(order).loses_logs and not _came_at_the_end(world.turn(order), view):
            yield from (f"{order.marker}: a log was lost: {loss}" for loss in view.losses)


def _came_at_the_end(turn: Turn | None, view: View) -> bool:
    """Say whether all that a client saw is the end, in the moment in which it was stored: the log gets it a little later."""
    if turn is None or turn.ended_at is None or view.end is None:
        return False
    return view.events == 1 and view.ended_at - turn.ended_at / 1000 < PUBLISHED_SECONDS


def texts(world: World) -> Iterator[str]:
    """I6: what the client has put together is what is stored."""
    kinds = {Status.COMPLETED: "message_completed", Status.FAILED: "error", Status.CANCELLED: "message_cancelled"}
    for order in world.accepted:
        turn, view = world.turn(order), world.view(order)
        if turn is None or view.end is None:
            continue
        if view.end["type"] != kinds.get(turn.status):
            yield f"{order.marker} is {turn.status} and its client was told {view.end['type']}"
        if turn.status is Status.COMPLETED and view.end.get("text") != turn.answer:
            yield f"{order.marker}: the end says {view.end.get('text')!r}, stored is {turn.answer!r}"
        whole = not view.losses  # an end alone, after a log was lost, has no deltas before it
        if turn.status is Status.COMPLETED and whole and view.text != turn.answer:
            yield f"{order.marker}: the client has {view.text!r}, stored is {turn.answer!r}"


def dead_letters(world: World) -> Iterator[str]:
    """I7: the dead-letter queue holds what failed for good, and poison, once each and with a reason."""
    expected = {o.job_id for o in world.accepted if o.dead}
    there = Counter(d.job_id for d in world.dead if d.job_id)
    yield from (f"{job} is not in the dead-letter queue" for job in expected if job not in there)
    yield from (f"{job} is in the dead-letter queue {n} times" for job, n in there.items() if job not in expected or n > 1)
    unread = sum(d.job_id is None for d in world.dead)
    if unread != world.run.poison:
        yield f"the dead-letter queue holds {unread} messages that nobody could read, {world.run.poison} were sent"
    yield from (f"{d.job_id} is in the dead-letter queue without a reason" for d in world.dead if not d.reason)


def pauses(world: World) -> Iterator[str]:
    """I8: a failing turn is tried again after 2, 4, 8 (here `RETRY_SECONDS`) seconds, with jitter, and not too often."""
    fleet = world.run.fleet
    for order in (o for o in world.accepted if o.dead and o.calls):
        began = [call["began_at"] for call in world.calls[order.marker]]
        for n, (before, after) in enumerate(itertools.pairwise(began)):
            least = fleet.retry_seconds * 2**n
            if not least <= after - before <= least * 1.25 + SLACK_SECONDS:
                yield f"{order.marker}: attempt {n + 2} began {after - before:.2f} s after the one before, not {least} s"
        if len(began) != fleet.max_failures:
            yield f"{order.marker} failed after {len(began)} attempts, not {fleet.max_failures}"


def model_calls(world: World) -> Iterator[str]:
    """I10: no more model calls than attempts that were allowed, and crashes that were injected."""
    for order in world.accepted:
        turn, count = world.turn(order), len(world.calls[order.marker])
        if turn is None:
            continue
        allowed = order.calls + turn.hand_backs + turn.crashes
        if count > allowed:
            yield f"{order.marker} cost {count} model calls, {allowed} are allowed in: {world.scene(order).name}"
        if turn.crashes and not world.scene(order).crashing:
            yield f"{order.marker} lost a lease that nobody took from it in: {world.scene(order).name}"


def order_of_answers(world: World) -> Iterator[str]:
    """I11: turns of a session are answered one after the other, in turn order."""
    sessions: defaultdict[str, list[Turn]] = defaultdict(list)
    for turn in world.stored.values():
        sessions[turn.session_id].append(turn)
    for turns in sessions.values():
        turns.sort(key=lambda turn: turn.number)
        if [turn.number for turn in turns] != list(range(1, len(turns) + 1)):
            yield f"session {turns[0].session_id} has the turns {[turn.number for turn in turns]}"
        for before, after in itertools.pairwise(turns):
            if after.started_at is not None and (before.ended_at is None or before.ended_at > after.started_at):
                yield f"{after.job_id} began before {before.job_id} had ended"


CHECKS: tuple[tuple[str, Callable[[World], Iterable[str]]], ...] = (
    ("I2", answers),
    ("I5", events),
    ("I6", texts),
    ("I7", dead_letters),
    ("I8", pauses),
    ("I10", model_calls),
    ("I11", order_of_answers),
)
"""Beside `lost`, `doubled` and `hanging`, which are counted on the scorecard."""


# --- I9: what a run must leave as it found it


@dataclass(frozen=True)
class Baseline:
    """What the processes hold: by process id, (open files, resident bytes)."""

    held: dict[int, tuple[int, int]]

    @classmethod
    def of(cls, fleet: Fleet) -> "Baseline":
        """Look at every process that runs now."""
        found = {}
        for member in fleet.ours:
            for process in (psutil.Process(member.pid), *psutil.Process(member.pid).children(recursive=True)):
                found[process.pid] = (process.num_fds(), process.memory_info().rss)
        return cls(found)


def left_behind(run: Run, before: Baseline) -> Iterator[str]:
    """I9: no message in flight, no stream, no file, no Redis client, no memory is left over."""
    fleet = run.fleet
    for url in (fleet.queue_url, fleet.effects_url):
        try:
            until(lambda url=url: not any(fleet.messages(url).values()), "the queue is empty", 45, pause=0.5)
        except TimeoutError:
            yield f"the queue {url} still has {fleet.messages(url)}"
    if still := [call["said"] for call in fleet.model_calls() if call["outcome"] == "open"]:
        yield f"{len(still)} streams are still open at the model: {still[:3]}"
    after = Baseline.of(fleet).held
    for pid, (files, memory) in before.held.items():
        if pid not in after:
            continue
        if after[pid][0] > files + MAX_NEW_FILES:
            yield f"process {pid} held {files} files and now {after[pid][0]}"
        if after[pid][1] > memory + MAX_NEW_MEGABYTES * 2**20:
            yield f"process {pid} held {memory >> 20} MB and now {after[pid][1] >> 20} MB"
    with fleet.redis() as redis:
        clients = _clients(redis)
    if clients > 40 * len(fleet.ours):
        yield f"Redis has {clients} clients"


def _clients(redis: Redis) -> int:
    info: Any = redis.info("clients")
    return int(info["connected_clients"])


# --- reading


def _all_turns(fleet: Fleet) -> Iterator[Turn]:
    """Read every turn there is, by the table and not by what was asked for."""
    dynamodb = fleet.services.dynamodb
    table = fleet.services.settings.table_name("turns")
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ProjectionExpression="SessionId, Turn")
    keys = [(item["SessionId"]["S"], int(item["Turn"]["N"])) for page in pages for item in page["Items"]]
    for session_id, number in keys:
        if number < 1:  # an input that is kept apart
            continue
        turn = fleet.services.turns.get(JobId(session_id, number))
        if turn is not None:
            yield turn


def _shown(run: Run) -> dict[str, str]:
    """Ask how actions are shown, of those errands whose user can be asked."""
    sessions = {errand.id.session_id for errand in run.errands if errand.order.followed and errand.order.job_id}
    return {f"{of}/{action['action_id']}": action["status"] for of in sessions for action in run.client.actions(of)}


def _dead_letters(fleet: Fleet, url: str, name: str) -> Iterator[Dead]:
    seen: set[str] = set()
    while messages := fleet.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60, MessageAttributeNames=["All"]
    ).get("Messages"):
        for message in messages:
            if message["MessageId"] not in seen:
                seen.add(message["MessageId"])
                told = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
                yield Dead(told.get(name), told.get("Reason"))
