"""One child by itself, without a supervisor: for tests and benchmarks that need only some of the stack."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatapp.dev.child import Child
from chatapp.dev.process import ROOT

READY_SECONDS = 60
STOP_SECONDS = 5


@contextmanager
def running(child: Child, env: Mapping[str, str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run one child until the block is left, with its log in `folder`; `env` is its whole environment.

    Raises: RuntimeError with the log when it does not become ready.
    """
    log = folder / f"{child.name.replace('/', '-')}.log"
    with log.open("ab") as output:
        # In a group of its own: Ctrl-C reaches who started it alone, and that one then stops it.
        process = subprocess.Popen(  # noqa: S603  commands of ours
            child.command,
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
    try:
        _wait_until_ready(child, process, log)
        yield process
    finally:
        stop(process)


def stop(process: "subprocess.Popen[Any]") -> None:
    """Terminate a process and, at the latest after STOP_SECONDS, its whole group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_until_ready(child: Child, process: "subprocess.Popen[bytes]", log: Path) -> None:
    if child.probe is None:
        raise ValueError(f"{child.name} does not say when it is ready")
    deadline = time.monotonic() + READY_SECONDS
    while not asyncio.run(child.probe()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{child.name} did not become ready:\n{log.read_text()[-4000:]}")
        time.sleep(0.02)
