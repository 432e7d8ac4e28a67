"""`dlq` and `queue`, as an operator types them, on the emulator."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from chatapp.cli import cli
from chatapp.deadletters import Hold
from chatapp.errors import ProviderUnavailable
from chatapp.model import JobId, Status, new_session_id
from config.resources import CHAT
from tests.servers import clean_env
from tests.stack import ROOT


@pytest.fixture(autouse=True)
def _empty(services):
    for name in (CHAT.name, CHAT.dlq):
        services.sqs.purge_queue(QueueUrl=services.settings.queue_url(name))


@pytest.fixture
def env(settings):
    """The variables that make a command work with this module's queues and tables."""
    return {
        "CHATAPP_ENV_FILE": "",
        "AWS_ENDPOINT_URL": settings.aws_endpoint_url,
        "SQS_QUEUE_URL_PREFIX": settings.sqs_queue_url_prefix,
        "DYNAMODB_TABLE_PREFIX": settings.dynamodb_table_prefix,
        "REDIS_URL": settings.redis_url.get_secret_value(),
    }


@pytest.fixture
def run(env):
    """Run a command and give its result; it may fail, but not with an exception of ours."""

    def run(*arguments, **options):
        result = CliRunner().invoke(cli, arguments, env=env, **options)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def dead(submit, services):
    """Make a turn that has failed for good and lies in the dead-letter queue."""

    def dead(copies=1, **fields):
        turn = services.turns.get(submit(**fields).job_id)
        ended = services.endings.by_other(turn, Status.FAILED, error=ProviderUnavailable("the provider answered 500"))
        for _ in range(copies - 1):
            services.dead_letters.put(ended)
        return ended

    return dead


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def listed(run, *options):
    return lines(run("dlq", "list", "--json", *options))


def test_the_list_tells_job_session_attempts_error_and_age(run, dead):
    """As columns for people, and the same as JSON."""
    turn = dead()
    shown = run("dlq", "list")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0].split() == ["JOB", "SESSION", "ATTEMPTS", "LAST", "ERROR", "AGE", "COPIES", "TURN"]
    row = rf"{turn.job_id}  {turn.session_id}  1 +provider_unavailable: the provider answered 500  \d+s +1 +failed"
    assert re.fullmatch(row, shown.stdout.splitlines()[1])
    (entry,) = listed(run)
    assert (entry["job_id"], entry["session_id"], entry["attempts"]) == (str(turn.job_id), turn.session_id, 1)
    assert (entry["reason"], entry["turn"], entry["copies"]) == ("provider_unavailable", "failed", 1)


def test_an_empty_queue_is_an_empty_list(run):
    """No error, and no line of JSON."""
    assert run("dlq", "list").exit_code == 0
    assert listed(run) == []


def test_copies_of_one_job_are_one_line_with_their_number(run, dead):
    """SQS delivers twice now and then, and so may whoever puts."""
    dead(copies=3)
    dead()
    assert sorted(entry["copies"] for entry in listed(run)) == [1, 3]


def test_entries_whose_turn_is_not_failed_are_marked(run, dead, submit, services):
    """Retried, cancelled, open, or gone: nothing is left to redrive."""
    states = {str(dead().job_id): "failed", str((retried := dead()).job_id): "retried"}
    services.retry(retried)
    open_turn = services.turns.get(submit().job_id)
    cancelled = services.endings.by_other(services.turns.get(submit().job_id), Status.CANCELLED)
    gone = replace(open_turn, session_id=new_session_id())
    for turn, state in ((open_turn, "queued"), (cancelled, "cancelled"), (gone, "gone")):
        services.dead_letters.put(turn)
        states[str(turn.job_id)] = state
    assert {entry["job_id"]: entry["turn"] for entry in listed(run)} == states
    marked = [line.split()[0] for line in run("dlq", "list").stdout.splitlines() if line.endswith("*")]
    assert sorted(marked) == sorted(job for job, state in states.items() if state != "failed")


def test_the_list_can_be_of_one_job_and_is_limited(run, dead):
    """And says when there may be more."""
    one, other = dead(), dead()
    assert [entry["job_id"] for entry in listed(run, "--job", str(one.job_id))] == [str(one.job_id)]
    assert len(listed(run, "--limit", "1")) == 1
    assert "there may be more" in run("dlq", "list", "--limit", "1").stderr
    assert {entry["job_id"] for entry in listed(run, "--all")} == {str(one.job_id), str(other.job_id)}


