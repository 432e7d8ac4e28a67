"""The one interleaved log: each line with the name of who said it, in colour on a terminal."""

import os
import sys
from typing import TextIO

_COLOURS = {
    "api": 34,
    "ws": 36,
    "worker": 32,
    "effects": 32,
    "llm": 35,
    "aws": 33,
    "redis": 31,
    "partners": 90,
    "provision": 33,
    "dev": 1,
}
_WIDTH = 9


class Console:
    """Writes whole lines to a stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._colour = self.on_terminal() and "NO_COLOR" not in os.environ

    def on_terminal(self) -> bool:
        """Say whether a terminal shows this; no longer so once it was closed."""
        return self._stream.isatty()

    def line(self, name: str, text: str) -> None:
        """Write a line of one process."""
        prefix = f"{name:<{_WIDTH}} |"
        if self._colour:
            prefix = f"\x1b[{_COLOURS.get(name, 37)}m{prefix}\x1b[0m"
        self.plain(f"{prefix} {text}")

    def say(self, text: str) -> None:
        """Write a line of the supervisor itself."""
        self.line("dev", text)

    def plain(self, text: str) -> None:
        """Write a line, or several, as they are."""
        try:
            print(text, file=self._stream, flush=True)
        except OSError:
            # The terminal was closed, or whoever read the pipe has left: there is nobody to tell, and everything must
            # still be stopped in good order.
            self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  kept until the process ends
