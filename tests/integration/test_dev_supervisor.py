"""The supervisor of `python -m chatapp dev`, with children that are quick to start: its whole life in real processes."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from chatapp.dev import state
from tests.servers import clean_env
from tests.stack import ANY_PORTS, ROOT, stop_stack

# What a child does, as Python. All say who they are, so that a test finds them even when nobody is left to ask.
SERVE = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (open('stopped', 'a').write(NAME + ' '), sys.exit()))
print('worker ready', flush=True)
signal.pause()
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('worker ready', flush=True)
time.sleep(600)
"""
PARENT = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print('worker ready', flush=True); time.sleep(600)"
)
BROKEN = "import sys; print('no such table'); sys.exit(3)"
FICKLE = "import time; print('worker ready', flush=True); time.sleep(0.2); raise SystemExit('enough')"
NEVER = "import time; time.sleep(600)"

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from chatapp.dev import main, plan
from chatapp.dev.child import Child
from chatapp.dev.console import Console
from config.settings import load

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who runs the tests may ignore it, as `nohup` does, and it would be inherited
folder = Path(sys.argv[1])

def lay_out(settings, ports, state_dir, delay):
    bodies = json.loads(sys.argv[2])
    children = tuple(
        Child(name, (sys.executable, "-c", f"NAME = {name!r}; import os; os.chdir({str(folder)!r})\\n{body}"),
              ready_line="worker ready", stops_last=name == "aws")
        for name, body in bodies.items()
    )
    return plan.Plan(children, dict(os.environ), {"ANSWER": "42"})

sys.exit(main.run(main.Options(state_dir=folder / "state", ready_file=folder / "ready.json"), load(), Console(), lay_out))
"""


@dataclass
class Dev:
    """A supervisor under test."""

    folder: Path
    process: subprocess.Popen[bytes]

    def ready(self) -> dict[str, Any]:
        """Wait until it is ready: what the ready file says."""
        until((self.folder / "ready.json").exists)
        return self.told()

    def told(self) -> dict[str, Any]:
        """What the ready file says now."""
        told: dict[str, Any] = json.loads((self.folder / "ready.json").read_text())
        return told

    def log(self) -> str:
        """What was printed so far."""
        return (self.folder / "log").read_text()

    def left_over(self) -> list[psutil.Process]:
        """Processes that name this test's folder, other than the supervisor."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.folder) in " ".join(process.cmdline()) and process.pid != self.process.pid:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found


Start = Callable[[dict[str, str]], Dev]