def test_what_others_have_written_is_inert_in_the_terminal(run, services):
    """What would clear the screen, turn text around or begin a line is shown and not obeyed."""
    reason = {"DataType": "String", "StringValue": "not_json"}
    detail = {"DataType": "String", "StringValue": "\x9b2J\u202edlrow\r\nrow"}
    services.sqs.send_message(
        QueueUrl=services.settings.queue_url(CHAT.dlq),
        MessageBody="body\r\n\ttab \u202e",
        MessageAttributes={"Reason": reason, "Detail": detail},
    )
    (identity,) = [entry["message_id"] for entry in listed(run)]
    for result in (run("dlq", "list"), run("dlq", "show", identity), run("dlq", "redrive", "--all", "--dry-run")):
        assert result.exit_code == 0
        assert all(line.isprintable() for line in result.stdout.splitlines())
    assert "\\r\\nrow" in run("dlq", "list").stdout


def test_show_tells_all_that_is_known_of_an_entry(run, dead, services):
    """By the job's id or the message's."""
    turn = dead()
    services.dead_letters.put_raw(CHAT.name, "what is this", reason="not_json")
    told_of_turn = lines(run("dlq", "show", str(turn.job_id), "--json"))[0]
    assert (told_of_turn["detail"], told_of_turn["kind"]) == ("the provider answered 500", "turn")
    poison = next(e for e in listed(run) if e["kind"] == "poison")
    shown = run("dlq", "show", poison["message_id"])
    assert "what is this" in shown.stdout
    assert run("dlq", "show", "nothing").exit_code == 1


def test_redrive_makes_a_new_turn_once_per_dead_job_and_deletes_all_its_copies(run, dead, services):
    """The others stay."""
    turn, other = dead(copies=2), dead()
    done = lines(run("dlq", "redrive", "--job", str(turn.job_id), "--json"))
    assert sorted(o["outcome"] for o in done) == ["already_retried", "retried"]
    (new,) = {o["new_job_id"] for o in done}
    assert services.turns.get(JobId.parse(new)).status is Status.QUEUED
    assert new == str(JobId(turn.session_id, 2))
    assert [entry["job_id"] for entry in listed(run)] == [str(other.job_id)]


def test_redrive_sends_unreadable_messages_back_to_their_queue(run, services):
    """As they were received."""
    services.dead_letters.put_raw(CHAT.name, "as it was", reason="not_json")
    assert [o["outcome"] for o in lines(run("dlq", "redrive", "--all", "--json"))] == ["sent_back"]
    (message,) = services.sqs.receive_message(QueueUrl=services.settings.queue_url(CHAT.name))["Messages"]
    assert message["Body"] == "as it was"
    assert listed(run) == []


def test_redrive_leaves_what_needs_none(run, submit, services):
    """An open turn is the relay's."""
    services.dead_letters.put(services.turns.get(submit().job_id))
    (outcome,) = lines(run("dlq", "redrive", "--all", "--json"))
    assert (outcome["outcome"], outcome["why"]) == ("left", "its turn is queued")
    assert len(listed(run)) == 1


def test_a_dry_run_changes_nothing(run, dead, services):
    """But says the same."""
    turn = dead()
    services.dead_letters.put_raw(CHAT.name, "x", reason="not_json")
    outcomes = {o["outcome"] for o in lines(run("dlq", "redrive", "--all", "--dry-run", "--json"))}
    assert outcomes == {"retried", "sent_back"}
    assert run("dlq", "discard", "--all", "--dry-run").exit_code == 0
    assert len(listed(run)) == 2
    assert services.sessions.get(turn.session_id).turn_count == 1


def test_a_retry_that_is_refused_keeps_its_entry_and_fails_the_command(run, dead, services):
    """The others are seen to."""
    refused, fine = dead(), dead()
    services.delete_session(refused.session_id, user_id=refused.user_id)
    result = run("dlq", "redrive", "--all")
    assert result.exit_code == 1
    assert f"{refused.job_id} refused: " in result.stdout
    assert [entry["job_id"] for entry in listed(run)] == [str(refused.job_id)]
    assert services.sessions.get(fine.session_id).turn_count == 2


