"""Follows one job to its end, over as many connections as that takes."""

import hashlib
import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from types import TracebackType
from typing import Any, Self

from .errors import Broken, Disconnected, Failed, Refused
from .http import Http, Token
from .order import CANCELLED, COMPLETED, ERROR, Event, Gap, Order
from .patience import Patience
from .streams import OVER, Stream

log = logging.getLogger(__name__)

_END_OF = {"completed": COMPLETED, "cancelled": CANCELLED, "failed": ERROR}


class Answer:
    """The answer to one message: an iterator of its events, each once and in order, up to the terminal one.

    Nothing is connected before the first event is asked for. One thread iterates; `cancel` may be called from any.
    """

    def __init__(
        self,
        job_id: str,
        *,
        http: Http,
        token: Token,
        patience: Patience,
        connect: Callable[[str, str | None], Stream],
        after: str | None = None,
        timeout: float | None = None,
        on_break: Callable[[str], object] | None = None,
    ) -> None:
        self.job_id = job_id
        self.session_id = job_id.partition(".")[0]
        self._http = http
        self._token = token
        self._patience = patience
        self._connect = connect
        self._on_break = on_break
        self._order = Order(job_id, after)
        self._ends_at = time.monotonic() + (float("inf") if timeout is None else timeout)
        self._heard_at = time.monotonic()
        self._ended_at: float | None = None  # when this connection said that the job has ended
        self._lost_at: float | None = None
        self._renewals = 0  # in a row, without being let in between
        self._events = self._follow()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        """Wait for the next event. Raises: StopIteration after the terminal one; Refused, Disconnected."""
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def text_so_far(self) -> str:
        """The text that the events delivered so far come to."""
        return self._order.text

    @property
    def text(self) -> str:
        """The whole answer: waits for the end. Raises: Failed when the job does; Refused, Disconnected."""
        for _ in self:
            pass
        end = self._order.end
        if end is None:
            raise self._gave_up("the answer was left before its end")
        if end.type == ERROR:
            code = str(end.data["code"])
            raise Failed(code, end.data.get("message") or code, retryable=end.data.get("retryable", False))
        if not self._whole(end):
            self._order.text = self._http.get(f"/jobs/{self.job_id}").get("answer") or ""
        return self._order.text

    @property
    def end(self) -> Event | None:
        """The terminal event, once it was delivered."""
        return self._order.end

    @property
    def after(self) -> str | None:
        """Id of the last event that was delivered: where `Client.follow` would go on."""
        return self._order.after

    def cancel(self) -> dict[str, Any]:
        """Stop the job; its events go on to the terminal one. Returns: the job. Raises: Refused, Disconnected."""
        return self._http.post(f"/jobs/{self.job_id}/cancel")

    def close(self) -> None:
        """Leave before the end. The job goes on."""
        self._events.close()

    def _whole(self, end: Event) -> bool:
        digest = end.data.get("text_sha256")
        return digest is None or hashlib.sha256(self._order.text.encode()).hexdigest() == digest

    def _follow(self) -> Generator[Event]:
        tries = 0
        while self._order.end is None:
            try:
                with closing(self._connect(self._token.value(), self._order.after)) as stream:
                    for event in self._connected(stream):
                        yield event
                        tries = 0
            except Broken as broken:
                self._note(broken)
                self._sleep(self._patience.pause(tries) if broken.pause is None else min(broken.pause, self._patience.away))
                tries += 1
                yield from self._look_if_silent()

    def _connected(self, stream: Stream) -> Generator[Event]:
        """Give what one connection brings, until it breaks or the job ends."""
        while self._order.end is None:
            frame = stream.receive(min(self._left(), max(0.0, self._look_at() - time.monotonic())))
            try:
                delivered = self._take(frame)
            except Gap:
                stream.resubscribe(self._order.after)
                continue
            for event in delivered:
                yield event
                self._hear()
            yield from self._look_if_silent()

    def _take(self, frame: Mapping[str, Any]) -> list[Event]:
        if frame.get("type") in ("subscribed", OVER):
            self._renewals = 0
        if frame.get("type") == "subscribed":
            self._lost_at = None
            self._ended_at = time.monotonic() if frame["ended"] else None
            return self._order.subscribed(recovered=frame["recovered"])
        if frame.get("type") == OVER:
            self._ended_at = float("-inf")
        return self._order.accept(Event.read(frame)) if "job_id" in frame else []

    def _hear(self) -> None:
        """Note that an event was delivered just now: the caller may have taken its time with it."""
        self._heard_at = time.monotonic()
        if self._ended_at is not None:
            self._ended_at = self._heard_at

    def _look_at(self) -> float:
        """Say when to look at the job. Its end comes at once where it has ended, unless it lies before the caller's cursor."""
        silent_at = self._heard_at + self._patience.silence
        return silent_at if self._ended_at is None else min(silent_at, self._ended_at + self._patience.end)

    def _look_if_silent(self) -> Generator[Event]:
        """Look at the job itself when nothing was heard of it for long: its end may be stored and its events lost."""
        if self._order.end is not None or time.monotonic() < self._look_at():
            return
        self._heard_at = time.monotonic()
        try:
            job = self._http.get(f"/jobs/{self.job_id}")
        except Disconnected as error:
            log.info("job %s cannot be asked: %s", self.job_id, error)
            if self._ended_at == float("-inf"):  # and this connection will not tell
                raise Broken(str(error)) from error
            return
        if job["status"] in _END_OF:
            yield from self._order.skip_to(_terminal_event(job, self._order))

    def _note(self, broken: Broken) -> None:
        """Take note of a lost connection. Raises: Refused, Disconnected when it is not to be made again."""
        self._ended_at = None
        if self._lost_at is None:
            self._lost_at = time.monotonic()
        if broken.renew:
            self._renewals += 1
            if not self._token.renew() or self._renewals > 2:
                raise Refused("unauthenticated", str(broken)) from broken
        if time.monotonic() - self._lost_at > self._patience.away:
            raise self._gave_up(f"the connection is lost ({broken})") from broken
        log.info("job %s: %s, trying again", self.job_id, broken)
        if self._on_break is not None:
            self._on_break(str(broken))

    def _left(self) -> float:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise self._gave_up("the job has not ended in time")
        return left

    def _sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, self._left()))

    def _gave_up(self, why: str) -> Disconnected:
        return Disconnected(why, self.job_id, self._order.after)


def _terminal_event(job: Mapping[str, Any], order: Order) -> Event:
    """Make the terminal event of an ended job, as the server would."""
    kind, cursor = _END_OF[job["status"]], order.cursor
    attempt = max(job["attempt"], cursor[0] if cursor else 0)
    seq = cursor[1] + 1 if cursor is not None and cursor[0] == attempt else 0
    data = (
        dict(job.get("error") or {"code": "turn_failed"})
        if kind == ERROR
        else {"text": job.get("answer", ""), "usage": job.get("usage")}
    )
    if kind == COMPLETED:
        data |= {"model": job["model"], "finish_reason": job.get("finish_reason")}
    return Event(kind, f"{attempt}-{seq}", job["job_id"], job["session_id"], attempt, seq, job["ended_at"], data)
