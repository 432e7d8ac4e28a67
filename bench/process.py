"""A process of a benchmark that is asked by lines of JSON and answers each with one."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.servers import Stage
from chatapp.dev.process import ROOT


class Process:
    """One that runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, **question: Any) -> dict[str, Any]:
        """Ask, and wait for the answer. Raises: RuntimeError when the process has ended."""
        self.tell(**question)
        return self.hear()

    def tell(self, **question: Any) -> None:
        """Ask, and leave the answer for `hear`."""
        if self._process.stdin is None:
            raise ValueError("the process has no input")
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Wait for the answer to what was told. Raises: RuntimeError when the process has ended."""
        if self._process.stdout is None:
            raise ValueError("the process has no output")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def started(on: Stage, command: Sequence[str]) -> Iterator[Process]:
    """Run a process that joins a stage. Leaving the block closes its input, at which it ends."""
    with subprocess.Popen(
        command, env=dict(on.env), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            yield Process(process)
        except BaseException:
            process.kill()
            raise
