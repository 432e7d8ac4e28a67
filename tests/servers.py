"""Real servers for tests: started on free ports, stopped whatever happens."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from chatapp.dev.child import Child
from chatapp.dev.process import ROOT

READY_SECONDS = 20
STOP_SECONDS = 5


def clean_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without anything that would make a test depend on the developer's own settings or credentials."""
    from config.settings import variables

    named = {v.upper() for v in variables()}
    prefixes = ("CHATAPP_", "AWS_", "OPENAI_", "ANTHROPIC_")
    kept = {k: v for k, v in os.environ.items() if k.upper() not in named and not k.upper().startswith(prefixes)}
    return {**kept, "CHATAPP_ENV_FILE": "", "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", **(extra or {})}


@contextmanager
def running(child: Child, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run one child, with its log in `folder`, until the block is left.

    Raises: AssertionError with the log when it does not become ready.
    """
    assert child.probe is not None
    log = folder / f"{child.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            child.command,
            cwd=ROOT,
            env=clean_env(child.env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not asyncio.run(child.probe()):
            assert process.poll() is None, f"{child.name} ended with {process.returncode}:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"{child.name} is not ready after {READY_SECONDS} s:\n{log.read_text()}"
            time.sleep(0.02)
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process and, at the latest after STOP_SECONDS, its whole group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
