"""A job's events as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html), for one reader."""

import logging
import secrets
import socket
import struct
from collections.abc import Callable, Iterator

from flask import Blueprint, Response, request

from chatapp.api.body import read_query
from chatapp.api.context import principal, services
from chatapp.api.operations import operation
from chatapp.api.owned import own_turn
from chatapp.errors import InvalidRequest, LiveUnavailable, NotFound, RateLimited, StoreUnavailable
from chatapp.live.feed import JobFeed
from chatapp.live.feeds import Feeds
from chatapp.live.following import Event
from chatapp.live.replay import Past
from chatapp.model import EventId
from chatapp.payloads import encode
from chatapp.problems import request_id
from chatapp.requests import EventsQuery

log = logging.getLogger(__name__)
bp = Blueprint("events", __name__)

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID = "Last-Event-ID"
RETRY_MS = (1_000, 3_000)
"""What a reader is told to wait before it comes back: each another time, so that a deploy does not bring all back at once."""

HEADERS = {"Content-Type": EVENT_STREAM, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""The last is for nginx, which would keep small events back."""

AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: the kernel drops the megabytes that a reader did not take when the connection is closed."""

HEARTBEAT = b":\n\n"


@bp.get("/jobs/<job_id>/events")
@operation(
    query=EventsQuery,
    headers=(LAST_EVENT_ID,),
    answers={200: EVENT_STREAM, 204: None},
    errors=(NotFound, RateLimited, LiveUnavailable, StoreUnavailable),
    ticket=True,
)
def follow_job(job_id: str) -> Response:
    """Follow a job: its events after a cursor, then live, until it ends; 204 when there is nothing after the cursor.

    Each event is a message whose data is the JSON text that the WebSocket sends. The first message is `subscribed` and has no
    id. Where the stream stopped is told by `Last-Event-ID`, as browsers do by themselves, or by `after`.
    """
    cursor = _cursor(read_query(EventsQuery))
    turn, session = own_turn(job_id)
    if turn.end_id is not None and cursor is not None and cursor >= turn.end_id:
        return Response(status=204)
    if request.method == "HEAD":
        return Response(headers=HEADERS)
    feed = services().feeds.open(session, turn, cursor, caller=principal(), cut=_hang_up())
    stream = Stream(feed, services().feeds, request_id())
    if feed.past.status.ended and not feed.past.events:
        stream.close()
        return Response(status=204)
    return Response(stream, headers=HEADERS)


class Stream:
    """A feed as the body of an answer. The server closes it when the reader is gone."""

    def __init__(self, feed: JobFeed, feeds: Feeds, name: str) -> None:
        self._feed = feed
        self._feeds = feeds
        self._name = name

    def __iter__(self) -> Iterator[bytes]:
        try:
            for item in self._feed:
                match item:
                    case None:
                        yield HEARTBEAT
                    case Event():
                        yield f"id: {item.id}\ndata: {item.text}\n\n".encode()  # JSON has no line breaks
                    case Past():
                        yield _opening(item)
        except Exception:  # the server would log the address, and with it the ticket
            log.exception("request %s: the stream of %s failed", self._name, self._feed.job_id)

    def close(self) -> None:
        """Follow no longer."""
        self._feeds.close(self._feed)


def _opening(past: Past) -> bytes:
    """Write what a proxy waits for, the time to wait before coming back, and whether the cursor was honoured."""
    first, last = RETRY_MS
    subscribed = encode({"type": "subscribed", "session_id": past.job_id.session_id, "turns": [past.shown]})
    return f": open\nretry: {first + secrets.randbelow(last - first)}\n\ndata: {subscribed}\n\n".encode()


def _cursor(query: EventsQuery) -> EventId | None:
    """Read where the reader stopped. The header wins: a browser that comes back sends it with the address of the first time.

    Raises: InvalidRequest.
    """
    if not (given := request.headers.get(LAST_EVENT_ID)):
        return EventId.parse(query.after) if query.after is not None else None
    if (cursor := EventId.parse(given)) is None:
        raise InvalidRequest(errors=[{"header": LAST_EVENT_ID, "detail": "is not an event's id: <attempt>-<seq>"}])
    return cursor


def _hang_up() -> Callable[[], None]:
    """Make what ends the connection of this request under a server that waits for it to take more."""
    connection: socket.socket | None = request.environ.get("gunicorn.socket")

    def hang_up() -> None:
        if connection is None:
            return
        try:
            # Through a duplicate, since gevent's own `shutdown` throws an error into the writer, which the server would log.
            with connection.dup() as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                same.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            log.debug("a reader was gone already: %s", error)

    return hang_up
