"""Worker processes for tests: started as production starts one, with their log in a file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatapp.dev import twin
from config.settings import Settings
from tests.faults.proxy import FaultProxy
from tests.servers import clean_env
from tests.stack import ROOT

RECEIVE = "AmazonSQS.ReceiveMessage"
APP = "tasks"
OPTIONS = "worker -P gevent --without-gossip --without-mingle --without-heartbeat"


@dataclass(frozen=True)
class Worker:
    """A running worker."""

    process: "subprocess.Popen[bytes]"
    log_file: Path

    def log(self) -> str:
        """Everything it has said so far."""
        return self.log_file.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until the log holds a text."""
        until(lambda: text in self.log() or self.process.poll() is not None, seconds, f"the log has no {text!r}")
        assert text in self.log(), f"the worker ended with {self.process.poll()}:\n{self.log()[-4000:]}"


@contextmanager
def started(
    env: Mapping[str, str], log_file: Path, *, app: str = APP, slots: int = 20, queue: str | None = None
) -> Iterator[Worker]:
    """Run a worker until the block is left, without waiting for it to be ready. `queue`: what `-Q` names, if anything."""
    command = [sys.executable, "-m", "celery", "--quiet", "-A", app, *OPTIONS.split(), "-c", str(slots)]
    command += ["-Q", queue] if queue else []
    with log_file.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=clean_env(env), stdout=output, stderr=output, process_group=0)
    try:
        yield Worker(process, log_file)
    finally:
        # How a worker stops is tested where the signal is sent; here it would be waited for until its poll has ended.
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a worker at once, with whatever it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(condition: Callable[[], object], seconds: float, otherwise: str) -> float:
    """Wait for a condition. Returns: the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"after {seconds} s: {otherwise}"
        time.sleep(0.02)
    return time.monotonic() - began


def messages_in(sqs: Any, url: str) -> tuple[int, int]:
    """How many messages are in a queue: (to be seen, hidden)."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def env_of(settings: Settings, *, sqs: str | None = None) -> dict[str, str]:
    """The environment of a worker on these queues and tables; `sqs` is another address of the emulator's, for all of AWS."""
    endpoint = str(settings.aws_endpoint_url)
    env = twin.aws_env(int(endpoint.rsplit(":", 1)[1])) | {
        "AWS_ENDPOINT_URL": endpoint,
        "SQS_QUEUE_URL_PREFIX": settings.sqs_queue_url_prefix,
        "DYNAMODB_TABLE_PREFIX": settings.dynamodb_table_prefix,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "OPENAI_BASE_URL": settings.openai_base_url,
        "OPENAI_API_KEY": "test",
    }
    return {name: value.replace(endpoint, sqs) for name, value in env.items()} if sqs else env


@contextmanager
def asking(settings: Settings, proxy: FaultProxy, log_file: Path) -> Iterator[Worker]:
    """Run a worker of two slots behind a proxy, from when it has begun to ask for messages."""
    asked = proxy.requests[RECEIVE]
    with started(env_of(settings, sqs=proxy.url), log_file, slots=2) as running:
        running.wait_for("worker ready")
        until(lambda: proxy.requests[RECEIVE] > asked, 30, "it does not ask")
        yield running
