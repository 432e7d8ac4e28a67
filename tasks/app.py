"""The Celery app of the worker, and what happens when one starts."""

import logging
import sys
from time import sleep
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_ready

from chatapp.errors import QueueUnavailable
from chatapp.provision import Provisioner
from chatapp.services import build
from config.celery import celery_config
from config.resources import CHAT
from config.settings import SettingsError, load
from tasks.heartbeat import Heartbeat

log = logging.getLogger(__name__)

SQS_AWAY_SECONDS = 1.0
"""Pause between tries to reach SQS before the worker starts."""

try:
    settings = load()
except SettingsError as error:
    sys.exit(str(error))

services = build(settings)
app = Celery("chatapp", set_as_current=False, include=["tasks.chat"])
app.config_from_object(celery_config(settings, read_timeout=15, tries=2))


@setup_logging.connect
def _log(**_signal: Any) -> None:
    """Log as LOG_LEVEL says, in the place of Celery's own set-up."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line per request to the model
    logging.getLogger("botocore").setLevel(logging.WARNING)


@worker_init.connect
def _start(**_signal: Any) -> None:
    try:
        _prepare()
    except Exception as error:  # Celery swallows what a signal's receiver raises, and would run without leases and relay
        log.exception("the worker does not start")
        sys.exit(f"The worker does not start: {error}")


def _prepare() -> None:
    if unsafe := _when_sqs_answers(Provisioner(settings)):
        sys.exit(f"The worker does not start: {unsafe}\nRun: python -m chatapp provision")
    _ = services.answer  # the model's SDK takes a second to import: not at the cost of the first turn
    Heartbeat("lease-renewal", settings.lease_renew_seconds, services.leases.renew_all).start()
    Heartbeat("relay", settings.relay_seconds, services.relay.look).start()


def _when_sqs_answers(provisioner: Provisioner) -> str | None:
    while True:
        try:
            return provisioner.unsafe_queue(CHAT.name)
        except QueueUnavailable as error:
            log.warning("the worker waits: %s", error)
            sleep(SQS_AWAY_SECONDS)


@worker_ready.connect
def _ready(**_signal: Any) -> None:
    log.info("worker ready: it takes turns from %s", settings.queue_url(CHAT.name))
