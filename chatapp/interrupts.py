"""Waking who waits for a model: the two ways that our processes can run.

Workers are greenlets, and an exception can be raised in one wherever it waits. A thread cannot be woken so: it notices
when the model says its next word, or has said nothing for LLM_READ_SECONDS.
"""

from collections.abc import Callable
from types import SimpleNamespace

from chatapp.ports import Interrupt, Interrupts


class GreenletInterrupts:
    """Raises the exception in the waiting greenlet."""

    def here(self) -> Interrupt:
        """Make an interrupt of the calling greenlet."""
        import gevent  # noqa: PLC0415  only in processes that run on it

        waiting, hub = gevent.getcurrent(), gevent.get_hub()

        def interrupt(error: Exception, still_waits: Callable[[], bool]) -> None:
            def raise_there() -> None:
                if still_waits():
                    waiting.throw(error)

            # From the hub nobody else runs: what `still_waits` says holds until the exception is there.
            hub.loop.run_callback_threadsafe(raise_there)

        return interrupt


class NoInterrupts:
    """Does nothing: the attempt finds out by itself."""

    def here(self) -> Interrupt:
        """Make an interrupt that does nothing."""
        return lambda _error, _still_waits: None


def keep_pools_whole() -> None:
    """Let nobody be interrupted while he holds the lock of the model client's connection pool.

    httpcore looks whether idle connections are still open while it holds that lock, with a `poll` that does not wait; gevent's
    `poll` lets others run even then, and an exception thrown in at that moment leaves the request in the pool for ever.
    """
    import select  # noqa: PLC0415  only for this

    import httpcore2._utils as pool  # noqa: PLC0415  only workers have it loaded
    from gevent.monkey import get_original, is_module_patched  # noqa: PLC0415  see above

    if is_module_patched("select"):
        pool.select = SimpleNamespace(poll=get_original("select", "poll"), POLLIN=select.POLLIN)  # type: ignore[assignment,attr-defined]


def fitting() -> Interrupts:
    """Choose what fits this process: whether it was patched for gevent at its start."""
    from gevent.monkey import is_module_patched  # noqa: PLC0415  see above

    return GreenletInterrupts() if is_module_patched("socket") else NoInterrupts()
