"""Starts real servers for a benchmark on free ports of this machine, and looks at what they use."""

import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from chatapp.dev import plan
from chatapp.dev.alone import running
from chatapp.dev.child import Child, http_ok
from chatapp.dev.ports import HOST, Ports, free_port, settle
from chatapp.dev.process import ROOT
from config.settings import Settings

ANY_PORTS = Ports(api=0, ws=0, llm=0, redis=0, aws=0, partners=0)


@dataclass(frozen=True)
class Stage:
    """The stack of `python -m chatapp dev`, of which a benchmark starts the processes that it measures."""

    ports: Ports
    env: Mapping[str, str]
    """All that a process needs to join."""
    _children: Mapping[str, Child]
    _folder: Path
    _stack: ExitStack

    def start(self, child: Child | str, **env: str) -> int:
        """Start one process of the stack, or one made for the benchmark. Returns: its process id, once it is ready.

        `env` are variables for it alone.

        Raises: RuntimeError with its log, when it does not become ready.
        """
        child = self._children[child] if isinstance(child, str) else child
        return self._stack.enter_context(running(child, {**self.env, **child.env, **env}, self._folder)).pid

    def run(self, name: str) -> None:
        """Run one of the processes that end by themselves."""
        subprocess.run(self._children[name].command, env=dict(self.env), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    def gunicorn(self, config: str, app: str, bind_variable: str, env: Mapping[str, str]) -> tuple[int, int]:
        """Start a baseline, `app`, just as gunicorn runs ours. Returns: (process id, port)."""
        port = free_port()
        command = (sys.executable, "-m", "gunicorn", "-c", config, app)
        child = Child(app, command, env={bind_variable: f"{HOST}:{port}", **env}, probe=http_ok(port, "/health/live"))
        return self.start(child), port


@contextmanager
def stage(**env: str) -> Iterator[Stage]:
    """Set up a stage, with the emulators of AWS and Redis running and provisioned; take it down whatever happens.

    Args:
        env: settings that differ from the defaults.
    """
    with TemporaryDirectory(prefix="chatapp-bench-") as name, ExitStack() as stack:
        folder, ports = Path(name), settle(ANY_PORTS)
        laid_out = plan.make(Settings(), ports, folder, model_delay=0)
        joined = {**laid_out.inherited, **laid_out.joining, "LOG_LEVEL": "WARNING", **env}
        made = Stage(ports, joined, {c.name: c for c in laid_out.children}, folder, stack)
        for emulator in ("aws", "redis"):
            made.start(emulator)
        made.run("provision")
        yield made


def open_many_files() -> None:
    """Let this process, and the servers that it starts, open as many files as the system allows."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def cpu_seconds(pid: int) -> float:
    """Say how much CPU time (user and system) a process and its children have used; gunicorn's workers are children."""
    return sum(t.user + t.system for t in (p.cpu_times() for p in _family(pid)))


def resident_bytes(pid: int) -> int:
    """Say how much memory a process and its children hold."""
    return sum(p.memory_info().rss for p in _family(pid))


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]
