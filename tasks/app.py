"""The Celery app of the worker, and what happens when one starts."""

import logging
import sys
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_ready

from chatapp.provision import Provisioner
from chatapp.services import build
from config.celery import celery_config
from config.resources import CHAT
from config.settings import SettingsError, load
from tasks.heartbeat import Heartbeat

log = logging.getLogger(__name__)

try:
    settings = load()
except SettingsError as error:
    sys.exit(str(error))

services = build(settings)
app = Celery("chatapp", set_as_current=False, include=["tasks.chat"])
app.config_from_object(celery_config(settings, read_timeout=15, tries=2))


@worker_init.connect
def _start(**_signal: Any) -> None:
    if problems := Provisioner(settings).queue_problems(CHAT.name):
        sys.exit("The worker does not start:\n  - " + "\n  - ".join(problems) + "\nRun: python -m chatapp provision")
    _ = services.answer  # the model's SDK takes a second to import: not at the cost of the first turn
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line per request to the model
    Heartbeat("lease-renewal", settings.lease_renew_seconds, services.leases.renew_all).start()
    Heartbeat("relay", settings.relay_seconds, services.relay.look).start()


@worker_ready.connect
def _ready(**_signal: Any) -> None:
    log.info("worker ready: it takes turns from %s", settings.queue_url(CHAT.name))
