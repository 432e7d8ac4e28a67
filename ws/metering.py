"""How much a client sends: the headers of its frames are read on the wire, before any payload is taken apart or kept.

simple-websocket counts the characters of a text, not its bytes, only once they are here, and no control frame at all: a flood
of pings or of empty fragments would pass. RFC 6455, section 5.2 says what a header looks like.
"""

from dataclasses import dataclass

from ws.protocol import Close

BURST_SECONDS = 10.0
"""A client that was quiet may send the frames of so many seconds at once."""

_FIN, _CONTROL, _MASKED = 0x80, 0x08, 0x80
_LONGEST_HEADER = 14


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client may send: bytes of a message, all its fragments together, and frames of any kind per second."""

    max_payload: int
    frames_per_second: float


class Meter:
    """Follows one client's stream. Numbers only: there are thousands."""

    __slots__ = ("_allowance", "_head", "_message", "_paid_until", "_skip")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._head = b""  # of a header that has not come whole
        self._skip = 0  # bytes of payload before the next header
        self._message = 0  # bytes of the message so far, if it comes in fragments
        self._paid_until = 0.0  # the frames so far are what the rate allows until then

    def feed(self, data: bytes, now: float) -> Close | None:
        """Take what was received. `now` is on a monotonic clock. Returns: why the client is to be closed, if it is."""
        at, frames = 0, 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            header = self._head + data[at : at + _LONGEST_HEADER - len(self._head)]
            size = _size_of(header)
            if len(header) < size:
                self._head = header
                break
            at += size - len(self._head)
            self._head = b""
            frames += 1
            if not self._begin(header):
                return Close.TOO_BIG
        return None if self._pay(frames, now) else Close.RATE_LIMITED

    def _begin(self, header: bytes) -> bool:
        """Begin a frame. Returns: whether its message is within the limit."""
        self._skip = _payload_of(header)
        if header[0] & _CONTROL:
            return True
        self._message += self._skip
        within = self._message <= self._allowance.max_payload
        if header[0] & _FIN:
            self._message = 0
        return within

    def _pay(self, frames: int, now: float) -> bool:
        if frames:
            self._paid_until = max(self._paid_until, now) + frames / self._allowance.frames_per_second
        return self._paid_until - now <= BURST_SECONDS


def _size_of(header: bytes) -> int:
    """Say how long the header is that begins with these bytes, as far as they tell."""
    if len(header) < 2:
        return 2
    extended = {126: 2, 127: 8}.get(header[1] & 0x7F, 0)
    return 2 + extended + (4 if header[1] & _MASKED else 0)


def _payload_of(header: bytes) -> int:
    length = header[1] & 0x7F
    if length == 126:
        return int.from_bytes(header[2:4])
    if length == 127:
        return int.from_bytes(header[2:10])
    return length