SOON = 40
"""Seconds in which a supervisor is gone, on a machine that has other things to do: without them it takes less than one."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a supervisor with the given children: name -> what it does."""
    started: list[Dev] = []

    def begin(bodies: dict[str, str]) -> Dev:
        with (tmp_path / "log").open("ab") as log:
            command = [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(bodies)]
            process = subprocess.Popen(command, cwd=ROOT, env=clean_env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        started.append(Dev(tmp_path, process))
        return started[-1]

    yield begin
    for dev in started:
        stop_stack(dev.process)
        for process in dev.left_over():
            process.kill()


def until(condition: Callable[[], object], seconds: float = 40) -> None:
    """Wait for a condition in another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def test_the_ready_file_tells_where_everything_is(start: Start) -> None:
    """Scripts find addresses, a token, the pids and the variables to join with; nobody else may read it."""
    dev = start({"aws": SERVE, "worker": SERVE})
    told = dev.ready()
    assert set(told) == {"api", "ws", "llm", "redis", "aws", "partners", "token", "pids", "env"}
    assert set(told["pids"]) == {"aws", "worker"}
    assert all(psutil.pid_exists(pid) for pid in told["pids"].values())
    assert told["env"] == {"ANSWER": "42"}
    assert told["token"].count(".") == 2
    assert (dev.folder / "ready.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(start: Start, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal stop all, emulators last, and leave no process, lock or file."""
    dev = start({"aws": SERVE, "worker": SERVE, "api": SERVE})
    dev.ready()
    dev.process.send_signal(number)
    assert dev.process.wait(SOON) == 0
    assert (dev.folder / "stopped").read_text().split()[-1] == "aws"
    assert dev.left_over() == []
    assert not (dev.folder / "ready.json").exists()
    with state.held(dev.folder / "state"):
        pass


def test_a_child_that_does_not_stop_is_killed(start: Start) -> None:
    """Everything is gone soon, also what ignores SIGTERM, and grandchildren too."""
    dev = start({"aws": STUBBORN, "worker": STUBBORN, "api": PARENT})
    grandchildren = psutil.Process(dev.ready()["pids"]["api"]).children()
    dev.process.terminate()
    assert dev.process.wait(SOON) == 0
    assert dev.left_over() == []
    assert not any(g.is_running() and g.status() != psutil.STATUS_ZOMBIE for g in grandchildren)


def test_a_signal_while_it_starts_stops_everything(start: Start) -> None:
    """Ctrl-C does not have to wait until the stack is ready."""
    dev = start({"aws": SERVE, "worker": NEVER})
    until(lambda: len(dev.left_over()) == 2)
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(SOON) == 0
    assert dev.left_over() == []


def test_a_child_that_dies_early_stops_everything(start: Start) -> None:
    """A child that cannot start is shown with its last lines, and the exit code says that it failed."""
    dev = start({"aws": SERVE, "worker": BROKEN})
    assert dev.process.wait(SOON) == 1
    assert "worker ended with exit code 3 before it was ready" in dev.log()
    assert "no such table" in dev.log()
    assert dev.left_over() == []
    assert not (dev.folder / "ready.json").exists()


def test_a_child_that_dies_later_is_started_again(start: Start) -> None:
    """A `kill -9` is survived: said, and the new pid stands in the ready file."""
    dev = start({"aws": SERVE, "worker": SERVE})
    before = dev.ready()["pids"]
    os.kill(before["worker"], signal.SIGKILL)
    until(lambda: dev.told()["pids"].get("worker") not in (None, before["worker"]))
    until(lambda: "worker is ready again" in dev.log())
    assert f"worker (pid {before['worker']}) was killed by SIGKILL: it is started again" in dev.log()
    assert dev.told()["pids"]["aws"] == before["aws"]


def test_three_deaths_within_a_minute_stop_everything(start: Start) -> None:
    """A stack that cannot be kept running says so and ends, non-zero."""
    dev = start({"aws": SERVE, "worker": FICKLE})
    assert dev.process.wait(SOON) == 1
    assert dev.log().count("it is started again") == 2
    assert "3 deaths within 60 s" in dev.log()
    assert "enough" in dev.log()
    assert dev.left_over() == []


def test_the_children_of_a_killed_supervisor_end(start: Start) -> None:
    """SIGKILL to the supervisor leaves nothing behind, and lets the emulator stop in good order."""
    dev = start({"aws": SERVE, "worker": STUBBORN})
    dev.ready()
    dev.process.kill()
    dev.process.wait()
    until(lambda: dev.left_over() == [])
    assert (dev.folder / "stopped").read_text().split() == ["aws"]


def test_a_reader_that_leaves_does_not_keep_it_from_stopping(tmp_path: Path) -> None:
    """A log that nobody reads any more (a closed terminal, `| head`) is no reason to leave processes behind."""
    bodies = json.dumps(
        {
            "aws": SERVE,
            "worker": "import time; print('worker ready', flush=True)\nwhile True: print('x', flush=True); time.sleep(0.01)",
        }
    )
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), bodies], cwd=ROOT, env=clean_env(), stdout=subprocess.PIPE
    )
    dev = Dev(tmp_path, process)
    try:
        dev.ready()
        assert process.stdout is not None
        process.stdout.close()
        time.sleep(0.1)  # some lines are written to nobody
        assert process.poll() is None
    finally:
        assert stop_stack(process) == 0
    assert dev.left_over() == []


def test_a_closed_terminal_stops_everything(tmp_path: Path) -> None:
    """Also when the kernel's SIGHUP went to somebody else, as it does when `make` is the terminal's first process."""
    master, slave = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps({"aws": SERVE, "worker": SERVE})]
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_env(), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    dev = Dev(tmp_path, process)
    try:
        dev.ready()
        os.close(master)
        assert process.wait(SOON) == 0
    finally:
        stop_stack(process)
    assert dev.left_over() == []


def test_a_folder_serves_one_stack_at_a_time(start: Start) -> None:
    """A second stack on the same state is refused, and told what to do."""
    dev = start({"aws": SERVE})
    dev.ready()
    command = [sys.executable, "-m", "chatapp", "dev", "--state-dir", str(dev.folder / "state"), *ANY_PORTS]
    second = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert "--state-dir" in second.stderr
