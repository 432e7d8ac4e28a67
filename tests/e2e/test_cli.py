"""The command line, against a running stack."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.stack import ROOT


@pytest.fixture
def run(stack):
    """Run `python -m chatapp ...` with the environment that joins the stack."""

    def run(*arguments, **extra):
        env = stack.full_env() | extra
        command = [sys.executable, "-m", "chatapp", *arguments]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_chat_prints_the_answer_and_how_to_go_on(run, stack):
    """The text on standard output and nothing else, so that it can be piped; the session on standard error."""
    first = run("chat", "hi [[echo=first answer]]", "--url", stack.api)
    assert (first.returncode, first.stdout) == (0, "first answer")
    session = re.search(r"--session ([0-9a-f]{32})", first.stderr)[1]
    second = run("chat", "again [[echo=second answer]]", "--url", stack.api, "--session", session)
    assert second.stdout == "second answer"
    assert session in second.stderr


def test_chat_can_print_the_events_as_they_are(run, stack):
    """A JSON line each."""
    done = run("chat", "hi [[echo=x]]", "--url", stack.api, "--events")
    kinds = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert kinds == ["message_started", "message_delta", "message_completed"]


def test_chat_begins_a_flow_that_speaks_first(run, stack):
    """Without a text; and shows what may simply be chosen."""
    first = run("chat", "--flow", "interview", "--url", stack.api)
    assert first.returncode == 0
    assert "city" in first.stdout
    session = re.search(r"--session ([0-9a-f]{32})", first.stderr)[1]
    second = run("chat", "From Lisbon, 2000 reais", "--url", stack.api, "--session", session)
    assert " | " in second.stderr


def test_chat_without_a_text_needs_a_flow_that_speaks_first(run, stack):
    """It says what to do, and asks the server for nothing in vain."""
    assert "TEXT" in run("chat", "--url", stack.api).stderr
    assert "does not speak first" in run("chat", "--flow", "chat", "--url", stack.api).stderr


def test_a_failed_turn_is_a_failed_command(run, stack):
    """Exit code 1, and why."""
    done = run("chat", "[[status=500]]", "--url", stack.api)
    assert done.returncode == 1
    assert "failed" in done.stderr


def test_chat_goes_on_when_the_websocket_server_is_killed_in_mid_answer(stack):
    """It connects again and resumes from behind the last event: the text is whole, and nothing of it comes twice."""
    message = "[[tokens=200]] [[delay=0.03]]"
    command = [sys.executable, "-m", "chatapp", "chat", message, "--url", stack.api, "--events"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=stack.full_env(), **pipes) as chat:
        events = [json.loads(chat.stdout.readline()) for _ in range(3)]
        os.killpg(stack.pids()["ws"], signal.SIGKILL)
        events += [json.loads(line) for line in chat.stdout]
        assert "trying again" in chat.stderr.read()
    assert chat.returncode == 0
    assert [e["id"] for e in events] == [f"1-{n}" for n in range(len(events))]
    assert "".join(e["text"] for e in events if e["type"] == "message_delta") == events[-1]["text"]


def test_what_is_refused_is_said_without_a_traceback(run, stack):
    """A session that does not exist, a bad token, an address where nobody is."""
    for arguments in (
        ("--url", stack.api, "--session", "0" * 32),
        ("--url", stack.api, "--token", "nonsense"),
        ("--url", "http://127.0.0.1:1"),
    ):
        done = run("chat", "hi", *arguments)
        assert done.returncode == 1
        assert "Error: " in done.stderr
        assert "Traceback" not in done.stderr


def test_a_token_of_the_command_line_is_taken(run, stack):
    """`token --user` makes one for anybody, while the secret is shared."""
    token = run("token", "--user", "ada").stdout.strip()
    done = run("chat", "hi [[echo=for ada]]", "--url", stack.api, "--token", token)
    assert done.stdout == "for ada"


def test_provisioning_again_changes_nothing(run):
    """Nor does checking."""
    for arguments in (("provision",), ("provision", "--check")):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (0, "queues and tables are as they should be\n")


def test_provision_check_names_what_is_missing(run):
    """Another prefix has no tables: exit code 1, a line each."""
    done = run("provision", "--check", DYNAMODB_TABLE_PREFIX="nothing-")
    assert done.returncode == 1
    assert "table nothing-turns is missing" in done.stderr


def test_config_shows_what_is_in_effect_and_no_secret(run):
    """Secrets are only said to be set."""
    shown = run("config", OPENAI_API_KEY="sk-canary", LLM_MODEL="some-model").stdout
    assert "LLM_MODEL=some-model" in shown
    assert "OPENAI_API_KEY=(set)" in shown
    assert "canary" not in shown


def test_wrong_settings_are_named_without_a_traceback(run):
    """By every command, all at once."""
    for command in (("config",), ("provision",), ("dev",)):
        done = run(*command, REDIS_PORT="abc", CHATAPP_OOPS="1")
        assert done.returncode != 0
        assert "REDIS_PORT" in done.stderr
        assert "CHATAPP_OOPS" in done.stderr
        assert "Traceback" not in done.stderr
