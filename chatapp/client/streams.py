"""How the events of a job come in: one connection at a time, from behind a cursor."""

import json
import re
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Protocol

import httpx2
from websocket import ABNF, WebSocketBadStatusException, WebSocketException, WebSocketTimeoutException, create_connection

from .errors import Broken, Refused
from .http import Http

CONNECT_SECONDS = 10.0
PING_SECONDS = 25.0
"""Time between the server's pings, until it says."""

HEARTBEAT_SECONDS = 15.0
"""Time between the comments that the API sends on a silent event stream."""

OVER = "over"
"""A frame made here: the job has ended and nothing comes behind the cursor."""

ENDED = frozenset({"completed", "failed", "cancelled"})


class Stream(Protocol):
    """One connection that brings the events of a job from behind a cursor."""

    def receive(self, seconds: float) -> Mapping[str, Any]:
        """Wait for a frame: `subscribed`, `refused`, an event, or anything; empty when none came.

        Raises: Broken, Refused.
        """
        ...

    def resubscribe(self, after: str | None) -> None:
        """Ask again for what comes behind a cursor. Raises: Broken."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


def subscribed(frame: Mapping[str, Any], job_id: str) -> dict[str, Any]:
    """Read what `subscribed` says of one job: whether the cursor was honoured, and whether the job has ended."""
    mine: Mapping[str, Any] = next((turn for turn in frame["turns"] if turn["job_id"] == job_id), {})
    return {"type": "subscribed", "recovered": mine.get("recovered", True), "ended": mine.get("status") in ENDED}


class WebSocketStream:
    """Over the WebSocket (docs/websocket.md)."""

    def __init__(self, url: str, token: str, job_id: str, after: str | None, *, margin: float) -> None:
        self._job_id = job_id
        self._subscribes = 0
        self._margin = margin
        self._life = PING_SECONDS + margin
        try:
            self._socket = create_connection(
                url,
                header=[f"Authorization: Bearer {token}"],
                suppress_origin=True,
                timeout=CONNECT_SECONDS,
                redirect_limit=0,  # the token is for this host alone
                skip_utf8_validation=True,  # json.loads does it
            )
        except WebSocketBadStatusException as error:
            raise _handshake_refused(error) from error
        except (WebSocketException, OSError) as error:
            raise Broken(f"{url}: {error}") from error
        self._alive_until = time.monotonic() + self._life
        self.resubscribe(after)

    def resubscribe(self, after: str | None) -> None:
        """Ask again; what was sent before the answer is not looked at."""
        self._subscribes += 1
        resume = {"job_id": self._job_id, "after": after}
        frame = {"type": "subscribe", "id": self._subscribes, "session_id": self._job_id.partition(".")[0], "resume": resume}
        try:
            self._socket.send(json.dumps(frame))
        except (WebSocketException, OSError) as error:
            self.close()
            raise Broken(str(error)) from error
        self._answered = False

    def receive(self, seconds: float) -> Mapping[str, Any]:
        """Wait for a frame. Pings of the server count as signs of life."""
        self._socket.settimeout(max(0.001, min(seconds, self._alive_until - time.monotonic())))
        try:
            opcode, data = self._socket.recv_data(control_frame=True)
            frame = json.loads(data) if opcode == ABNF.OPCODE_TEXT else {}
        except WebSocketTimeoutException as error:
            if time.monotonic() >= self._alive_until:
                raise Broken("the server is silent") from error
            return {}
        except (WebSocketException, OSError, ValueError) as error:
            raise Broken(str(error)) from error
        if opcode == ABNF.OPCODE_CLOSE:
            raise _closed(data)
        self._alive_until = time.monotonic() + self._life
        return self._told(frame)

    def close(self) -> None:
        """Leave without waiting for the server's goodbye."""
        with suppress(WebSocketException, OSError):
            self._socket.send_close()
        self._socket.shutdown()  # type: ignore[no-untyped-call]

    def _told(self, frame: dict[str, Any]) -> Mapping[str, Any]:
        match frame.get("type"):
            case "connected":
                self._life = float(frame["ping_interval"]) + self._margin
            case "subscribed" if frame.get("id") == self._subscribes:
                self._answered = True
                return subscribed(frame, self._job_id)
            case "refused" if frame.get("id") in (self._subscribes, None):
                if not frame["retryable"]:
                    raise Refused(frame["code"], frame["message"])
                raise Broken(f"{frame['code']}: {frame['message']}")
            case _ if self._answered and frame.get("job_id") == self._job_id:
                return frame
        return {}


def _handshake_refused(error: WebSocketBadStatusException) -> Exception:
    status = error.status_code
    if status in (408, 429) or status >= 500:
        return Broken(f"the handshake was answered with HTTP {status}")
    return Refused(f"http_{status}", f"the handshake was refused with HTTP {status}")


def _closed(data: bytes) -> Exception:
    code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else 1005
    reason = data[2:].decode(errors="replace")
    if code == 4500:
        return Broken(reason or "the token is not valid", renew=True)
    if 4500 < code < 5000:
        return Refused(f"closed_{code}", reason or f"the socket was closed with {code}")
    asked = re.search(r"reconnect_in=(\d+(?:\.\d+)?)", reason)
    return Broken(f"closed with {code} {reason}".strip(), pause=float(asked[1]) if asked else None, renew=code == 4001)


class EventStream:
    """Over `GET /jobs/{id}/events` (Server-Sent Events), where WebSockets do not pass.

    It wakes up when something comes, every HEARTBEAT_SECONDS at the latest: waits that are shorter take so long.
    """

    def __init__(self, http: Http, job_id: str, after: str | None, *, margin: float) -> None:
        self._http = http
        self._job_id = job_id
        self._silence = HEARTBEAT_SECONDS + margin
        self._retry: float | None = None
        self._open(after)

    def _open(self, after: str | None) -> None:
        self._response = self._http.stream(f"/jobs/{self._job_id}/events", after, silence=self._silence)
        self._lines = _lines(self._response.iter_bytes())

    def resubscribe(self, after: str | None) -> None:
        """Ask again, in a new request."""
        self.close()
        self._open(after)

    def receive(self, seconds: float) -> Mapping[str, Any]:  # noqa: ARG002  see above
        """Wait for a line. Comments count as signs of life."""
        if self._response.status_code == HTTPStatus.NO_CONTENT:
            return {"type": OVER}
        try:
            field, _, value = next(self._lines).partition(":")
            value = value.removeprefix(" ")
            frame = json.loads(value) if field == "data" else {}
        except StopIteration:
            raise Broken("the server has closed the stream", pause=self._retry) from None
        except (httpx2.TransportError, ValueError) as error:
            raise Broken(f"the stream is cut ({error})") from error
        if field == "retry" and value.isdecimal():
            self._retry = int(value) / 1_000
        return subscribed(frame, self._job_id) if frame.get("type") == "subscribed" else frame

    def close(self) -> None:
        """Leave."""
        self._response.close()


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Split at line feeds alone: httpx's own `iter_lines` splits at U+2028 too, which JSON may hold."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.removesuffix(b"\r").decode() for line in lines)
