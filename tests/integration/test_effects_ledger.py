"""The effects ledger: messages delivered twenty times, workers killed wherever it hurts, and the target's own account of its calls."""

import json
import random
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from chatapp.effects import EffectStatus
from tests.integration.effects_kit import staged, target
from tests.integration.workers import env_of, messages_in, started, until

ACTIONS = 100
COPIES = 20
WORKERS = 4
POINTS = ("effect.called", "effect.claimed", "effect.stored")
"""Where a worker dies, with all that it has in hand: after dispatch, before it, and before the ack. One of four is left."""

APP = "tests.integration.effects_app"
QUICK = {
    "EFFECT_TIMEOUT_SECONDS": "1",
    "EFFECT_RETRY_SECONDS": "0.5",
    "RELAY_SECONDS": "0.5",
    "SHUTDOWN_GRACE_SECONDS": "0.5",
}


@pytest.fixture
def ledger():
    with target() as running:
        yield running


@pytest.fixture
def env(settings, ledger, tmp_path):
    """Workers' environment: actions `book` can be asked about, `note` cannot, and `lose` has no target."""
    urls = {"book": {"url": f"{ledger.url}/book", "status_url": f"{ledger.url}/status"}, "note": f"{ledger.url}/note"}
    urls |= {"held": {"url": f"{ledger.url}/held", "status_url": f"{ledger.url}/status"}}
    (tmp_path / "points").mkdir()
    return env_of(settings) | QUICK | {"ACTION_URLS": json.dumps(urls), "FAIL_POINTS": str(tmp_path / "points")}


@pytest.fixture
def worker(env, tmp_path):
    """Start a worker of effects, and wait for it."""
    with ExitStack() as stack:

        def worker(name="effects", *, ready=True, **more):
            process = stack.enter_context(started(env | more, tmp_path / f"{name}.log", app=APP, queue="effects"))
            if ready:
                process.wait_for("worker ready: it takes effects")
            return process

        yield worker


def test_every_confirmed_action_is_called_once_at_most_and_none_is_lost(services, settings, sqs, ledger, worker, tmp_path):
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
    workers = [worker(f"effects-{n}", ready=False) for n in range(WORKERS)]
    for number, point in enumerate(POINTS):
        (tmp_path / "points" / point).write_text(f"kill@{5 + 5 * number}")
    until(lambda: all((tmp_path / "points" / f"{point}.hit").exists() for point in POINTS), 60, "not all have died")
    until(lambda: messages_in(sqs, url) == (0, 0) or time.sleep(0.2), 60, "messages are left")
    left = [a.id for a in actions]

    def all_ended():
        while left and is_ended(services.effects.get(left[-1])):
            left.pop()
        time.sleep(0.2)
        return not left

    until(all_ended, 30, "actions are open still")
    assert sorted(w.process.poll() or 0 for w in workers) == [-9, -9, -9, 0]

    ended = [services.effects.get(a.id) for a in actions]
    calls = ledger.calls
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


def is_ended(effect):
    """It is final; or unknown, and nobody can be asked."""
    return effect.status.final and not (effect.status is EffectStatus.UNKNOWN and effect.name == "book")
