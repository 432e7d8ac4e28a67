"""Deep calls on a stack of their own.

A greenlet keeps the stack for Python's frames as far as it was ever used: with one call into botocore or redis-py 8 to 12 KB
more for as long as the socket is open. Thousands of sockets would hold that for what each does once a minute at most.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def apart(work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call in a thread that ends with the call, and wait for it: to the caller as if it had called itself, errors included."""
    outcome: Future[R] = Future()
    threading.Thread(target=_settle, args=(outcome, lambda: work(*args, **kwargs)), daemon=True).start()
    return outcome.result()


def _settle(outcome: "Future[Any]", work: Callable[[], Any]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:  # noqa: BLE001  it is raised where the outcome is waited for
        outcome.set_exception(error)
        del outcome  # or error, traceback, this frame and the outcome would hold each other
