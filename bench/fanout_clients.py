"""The clients of `bench.fanout`: all sockets, and what each event took to reach them.

`python -m bench.fanout_clients` takes `open`, `clear` and `listen` as JSON lines: `{"do": "open", ...}`.
"""

import gc
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from bench.crowd import Asking, Crowd
from chatapp.dev.ports import HOST

STAMP = b'"text":"'


class Listener(Asking):
    """Follows one session, and takes the times of its events."""

    def __init__(self, port: int, headers: str, asks: str, times: list[int]) -> None:
        super().__init__(port, headers, asks, '"subscribed"')
        self._times = times

    def text(self, payload: bytes, at: int) -> None:
        """Note how long ago the event was published: its text begins with that moment."""
        if b'"message_delta"' in payload:
            begin = payload.index(STAMP) + len(STAMP)
            self._times.append(at - int(payload[begin : payload.index(b" ", begin)]))
        else:
            super().text(payload, at)


class Listeners:
    """All of them, and a datagram socket at which the publisher sends what no server delays."""

    def __init__(self) -> None:
        self.crowd = Crowd()
        self._times: list[int] = []
        self._lags: list[int] = []
        self._direct = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._direct.bind((HOST, 0))
        self.crowd.watch(self._direct.fileno(), self._lag)

    def open(self, port: int, sockets: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Open sockets, each given by its headers and its first frame. Returns: where to send what is not delayed."""
        self.crowd.open([Listener(port, headers, asks, self._times) for headers, asks in sockets])
        return {"direct": self._direct.getsockname()[1]}

    def clear(self) -> dict[str, Any]:
        """Forget what came so far. Asked before the first event that counts is published."""
        self._times.clear()
        self._lags.clear()
        gc.collect()
        return {}

    def listen(self, expected: int, seconds: float) -> dict[str, Any]:
        """Wait until so many events have come. Returns: their times and those of the datagrams, in nanoseconds."""
        self.crowd.run(lambda: len(self._times) >= expected, seconds)
        return {"times": self._times, "lags": self._lags}

    def _lag(self) -> None:
        self._lags.append(time.monotonic_ns() - int(self._direct.recv(32)))


def main() -> None:
    """Serve the sockets until the input ends; whatever is asked meanwhile, they are served."""
    gc.disable()
    listeners, asked = Listeners(), bytearray()
    ended = False

    def read() -> None:
        nonlocal ended
        data = os.read(sys.stdin.fileno(), 1_048_576)
        ended = not data
        asked.extend(data)

    listeners.crowd.watch(sys.stdin.fileno(), read)
    while listeners.crowd.run(lambda: ended or b"\n" in asked, seconds=600) and not ended:
        line, _, rest = asked.partition(b"\n")
        asked[:] = rest
        question = json.loads(line)
        print(json.dumps(getattr(listeners, question.pop("do"))(**question)), flush=True)


if __name__ == "__main__":
    main()
