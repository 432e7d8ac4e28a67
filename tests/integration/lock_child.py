"""Sixteen processes that want one lock: `python -m tests.integration.lock_child <times> <fenced>`.

Each reads the resource, and writes it back changed, while it holds the lock; nothing but the lock and its fence guards that. The
first dies of SIGKILL when it has read, the second stops itself for others to take its lease: they come for the last time only
then. A line on stdout tells each deed.
"""

import os
import signal
import sys

from botocore.exceptions import ClientError

from chatapp.errors import StoreUnavailable
from chatapp.services import Services, build
from chatapp.stores.dynamo import call, from_item, transact
from chatapp.stores.locks import Held, LockStore
from config import settings
from config.settings import Settings

CONTENDERS = 16
LOCK = "the-resource"
KEY = {"SessionId": LOCK}


def say(*words: object) -> None:
    """Tell the test, in one write: the processes share the pipe."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Gate:
    """Opens for all of them once who keeps it has opened it. Made before they part."""

    def __init__(self, keeper: int) -> None:
        self.keeper = keeper
        self.reads, self.writes = os.pipe()

    def enter(self, number: int) -> None:
        """Be one of them."""
        if number != self.keeper:
            self.open()

    def open(self) -> None:
        """Close this process' end: when nobody has it any more, all read the end of the file."""
        os.close(self.writes)

    def wait(self) -> None:
        """Return when it is open."""
        os.read(self.reads, 1)


def work(services: Services, held: Held, number: int, gate: Gate, *, first: bool, fenced: bool) -> None:
    """Read, perhaps come to harm, and write."""
    table = services.settings.table_name("sessions")
    found = from_item(services.dynamodb.get_item(**call(table, key=KEY, ConsistentRead=True))["Item"])
    if first and number == 0:
        say("killed", held.token)
        os.kill(os.getpid(), signal.SIGKILL)
    if first and number == 1:
        say("stopped", held.token, os.getpid())
        gate.open()
        os.kill(os.getpid(), signal.SIGSTOP)
    values = {"total": found["Total"] + 1, "token": [held.token]}
    update = call(table, key=KEY, values=values, UpdateExpression="SET Total = :total, Tokens = list_append(Tokens, :token)")
    try:
        transact(services.dynamodb, [{"Update": update}, *([held.still()] if fenced else [])])
    except (ClientError, StoreUnavailable):
        say("refused", held.token, held.lost)
    else:
        say("wrote", held.token, held.lost)


def contend(made: Settings, number: int, times: int, gate: Gate, *, fenced: bool) -> None:
    """Be one of them."""
    gate.enter(number)
    services = build(made)
    locks = LockStore(services.dynamodb, table=made.table_name("locks"), clock=services.clock, lease_ms=3_000, skew_ms=300)
    for n in range(times):
        if n == times - 1 and number != gate.keeper:
            gate.wait()
        with locks.hold(LOCK, wait=60) as held:
            work(services, held, number, gate, first=n == 0, fenced=fenced)


def main() -> None:
    """Start them all, with the modules imported once, and wait."""
    made, times, fenced = settings.load(), int(sys.argv[1]), sys.argv[2] == "fenced"
    gate = Gate(keeper=1)
    for number in range(CONTENDERS):
        if os.fork() == 0:
            contend(made, number, times, gate, fenced=fenced)
            os._exit(0)
    gate.open()
    for _ in range(CONTENDERS):
        _, status = os.wait()
        say("ended", status)


if __name__ == "__main__":
    main()
