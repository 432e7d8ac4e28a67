"""`chat`, against a server that does what the test says: what goes to standard output, and what to a person."""

import json
import os
import pty
import subprocess
import sys

import pytest
from click.testing import CliRunner

from chatapp.cli import cli
from chatapp.client import FORGET
from tests.stack import ROOT
from tests.unit.scripted import JOB, Scripted, Talk
from tests.unit.test_client_breaks import ENDED, LOG, STARTED, delta, event

RETRIED = (
    STARTED,
    delta(1, "wrong"),
    event("message_retrying", 2, retry_in=2, reason="provider_unavailable", failures=1),
    event("message_reset", 0, 2, model="m", reason="provider_unavailable"),
    event("message_delta", 1, 2, part=0, kind="text", text="right"),
    event("message_completed", 2, 2, text="right"),
)


@pytest.fixture
def server():
    """A server that accepts each message."""
    with Scripted() as running:
        running.http.append(running.accept())
        yield running


def chat(server, *options):
    return CliRunner().invoke(cli, ["chat", "hi", "--url", server.url, "--token", "t", *options])


def test_on_a_pipe_the_answer_is_printed_once(server):
    """What a failed attempt said is no part of it; that there was one is said on standard error."""
    server.sockets.append(Talk(server, *RETRIED))
    done = chat(server)
    assert (done.exit_code, done.stdout) == (0, "right")
    assert "provider_unavailable: tried again in 2 s" in done.stderr
    assert f"[{JOB} message_completed]" in done.stderr


def test_on_a_terminal_the_answer_streams(server):
    """What was printed cannot be taken back, so it is said that the text begins anew."""
    server.sockets.append(Talk(server, *RETRIED))
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "chatapp", "chat", "hi", "--url", server.url, "--token", "t"]
    done = subprocess.run(command, cwd=ROOT, stdout=follower, stderr=subprocess.PIPE, text=True, timeout=60, check=True)
    os.close(follower)
    shown = os.read(leader, 10_000).decode()
    os.close(leader)
    assert shown == "wrongright"
    assert "[from the beginning]" in done.stderr


def test_what_the_log_lost_is_printed_from_the_end(server):
    """The end's text counts, whatever was said before it."""
    server.sockets += [Talk(server, *LOG[:2]).closing(1011), Talk(server, ENDED, recovered=False)]
    done = chat(server)
    assert (done.exit_code, done.stdout) == (0, "one two")
    assert "trying again" in done.stderr


def test_events_are_printed_as_they_are(server):
    """What is to be forgotten too."""
    server.sockets += [Talk(server, *LOG[:2]).closing(1011), Talk(server, ENDED, recovered=False)]
    events = [json.loads(line) for line in chat(server, "--events").stdout.splitlines()]
    assert [e["type"] for e in events] == ["message_started", "message_delta", FORGET, "message_completed"]
    assert events[-1] == ENDED


@pytest.mark.parametrize(
    ("end", "printed"),
    [
        (event("error", 2, code="crashed", message="it crashed", retryable=False), ""),
        (event("message_cancelled", 2, text="one", usage=None), "one"),
    ],
)
def test_what_did_not_complete_is_a_failed_command(server, end, printed):
    """Exit code 1. Of a cancelled answer what there was is printed; half an answer of a failed one is not."""
    server.sockets.append(Talk(server, *LOG[:2], end))
    done = chat(server)
    assert (done.exit_code, done.stdout) == (1, printed)


def test_what_is_refused_names_the_fields(server):
    """Each on a line of its own."""
    errors = [{"pointer": "/message", "detail": "is empty"}]
    server.http[0] = (422, {"code": "invalid_request", "detail": "not valid", "errors": errors}, {})
    done = chat(server)
    assert done.exit_code == 1
    assert done.stderr == "Error: not valid\n  /message: is empty\n"
