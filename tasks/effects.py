"""A wake-up of the queue `effects` is received, and the effect it names is looked at."""

import logging

from chatapp import failpoints
from chatapp.effects import EffectId
from chatapp.errors import NotFound
from chatapp.flows.turn import HideUntil
from config.resources import EFFECT_TASK
from tasks.app import app, services
from tasks.base import WakeUp
from tasks.envelope import Poison

log = logging.getLogger(__name__)


@app.task(name=EFFECT_TASK, base=WakeUp)
def carry_out(effect_id: str, *, returned: bool) -> HideUntil | None:
    """Look at the effect, and carry it out if it may be. `returned`: the message was in the dead-letter queue."""
    failpoints.hit("effect.received")
    effect = EffectId.parse(effect_id)
    if effect is None:
        raise Poison("wrong_effect_id", "effect_id is not an effect's id")
    try:
        if returned and services.resolving.revive(effect):
            log.info("%s came back from the dead-letter queue: it is tried anew", effect)
        return services.effect_runner(effect)
    except NotFound as error:
        raise Poison("unknown_effect", "there is no such effect", str(effect)) from error
