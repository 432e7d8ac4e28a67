"""One started child: its process group, its output, its readiness."""

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from chatapp.dev.child import Child
from chatapp.dev.reaper import signal_group

ROOT = Path(__file__).resolve().parents[2]
"""Where everything is started from, so that `config`, `tasks` and `ws` are ours."""

LAST_LINES = 25
PROBE_PAUSE = 0.05
EXIT_PAUSE = 0.05
LONGEST_LINE = 32_768
OUTPUT_SECONDS = 1.0
"""How long the rest of an ended child's output is waited for, should somebody outside its group still hold it."""


class Process:
    """A child that was started, in a process group of its own, so that Ctrl-C reaches the supervisor alone."""

    def __init__(self, child: Child, process: asyncio.subprocess.Process, on_line: Callable[[str, str], None]) -> None:
        self.child = child
        self.pid = process.pid
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process = process
        self._on_line = on_line
        self._said_ready = asyncio.Event()
        self._swept = False
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, child: Child, env: Mapping[str, str], on_line: Callable[[str, str], None]) -> "Process":
        """Start it. `on_line(name, line)` is called for every line of its output."""
        process = await asyncio.create_subprocess_exec(
            *child.command,
            env={**env, **child.env},
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,
        )
        return cls(child, process, on_line)

    async def ended(self) -> str:
        """Wait until it has ended and all it wrote was read. Returns: how it ended, in words."""
        # Not `wait()`: in Python 3.11 that also waits for the pipe, which what it left behind may hold open for ever.
        while (code := self._process.returncode) is None:  # noqa: ASYNC110  the exit alone makes no event
            await asyncio.sleep(EXIT_PAUSE)
        if not self._swept:
            # What it left behind in its group (the workers of a killed gunicorn) would keep its port and its output.
            self._swept = True
            self.signal(signal.SIGKILL)
        await asyncio.wait((self._reading,), timeout=OUTPUT_SECONDS)
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    @property
    def succeeded(self) -> bool:
        """Whether it has ended, with 0."""
        return self._process.returncode == 0

    async def ready(self) -> None:
        """Wait until it is ready; for ever if it never is."""
        if self.child.one_shot:
            await self.ended()
        elif self.child.probe is not None:
            while not await self.child.probe():  # noqa: ASYNC110  it is another process that will be ready
                await asyncio.sleep(PROBE_PAUSE)
        elif self.child.ready_line is not None:
            await self._said_ready.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole group; nothing happens when that is gone."""
        signal_group(self.pid, number)

    async def stop(self, grace: float) -> bool:
        """Terminate it, and kill what is left after `grace` seconds. Returns: whether it went by itself."""
        with suppress(ProcessLookupError):
            # Only the process itself is asked: gunicorn's master tells its workers, and would take their deaths for crashes.
            self._process.terminate()
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended()
            return False
        await self.ended()
        return True

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  for the type checker: it is a pipe
        rest = b""
        while data := await self._process.stdout.read(65_536):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._take(line)
        if rest:
            self._take(rest)

    def _take(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").rstrip()
        self.last_lines.append(line)
        if self.child.ready_line is not None and self.child.ready_line in line:
            self._said_ready.set()
        if not any(noise in line for noise in self.child.noise):
            self._on_line(self.child.name, line)
