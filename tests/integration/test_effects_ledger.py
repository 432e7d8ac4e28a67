"""The effects ledger: messages delivered twenty times, workers killed, and the target's own account of its calls."""

import base64
import json
import random
import time
from collections import Counter
from contextlib import ExitStack

import httpx2
import pytest

from chatapp.effects import EffectStatus
from tests.integration.effects_kit import staged
from tests.integration.workers import env_of, messages_in, started, until

ACTIONS = 100
COPIES = 20
WORKERS = 4
POINTS = ("effect.called", "effect.claimed", "effect.stored")
"""Where a worker dies, with all that it has in hand: after dispatch, before it, and before the ack. One of four is left."""

QUICK = {
    "EFFECT_TIMEOUT_SECONDS": "1",
    "EFFECT_RETRY_SECONDS": "0.5",
    "RELAY_SECONDS": "0.5",
    "LOG_LEVEL": "WARNING",
    "OUTBOUND_WEBHOOK_SECRETS": "whsec_" + base64.b64encode(bytes(24)).decode(),
}


@pytest.fixture
def worker(settings, partners, tmp_path):
    """Start a worker. Action `book` can be asked about, action `note` cannot."""
    targets = {"book": {"url": f"{partners}/actions/book", "status_url": f"{partners}/actions/book/status"}}
    targets |= {"note": {"url": f"{partners}/actions/note"}}
    (tmp_path / "points").mkdir()
    env = env_of(settings) | QUICK | {"ACTION_URLS": json.dumps(targets), "FAIL_POINTS": str(tmp_path / "points")}
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(started(env, tmp_path / f"{name}.log", queue="effects"))


@pytest.mark.timeout(300)
def test_every_confirmed_action_is_called_once_at_most_and_none_is_lost(services, settings, sqs, partners, *, worker, tmp_path):
    """A hundred actions, each message twenty times, over four workers, three of which are killed on the way."""
    url = settings.queue_url("effects")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "6"})
    actions = [staged(services, ("book", "note")[n % 2], wake_at=services.clock.now()) for n in range(ACTIONS)]
    messages = [services.composer.effect(a.id, user_id=a.user_id) for a in actions for _ in range(COPIES)]
    random.Random(7).shuffle(messages)
    for start in range(0, len(messages), 10):
        batch = messages[start : start + 10]
        entries = [{"Id": str(n), "MessageBody": m["MessageBody"]} for n, m in enumerate(batch)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
    workers = [worker(f"effects-{n}") for n in range(WORKERS)]
    for number, point in enumerate(POINTS):
        (tmp_path / "points" / point).write_text(f"kill@{5 + 5 * number}")
    until(lambda: all((tmp_path / "points" / f"{point}.hit").exists() for point in POINTS), 60, "not all have died")
    until(lambda: messages_in(sqs, url) == (0, 0) or time.sleep(0.2), 150, "messages are left")
    left = [a.id for a in actions]

    def all_ended():
        while left and is_ended(services.effects.get(left[-1])):
            left.pop()
        time.sleep(0.2)
        return not left

    until(all_ended, 30, "actions are open still")
    assert sorted(w.process.poll() or 0 for w in workers) == [-9, -9, -9, 0]

    ended = [services.effects.get(a.id) for a in actions]
    mine = {str(a.id) for a in actions}
    calls = Counter({key: told["calls"] for key, told in httpx2.get(f"{partners}/actions").json().items() if key in mine})
    assert max(calls.values()) == 1
    count = Counter((e.name, e.status) for e in ended)
    assert sum(count.values()) == ACTIONS
    assert {e.status for e in ended} <= {EffectStatus.EXECUTED, EffectStatus.UNKNOWN, EffectStatus.FAILED}
    assert count["book", EffectStatus.UNKNOWN] == 0  # its target was asked
    for effect in ended:
        if effect.status is EffectStatus.EXECUTED:
            assert calls[str(effect.id)] == 1
        elif effect.status is EffectStatus.FAILED:
            assert (calls[str(effect.id)], effect.error["code"]) == (0, "not_executed")
    assert count["note", EffectStatus.FAILED] == 0
    assert sum(calls.values()) < ACTIONS  # a worker has died between a claim and its call


def is_ended(effect):
    """It is final; or unknown, and nobody can be asked."""
    return effect.status.final and not (effect.status is EffectStatus.UNKNOWN and effect.name == "book")
