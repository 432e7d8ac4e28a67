"""One process of a fleet, and waiting for what processes do."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from chatapp.dev.child import Child
from chatapp.dev.process import ROOT
from tests.servers import clean_env

READY_SECONDS = 60


class Member:
    """One process that can be killed, stopped and started again."""

    def __init__(self, child: Child, env: dict[str, str], folder: Path) -> None:
        self.name = child.name
        self._child = child
        self._env = env
        self._log = folder / f"{child.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._said = 0

    @property
    def pid(self) -> int:
        """The process id; that of gunicorn's master, where there is one."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; `wait_until_ready` says when it works."""
        self._said = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._child.command,
                cwd=ROOT,
                env=clean_env({**self._env, **self._child.env}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )

    def change(self, **settings: str) -> None:
        """Give it other settings when it is started next."""
        self._env = {**self._env, **settings}

    def ready(self) -> bool:
        """Say whether it works by now."""
        if self._child.probe is not None:
            return asyncio.run(self._child.probe())
        return (self._child.ready_line or "").encode() in self._log.read_bytes()[self._said :]

    def wait_until_ready(self) -> None:
        """Wait until it works. Raises: AssertionError with its log."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.ready():
            assert self.alive, f"{self.name} ended:\n{self.log()[-4000:]}"
            assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.log()[-4000:]}"
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        if self.alive:
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def end(self) -> None:
        """Kill it if it was ever started: what is left of its group, too."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def terminate(self, seconds: float) -> float | None:
        """SIGTERM as a supervisor sends it, to the process itself. Returns: how long it took, None if it had to be killed."""
        assert self._process is not None
        began = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        return time.monotonic() - began

    def log(self) -> str:
        """Everything it said."""
        return self._log.read_text(errors="replace")


def until(condition: Callable[[], Any], what: str, seconds: float = 20, pause: float = 0.02) -> Any:
    """Wait for something to be true. Returns: it. Raises: TimeoutError with `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(pause)
    return found
