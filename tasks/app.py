"""The Celery app of the worker, and what happens when one starts and stops."""

import logging
import signal
import sys
from collections.abc import Callable
from time import sleep
from typing import Any, TypeVar

from celery import Celery
from celery.exceptions import Reject
from celery.signals import setup_logging, worker_init, worker_ready, worker_shutting_down

from chatapp import logs
from chatapp.errors import Unavailable
from chatapp.provision import Provisioner
from chatapp.queue import connect
from chatapp.services import build
from config.celery import worker_config
from config.resources import CHAT, EFFECTS, QUEUES, VISIBILITY_SECONDS
from config.settings import SettingsError, load
from tasks.closing import SHUTDOWN, PauseWatch, Shutdown, StoreWatch
from tasks.delivery import Deliveries
from tasks.gate import gate
from tasks.heartbeat import Heartbeat, Heartbeats
from tasks.poison import bury

log = logging.getLogger(__name__)

T = TypeVar("T")

AWAY_SECONDS = 1.0
"""Pause between tries to reach SQS and DynamoDB before the worker starts."""

BEAT_SECONDS = 1.0
"""How often leases and deliveries are looked at; each is renewed in a time of its own."""

PAUSE_LOOK_SECONDS = 3.0
SHUTDOWN_LOOK_SECONDS = 0.25

try:
    settings = load()
except SettingsError as error:
    sys.exit(str(error))

services = build(settings)
deliveries = Deliveries(
    connect(settings.aws_region, settings.aws_endpoint, tries=2), longest=settings.attempt_deadline_seconds + VISIBILITY_SECONDS
)
store_watch = StoreWatch(services.health.dynamodb, gate)
shutdown = Shutdown(services.leases, gate, grace_seconds=settings.shutdown_grace_seconds)
pause_watch = PauseWatch(services.pauses, gate, [q.name for q in QUEUES])


def _bury(queue: str, body: str, reason: str, detail: str, about: str | None) -> None:
    bury(services, queue, body, reason=reason, detail=detail, about=about)


def _relay() -> None:
    if SHUTDOWN not in gate.reasons:  # a pass that is cut off may leave turns put off and not woken
        services.relay.look(waking=not pause_watch.is_paused(CHAT.name))


def _effect_relay() -> None:
    if SHUTDOWN not in gate.reasons:
        services.effect_relay.look(waking=not pause_watch.is_paused(EFFECTS.name))


app = Celery("chatapp", set_as_current=False, include=["tasks.chat", "tasks.effects"])
app.config_from_object(worker_config(settings, _bury))
app.steps["worker"].add(Heartbeats)
Heartbeats.all = (
    Heartbeat("leases", BEAT_SECONDS, services.leases.beat),
    Heartbeat("deliveries", BEAT_SECONDS, deliveries.beat),
    Heartbeat("relay", settings.relay_seconds, _relay),
    Heartbeat("effect relay", settings.relay_seconds, _effect_relay),
    Heartbeat("store", BEAT_SECONDS, store_watch.look),
    Heartbeat("pause", PAUSE_LOOK_SECONDS, pause_watch.look),
    Heartbeat("shutdown", SHUTDOWN_LOOK_SECONDS, shutdown.look),
)


@setup_logging.connect
def _log(**_signal: Any) -> None:
    """Log as LOG_LEVEL says, in the place of Celery's own set-up."""
    logs.set_up(settings.log_level)
    # A message that is to be seen again later is no news, and its traceback none of ours.
    logging.getLogger("celery.app.trace").addFilter(lambda record: not isinstance((record.exc_info or (None,) * 3)[1], Reject))


@worker_init.connect
def _start(**_signal: Any) -> None:
    try:
        _prepare()
    except Exception as error:  # Celery swallows what a signal's receiver raises, and would take messages from any queue
        log.exception("the worker does not start")
        sys.exit(f"The worker does not start: {error}")


def _prepare() -> None:
    provisioner, queue = Provisioner(settings), _own_queue()
    if unsafe := _when_it_answers(lambda: provisioner.unsafe_queue(queue)):
        sys.exit(f"The worker does not start: {unsafe}\nRun: python -m chatapp provision")
    pause_watch.own = queue
    _when_it_answers(pause_watch.look)  # before the first message, not with the first beat
    if queue == EFFECTS.name:
        _ = services.effect_runner
    else:
        _ = services.answer  # the model's SDK takes a second to import: not at the cost of the first turn
        services.signals.listen(services.leases.look)


def _own_queue() -> str:
    """Say the one queue that this worker consumes, as `-Q` names it: `chat` without it."""
    named = list(app.amqp.queues.consume_from)
    if len(named) != 1 or named[0] not in {q.name for q in QUEUES}:
        # Queues are polled in turn: an empty one would hold up the other for a whole long poll.
        sys.exit(f"The worker does not start: it takes one queue, -Q {' or -Q '.join(q.name for q in QUEUES)}")
    queue: str = named[0]
    return queue


def _when_it_answers(ask: Callable[[], T]) -> T:
    while True:
        try:
            return ask()
        except Unavailable as error:
            log.warning("the worker waits: %s", error)
            sleep(AWAY_SECONDS)


@worker_ready.connect
def _ready(**_signal: Any) -> None:
    # Celery would start anew in this process, which `python -m celery` cannot, and hand no turn back before.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    queue = _own_queue()
    log.info("worker ready: it takes %s from %s", "effects" if queue == EFFECTS.name else "turns", settings.queue_url(queue))


@worker_shutting_down.connect
def _stop(**_signal: Any) -> None:
    shutdown.begin()