def test_who_dies_between_retry_and_delete_has_lost_nothing(run, dead, services, monkeypatch):
    """The entry is there still, and redriving it again makes no second turn."""
    turn = dead()

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(Hold, "delete", die)
        assert run("dlq", "redrive", "--all").exit_code == 1
    assert services.sessions.get(turn.session_id).turn_count == 2
    assert [entry["turn"] for entry in listed(run)] == ["retried"]
    assert [o["outcome"] for o in lines(run("dlq", "redrive", "--all", "--json"))] == ["already_retried"]
    assert services.sessions.get(turn.session_id).turn_count == 2


def test_discard_asks_and_deletes_what_it_has_shown(run, dead):
    """A no leaves everything."""
    turn, other = dead(copies=2), dead()
    arguments = ("dlq", "discard", "--job", str(turn.job_id))
    assert run(*arguments, input="n\n").exit_code == 1
    assert len(listed(run)) == 2
    assert run(*arguments, input="y\n").exit_code == 0
    assert [entry["job_id"] for entry in listed(run)] == [str(other.job_id)]
    assert run("dlq", "discard", "--all", "--yes").exit_code == 0
    assert listed(run) == []


def test_discard_can_be_of_what_needs_no_redrive(run, dead, submit, services):
    """The failed ones and the unreadable ones stay."""
    failed = dead()
    services.dead_letters.put(services.turns.get(submit().job_id))
    services.dead_letters.put_raw(CHAT.name, "x", reason="not_json")
    assert run("dlq", "discard", "--stale", "--yes").exit_code == 0
    assert {(entry["job_id"], entry["turn"]) for entry in listed(run)} == {(str(failed.job_id), "failed"), (None, "unknown")}


def test_which_entries_must_be_said(run):
    """Neither nothing nor both; an id that is not there is an error."""
    for command in ("redrive", "discard"):
        assert run("dlq", command).exit_code == 2
        assert run("dlq", command, "--all", "--job", "x").exit_code == 2
        assert run("dlq", command, "--job", "x").exit_code == 1
        assert run("dlq", command, "--all", "--queue", "nonsense").exit_code == 2


def test_queue_status_counts_what_waits_what_is_hidden_and_what_is_dead(run, submit, dead, services):
    """For people and as JSON."""
    submit()
    dead()
    services.wakeups.send(JobId(new_session_id(), 1), user_id="u", delay=600)
    services.sqs.receive_message(QueueUrl=services.settings.queue_url(CHAT.name))
    state = next(s for s in lines(run("queue", "status", "--json")) if s["queue"] == CHAT.name)
    assert state == {"queue": "chat", "visible": 1, "in_flight": 1, "delayed": 1, "dead": 1, "paused_since": None}
    assert run("queue", "status").stdout.splitlines()[1].split() == ["chat", "1", "1", "1", "1", "-"]


def test_a_queue_is_paused_and_resumed(run, services):
    """And `status` says so."""
    assert run("queue", "pause").exit_code == 0
    assert services.pauses.paused("chat")
    assert lines(run("queue", "status", "--json"))[0]["paused_since"].endswith("Z")
    assert re.search(r" for \d+s", run("queue", "status").stdout)
    assert "consumed again" in run("queue", "resume").stdout
    assert "was not paused" in run("queue", "resume").stdout
    assert services.pauses.paused("chat") is None


@pytest.mark.parametrize("arguments", [("dlq", "list"), ("dlq", "redrive", "--all"), ("queue", "status"), ("queue", "pause")])
def test_who_is_away_is_said_in_one_line(env, arguments):
    """Exit code 1, no traceback; as a process of its own."""
    away = env | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "SQS_QUEUE_URL_PREFIX": "http://127.0.0.1:1/000000000000/x-"}
    away |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    command = [sys.executable, "-m", "chatapp", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=clean_env(away), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "Is `make run` running?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_command_finds_the_stack_that_runs_in_its_folder(env, dead, tmp_path):
    """Another terminal needs no variables: the stack has left them in its folder. Named queues come first."""
    turn = dead()
    (tmp_path / ".chatapp").mkdir()
    joining = {k: os.environ[k] for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")} | env
    (tmp_path / ".chatapp" / "ready.json").write_text(json.dumps({"env": joining}))
    command = [sys.executable, "-m", "chatapp", "dlq", "list", "--json"]

    def listed(**extra):
        environ = clean_env({"PYTHONPATH": str(ROOT), "AWS_PROFILE": "nobody"} | extra)
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert json.loads(listed().stdout)["job_id"] == str(turn.job_id)
    elsewhere = listed(AWS_ENDPOINT_URL="http://127.0.0.1:1", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")
    assert elsewhere.returncode == 1
