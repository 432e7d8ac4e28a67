"""Starts the children of the stack, keeps them running, and stops them in the right order."""

import asyncio
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from chatapp.dev import reaper
from chatapp.dev.child import Child
from chatapp.dev.console import Console
from chatapp.dev.process import Process

READY_SECONDS = 60.0
GRACE_SECONDS = {False: 1.5, True: 2.5}
"""For those that are stopped first, and for those that are stopped last: everything is gone within 5 s."""

DEATHS = 3
"""Of one child within DEATHS_WINDOW seconds: then it is not going to work, and everything stops."""
DEATHS_WINDOW = 60.0


class StackFailedError(Exception):
    """The stack cannot run; the text says which process, why, and shows its last lines."""


class Supervisor:
    """The life of a set of children.

    Args:
        children: what to run; `Child.after` orders their start.
        env: the whole environment that all of them get.
        on_pids: called with name -> pid whenever that changes once all are ready.
    """

    def __init__(
        self, children: Sequence[Child], env: Mapping[str, str], console: Console, on_pids: Callable[[dict[str, int]], None]
    ) -> None:
        self._children = {c.name: c for c in children}
        self._env = env
        self._console = console
        self._on_pids = on_pids
        self._running: dict[str, Process] = {}
        self._ready = {name: asyncio.Event() for name in self._children}
        self._deaths: dict[str, deque[float]] = {name: deque(maxlen=DEATHS) for name in self._children}
        self._muted = False
        self._reaper = _Reaper()

    def pids(self) -> dict[str, int]:
        """Name -> process id of what runs now; without those that run once and end."""
        return {name: p.pid for name, p in self._running.items() if not p.child.one_shot}

    async def start(self) -> None:
        """Start all at once, each as soon as those it needs are ready; return when everything is.

        Raises: StackFailedError.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for child in self._children.values():
                    group.create_task(self._start_in_turn(child))
        except* StackFailedError as failed:
            raise failed.exceptions[0] from None
        self._on_pids(self.pids())

    async def watch(self) -> None:
        """Restart what dies, until too much does.

        Raises: StackFailedError.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for child in self._children.values():
                    if not child.one_shot:
                        group.create_task(self._keep(child))
        except* StackFailedError as failed:
            raise failed.exceptions[0] from None

    async def stop(self) -> None:
        """Stop everything: first what uses the emulators, then the emulators."""
        for last in (False, True):
            self._muted = last  # what the emulators complain of while their clients vanish helps nobody
            stopping = [p for p in self._running.values() if p.child.stops_last is last]
            went = await asyncio.gather(*(p.stop(GRACE_SECONDS[last]) for p in stopping))
            for process, by_itself in zip(stopping, went, strict=True):
                # A worker in the middle of a turn may be killed (lease and relay see to that); an emulator has state to save.
                if last and not by_itself:
                    self._console.say(f"{process.child.name} was killed after {GRACE_SECONDS[last]:g} s: its state may be lost")
        self._running.clear()
        self._reaper.close()

    async def _start_in_turn(self, child: Child) -> None:
        for name in child.after:
            await self._ready[name].wait()
        await self._until_ready(await self._spawn(child))
        self._ready[child.name].set()

    async def _spawn(self, child: Child) -> Process:
        process = await Process.start(child, self._env, self._show)
        self._running[child.name] = process
        self._reaper.watch(process.pid)
        return process

    async def _until_ready(self, process: Process) -> None:
        child = process.child
        ready, ended = asyncio.create_task(process.ready()), asyncio.create_task(process.ended())
        try:
            await asyncio.wait((ready, ended), timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if child.one_shot and process.succeeded:
                self._forget(process)
            elif ended.done():
                raise StackFailedError(_obituary(process, f"{child.name} {ended.result()} before it was ready"))
            elif ready.done():
                ready.result()
            else:
                raise StackFailedError(_obituary(process, f"{child.name} is not ready after {READY_SECONDS:g} s"))
        finally:
            ready.cancel()
            ended.cancel()

    async def _keep(self, child: Child) -> None:
        while True:
            process = self._running[child.name]
            how = await process.ended()
            self._forget(process)
            self._count_death(process, how)
            self._console.say(f"{child.name} (pid {process.pid}) {how}: it is started again")
            await self._restart(child)

    async def _restart(self, child: Child) -> None:
        process = await self._spawn(child)
        self._on_pids(self.pids())
        try:
            await self._until_ready(process)
        except StackFailedError as error:
            self._console.say(str(error))
            process.signal(signal.SIGKILL)  # one more death, which `_keep` counts
            return
        for name in child.redo:
            await self._until_ready(await self._spawn(self._children[name]))
        self._console.say(f"{child.name} is ready again (pid {process.pid})")

    def _show(self, name: str, line: str) -> None:
        if not self._muted:
            self._console.line(name, line)

    def _count_death(self, process: Process, how: str) -> None:
        now, deaths = time.monotonic(), self._deaths[process.child.name]
        deaths.append(now)
        if len(deaths) == DEATHS and now - deaths[0] < DEATHS_WINDOW:
            what = f"{process.child.name} {how}; that makes {DEATHS} deaths within {DEATHS_WINDOW:g} s"
            raise StackFailedError(_obituary(process, what))

    def _forget(self, process: Process) -> None:
        if self._running.get(process.child.name) is process:
            del self._running[process.child.name]
        self._reaper.forget(process.pid)


def _obituary(process: Process, what: str) -> str:
    lines = [f"  {line}" for line in process.last_lines] or ["  (it said nothing)"]
    return "\n".join([f"{what}. Its last lines:", *lines])


class _Reaper:
    """The process that ends the children should this one be killed."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process = self._spawn()

    def watch(self, group: int) -> None:
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End it: everything that it watched is gone."""
        for group in list(self._groups):
            self.forget(group)
        assert self._process.stdin is not None  # noqa: S101  for the type checker: it is a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  for the type checker: it is a pipe
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:  # somebody killed it: a new one takes over
            self._process.wait()
            self._process = self._spawn()
            for group in self._groups:
                self._tell(f"+{group}\n")

    def _spawn(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-I", "-S", str(Path(reaper.__file__))]
        # A session of its own: a signal to the supervisor's group must not take the reaper along.
        return subprocess.Popen(  # noqa: S603  our own file
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
