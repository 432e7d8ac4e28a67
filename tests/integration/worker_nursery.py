"""A process that bears workers: `python -m tests.integration.worker_nursery ARGS`, ARGS as for `celery`.

For tests that kill one worker after another: everything is imported once, and each worker is a fork of that. Takes commands by
lines, and answers each with one: `begin` forks a worker and says its process id; `look` says `alive`, or how it ended as
`subprocess` would, e.g. -9.
"""

import os
import signal
import sys

import gevent
from celery import maybe_patch_concurrency
from gevent.monkey import get_original


def work():
    """Be a worker."""
    gevent.reinit()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.close(0)
    os.dup2(2, 1)
    main()


def look(pid):
    """Say how a worker is."""
    found, status = get_original("os", "waitpid")(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else "alive"


def bear():
    """Obey until nobody speaks any more."""
    pid = 0
    for line in sys.stdin:
        if line.strip() == "begin":
            pid = get_original("os", "fork")()  # gevent's own reaps its children
            if pid == 0:
                return work()
        print(pid if line.strip() == "begin" else look(pid), flush=True)
    return None


if __name__ == "__main__":
    maybe_patch_concurrency(["celery", *sys.argv[1:]])  # first of all, as the `celery` command does
    from celery.__main__ import main

    from tasks.app import services

    _ = services.answer  # imports the model's SDK; connects to nothing
    sys.argv[0] = "celery"
    print("ready", flush=True)
    bear()
