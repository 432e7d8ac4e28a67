"""The folder that keeps a stack's state between runs, and the lock on it."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AWS, REDIS, PORTS = "aws", "redis", "ports.json"
FOLDER, READY = ".chatapp", "ready.json"


class StateInUseError(Exception):
    """Another stack runs on this folder."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder and keep it for this process. The lock is on the folder itself and vanishes with the process.

    Raises: StateInUseError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateInUseError(
                f"Another stack runs on {folder}: stop it, or choose another folder with --state-dir."
            ) from error
        yield
    finally:
        os.close(descriptor)


def clear(folder: Path) -> None:
    """Begin afresh. Only what was made here is removed, whatever else the folder may hold."""
    for name in (AWS, REDIS):
        shutil.rmtree(folder / name, ignore_errors=False) if (folder / name).exists() else None
    (folder / PORTS).unlink(missing_ok=True)


def last_aws_port(folder: Path) -> int | None:
    """Say which port the emulator had in the last run."""
    try:
        return int(json.loads((folder / PORTS).read_text())["aws"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def remember_aws_port(folder: Path, port: int) -> None:
    """Keep the emulator's port for the next run.

    Restored queues answer only to the URL they were made with, and that holds the port. When it has to change they are dropped
    and made anew: a message is only a wake-up, and the relay sends those that are missing.
    """
    if last_aws_port(folder) not in (None, port):
        (folder / AWS / "sqs.json").unlink(missing_ok=True)
    (folder / PORTS).write_text(json.dumps({"aws": port}))
