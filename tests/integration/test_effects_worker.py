"""A real worker of effects on its own queue: with the relay, poison, a pause in the wrong place, and the operator's commands."""

import base64
import json
import signal

import httpx2
import pytest
from click.testing import CliRunner

from chatapp.cli import cli
from chatapp.effects import EffectId, EffectStatus, Move
from chatapp.model import JobId, new_session_id
from tests.integration.effects_kit import staged
from tests.integration.workers import env_of, messages_in, started, until
from tests.wakeups import call, poison, wake_up

SECRET = "whsec_" + base64.b64encode(bytes(24)).decode()
QUICK = {"EFFECT_TIMEOUT_SECONDS": "4", "EFFECT_RETRY_SECONDS": "0.5", "EFFECT_MAX_ATTEMPTS": "2", "RELAY_SECONDS": "0.5"}


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    return tmp_path_factory.mktemp("points")


@pytest.fixture(scope="module")
def env(settings, partners, points):
    targets = {
        "book": {"url": f"{partners}/actions/book", "status_url": f"{partners}/actions/book/status"},
        "note": f"{partners}/actions/note",
        "away": "http://127.0.0.1:1/",
    }
    secrets = {"OUTBOUND_WEBHOOK_SECRETS": SECRET, "ACTION_URLS": json.dumps(targets), "FAIL_POINTS": str(points)}
    return env_of(settings) | QUICK | secrets


@pytest.fixture(scope="module")
def worker(env, tmp_path_factory):
    with started(env, tmp_path_factory.mktemp("worker") / "log", queue="effects") as running:
        running.wait_for("worker ready: it takes effects")
        yield running


@pytest.fixture
def run(env):
    """Run a command as an operator types it."""

    def run(*arguments, code=0):
        result = CliRunner().invoke(cli, arguments, env=env | {"CHATAPP_ENV_FILE": ""})
        assert result.exit_code == code, result.output
        return result

    return run


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def calls(partners, effect):
    return httpx2.get(f"{partners}/actions").json().get(str(effect.id), {"calls": 0})["calls"]


def becomes(services, effect, *statuses):
    """Wait for a state."""
    until(lambda: services.effects.get(effect.id).status in statuses, 30, f"not {statuses}")
    return services.effects.get(effect.id)


def test_the_relay_wakes_a_worker_for_what_was_never_sent(worker, services, partners):
    """Who took the yes died before the send."""
    action = staged(services, "note", wake_at=services.clock.now())
    assert becomes(services, action, EffectStatus.EXECUTED).result["reference"]
    assert calls(partners, action) == 1


def test_an_answer_that_never_comes_is_asked_for(worker, services, partners):
    """The target carried the action out, hung up, and tells so when it is asked."""
    action = staged(services, "book", payload={"text": "[[cut]]"}, wake_at=services.clock.now())
    assert becomes(services, action, EffectStatus.EXECUTED).asks == 0
    assert calls(partners, action) == 1


def test_a_worker_that_is_stopped_past_its_lease_does_not_begin_the_call(worker, services, partners, points):
    """When it goes on, the call is made under a claim of its own; once."""
    (points / "effect.claimed").write_text("stop")
    action = staged(services, "note", wake_at=services.clock.now())
    until((points / "effect.claimed.hit").exists, 30, "it is not claimed")
    lease_end = services.effects.get(action.id).lease_end
    until(lambda: services.clock.now() > lease_end - 2_500, 30, "time stands still")
    worker.process.send_signal(signal.SIGCONT)
    assert becomes(services, action, EffectStatus.EXECUTED).attempts == 2
    assert calls(partners, action) == 1
    assert f"{action.id} is not called" in worker.log()


