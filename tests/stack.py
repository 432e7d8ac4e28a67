"""The whole stack for end-to-end tests: `python -m chatapp dev`, as a user starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatapp.auth import issue
from chatapp.dev import process as started
from tests.servers import clean_env

READY_SECONDS = 100
ROOT = started.ROOT
ANY_PORTS = tuple(word for name in ("api", "ws", "llm", "redis", "aws", "partners") for word in (f"--{name}-port", "0"))


@dataclass(frozen=True)
class Stack:
    """A running stack. Addresses are base URLs; `ws` ends in /ws, `llm` in /v1."""

    process: subprocess.Popen[bytes]
    ready_file: Path
    log_file: Path
    api: str
    ws: str
    llm: str
    redis: str
    aws: str
    partners: str
    token: str
    env: dict[str, str]
    """What another process needs to join by hand."""

    def pids(self) -> dict[str, int]:
        """The process ids of now."""
        pids: dict[str, int] = json.loads(self.ready_file.read_text())["pids"]
        return pids

    def log(self) -> str:
        """Everything that was printed so far."""
        return self.log_file.read_text(errors="replace")

    @contextmanager
    def model_held(self) -> Iterator[None]:
        """Stop the scripted model for as long as the block runs: no answer gets on meanwhile, and none ends."""
        with stopped(self.pids()["llm"]):
            yield

    def token_for(self, user: str, *scopes: str, seconds: int = 3_600) -> str:
        """A token of another user."""
        return issue(self.env["JWT_SECRET"], user, seconds=seconds, scopes=scopes)

    def headers(self, user: str | None = None) -> dict[str, str]:
        """The Authorization header, of the demo user unless another is named."""
        return {"Authorization": f"Bearer {self.token_for(user) if user else self.token}"}

    def full_env(self) -> dict[str, str]:
        """The environment for a process that joins."""
        return clean_env(self.env)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process stand still for as long as the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def dev_command(folder: Path, *options: str) -> list[str]:
    """The command that starts a stack in a folder."""
    ready, state = str(folder / "ready.json"), str(folder / "state")
    return [sys.executable, "-m", "chatapp", "dev", "--ready-file", ready, "--state-dir", state, *options]


@contextmanager
def started_stack(folder: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Stack]:
    """Start a stack on ports of its own and stop it when the block is left.

    Raises: AssertionError with the end of its log when it does not become ready.
    """
    log = folder / "dev.log"
    command = dev_command(folder, "--fresh", *ANY_PORTS, "--model-delay", "0.005", *options)
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=clean_env(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        ready = wait_for_ready(process, folder / "ready.json", log)
        named = {k: ready[k] for k in ("api", "ws", "llm", "redis", "aws", "partners", "token", "env")}
        yield Stack(process=process, ready_file=folder / "ready.json", log_file=log, **named)
    finally:
        stop_stack(process)


def wait_for_ready(process: subprocess.Popen[bytes], ready_file: Path, log: Path) -> dict[str, Any]:
    """Wait for the ready file of a stack that is starting, and read it."""
    deadline = time.monotonic() + READY_SECONDS
    while not ready_file.exists():
        assert process.poll() is None, f"dev ended with {process.returncode}:\n{log.read_text()[-8000:]}"
        assert time.monotonic() < deadline, f"dev is not ready after {READY_SECONDS} s:\n{log.read_text()[-8000:]}"
        time.sleep(0.05)
    ready: dict[str, Any] = json.loads(ready_file.read_text())
    return ready


def stop_stack(process: subprocess.Popen[bytes]) -> int:
    """Ask a stack to stop and say its exit code; kill it when it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
