"""`python -m bench` runs every benchmark, `python -m bench post stream sockets` those that are named."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from bench import breaker, fanout, post, resume, sockets, stream
from bench.figures import Comparison, Finding
from config.settings import variables

BENCHMARKS: dict[str, Callable[[], Iterator[Comparison] | Iterator[Finding]]] = {
    "post": post.run,
    "stream": stream.run,
    "sockets": sockets.run,
    "fanout": fanout.run,
    "resume": resume.run,
    "breaker": breaker.run,
}


def main() -> None:
    """Run what was asked for and print a line for each comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="What the product costs, as ratios: docs/performance.md."
    )
    parser.add_argument("name", nargs="*", help=f"which of {', '.join(BENCHMARKS)}; all when none is named")
    names = parser.parse_args().name or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"there is no {' or '.join(sorted(unknown))}")
    _forget_own_settings()
    signal.signal(signal.SIGTERM, _stop)
    try:
        for name in names:
            began = time.monotonic()
            for comparison in BENCHMARKS[name]():
                print(f"{name:<8} {comparison}", flush=True)
            print(f"{name:<8} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)


def _forget_own_settings() -> None:
    """Take the developer's own settings and credentials out of the environment: what is measured must not depend on them."""
    named = set(variables())
    for variable in list(os.environ):
        if variable in named or variable.startswith(("CHATAPP_", "AWS_", "OPENAI_")):
            del os.environ[variable]
    os.environ["CHATAPP_ENV_FILE"] = ""


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