def test_poison_and_messages_of_the_other_queue_reach_its_own_dead_letters(worker, services, sqs, settings, run):
    """With a reason; an effect that one names is not harmed."""
    url, job = settings.queue_url("effects"), str(JobId(new_session_id(), 1))
    unknown = EffectId.action(new_session_id(), 1, 0)
    bodies = {
        "not_base64": poison(job)["plain text"][0],
        "unknown_task": wake_up(job),
        "wrong_effect_id": wake_up("x", task="chatapp.effect", body=call(effect_id="../../etc")),
        "unknown_effect": services.composer.effect(unknown, user_id="u")["MessageBody"],
    }
    for body in bodies.values():
        sqs.send_message(QueueUrl=url, MessageBody=body)
    until(lambda: messages_in(sqs, url) == (0, 0), 30, "messages are left")
    found = {entry["reason"]: entry for entry in lines(run("dlq", "list", "--queue", "effects", "--json"))}
    assert set(bodies) <= set(found)
    assert (found["unknown_effect"]["effect_id"], found["unknown_effect"]["turn"]) == (str(unknown), "gone")
    run("dlq", "discard", "--queue", "effects", "--all", "--yes")


def test_what_failed_for_good_is_redriven_by_the_operator(worker, services, run):
    """From the first try on; the entry goes, and comes back if it fails again."""
    action = staged(services, "away", wake_at=services.clock.now())
    assert becomes(services, action, EffectStatus.FAILED).attempts == 2
    until(lambda: lines(run("dlq", "list", "--queue", "effects", "--json")), 30, "it is not in the dead-letter queue")
    (entry,) = lines(run("dlq", "list", "--queue", "effects", "--json"))
    assert (entry["effect_id"], entry["kind"], entry["attempts"], entry["turn"]) == (str(action.id), "effect", 2, "failed")
    head, row = run("dlq", "list", "--queue", "effects").stdout.splitlines()[:2]
    assert (head.split()[0], head.split()[-1]) == ("EFFECT", "STATUS")
    assert (row.split()[0], row.split()[-1]) == (str(action.id), "failed")
    (done,) = lines(run("dlq", "redrive", "--queue", "effects", "--job", str(action.id), "--json"))
    assert (done["outcome"], done["effect_id"]) == ("revived", str(action.id))
    until(lambda: lines(run("dlq", "list", "--queue", "effects", "--json")), 30, "it is not there again")
    assert becomes(services, action, EffectStatus.FAILED).attempts == 2
    run("dlq", "discard", "--queue", "effects", "--all", "--yes")


def test_an_unknown_action_is_listed_and_resolved_by_hand(worker, services, run):
    """Nobody can be asked about it: a person looks."""
    action = staged(services, "note", payload={"text": "[[cut]]"}, wake_at=services.clock.now())
    becomes(services, action, EffectStatus.UNKNOWN)
    listed = {entry["action"]: entry for entry in lines(run("actions", "list", "--status", "unknown", "--json"))}
    assert (listed[str(action.id)]["status"], listed[str(action.id)]["user_id"]) == ("unknown", action.user_id)
    assert str(action.id) in run("actions", "list").stdout
    run("actions", "resolve", str(action.id), code=2)
    run("actions", "resolve", "nonsense", "--failed", code=2)
    run("actions", "resolve", str(action.id), "--executed", "--note", "it is in their books")
    assert "executed" in run("actions", "resolve", str(action.id), "--failed", code=1).stderr
    assert services.effects.get(action.id).result == {"note": "it is in their books"}
    assert str(action.id) in {e["action"] for e in lines(run("actions", "list", "--status", "executed", "--json"))}


def test_a_message_that_aws_moved_back_tries_its_effect_anew(worker, services, sqs, settings):
    """It is recognised by its reason."""
    error = {"code": "unreachable", "message": "refused"}
    action = staged(services, "note")
    now = services.clock.now()
    _, claimed = services.effects.claim(action.id, claim_id="c", now=now, lease_end=now + 60_000)
    failed = Move(status=EffectStatus.FAILED, by="m", ended_at=now, error=error, attempts=1, untouched=True)
    services.effects.move(claimed, failed)
    reason = {"Reason": {"DataType": "String", "StringValue": "unreachable"}}
    body = services.composer.effect(action.id, user_id="u")["MessageBody"]
    sqs.send_message(QueueUrl=settings.queue_url("effects"), MessageBody=body, MessageAttributes=reason)
    becomes(services, action, EffectStatus.EXECUTED)


def test_a_worker_takes_one_queue(env, tmp_path):
    """An empty one would hold the other up."""
    with started(env, tmp_path / "log", queue="chat,effects") as both:
        both.wait_for("it takes one queue, -Q chat or -Q effects")
        assert both.process.wait(20) != 0
