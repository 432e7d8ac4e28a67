"""Ends the children of a supervisor that was killed.

A program of its own (standard library only), started by the supervisor with the reading end of a pipe as its input: lines
`+<process group>` and `-<process group>`. When the pipe closes, because the supervisor has ended in whatever way, the groups that
are left are asked to stop, and killed if they do not. Unlike Linux's PR_SET_PDEATHSIG this also works on macOS, reaches
grandchildren, and gives the emulator the time to save its state.
"""

import os
import signal
import sys
import time

GRACE_SECONDS = 3.0


def main() -> None:
    """Follow the pipe to its end, then end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        groups.add(group) if line[0] == "+" else groups.discard(group)
    signal_all(groups, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = signal_all(groups, 0)
    signal_all(groups, signal.SIGKILL)


def signal_all(groups: set[int], number: int) -> set[int]:
    """Send a signal to each group (0: only look). Returns: those that are still there."""
    return {group for group in groups if signal_group(group, number)}


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a group (0: only look). Returns: whether there is such a group."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says this of a group of which only a zombie is left
        return False
    return True


if __name__ == "__main__":
    main()
