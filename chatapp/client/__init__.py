"""A client of chatapp: post a message, iterate over the events of its answer, whatever breaks on the way.

    with Client("http://127.0.0.1:8000", token) as client:
        for event in client.chat("Tell me about queues"):
            print(event.delta, end="", flush=True)
        print(client.chat("In one line, please").text)

It needs httpx2 and websocket-client, and nothing else of chatapp: this folder may be copied. docs/client.md says more.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from .answer import Answer
from .errors import ClientError, Disconnected, Failed, Refused
from .http import Http, Token
from .order import FORGET, TERMINAL, Event, Order
from .patience import DEFAULT, Patience
from .streams import EventStream, Stream, WebSocketStream

__all__ = [
    "FORGET",
    "TERMINAL",
    "Answer",
    "Client",
    "ClientError",
    "Disconnected",
    "Event",
    "Failed",
    "Order",
    "Patience",
    "Refused",
]


class Client:
    """A user of the API at `url`. May be shared by threads. Every method raises Refused, Disconnected.

    `token` is a bearer token, or a callable that gives a fresh one: called for the first, before one expires, and when the
    server says that it has. `transport`: `sse` where WebSockets do not pass. `websocket` is the address of the WebSocket;
    without it the API is asked. `on_break` is told why, each time a connection is lost and made again.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        transport: Literal["websocket", "sse"] = "websocket",
        websocket: str | None = None,
        patience: Patience = DEFAULT,
        on_break: Callable[[str], object] | None = None,
    ) -> None:
        if transport not in ("websocket", "sse"):
            raise ValueError(f"transport is websocket or sse, not {transport!r}")
        self._token = Token(token)
        self._http = Http(url, self._token, patience)
        self._transport = transport
        self._websocket = websocket
        self._patience = patience
        self._on_break = on_break

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close what is connected to the API. Answers that are being followed go on."""
        self._http.client.close()

    def chat(
        self,
        message: str | Sequence[Mapping[str, Any]],
        session_id: str | None = None,
        *,
        timeout: float | None = None,
        **fields: Any,
    ) -> Answer:
        """Post a message (text or parts); `fields` are those of `POST /chat`.

        It was kept when this returns, and once, however often it had to be sent. `timeout`: seconds until following its
        answer is given up.
        """
        body = {"message": message, **fields} | ({"session_id": session_id} if session_id else {})
        return self._answer(self._http.post("/chat", body, key=uuid.uuid4().hex), timeout)

    def begin(self, flow: str, *, timeout: float | None = None, **fields: Any) -> Answer:
        """Begin a session of a flow that speaks first (`interview`); `fields` are those of `POST /sessions`.

        Returns: what it says first; go on with `chat(message, answer.session_id)`. A flow that waits to be spoken to is begun by
        `chat(message, flow=...)`; here it is a ValueError.
        """
        session = self._http.post("/sessions", {"flow": flow, **fields}, key=uuid.uuid4().hex)
        if "job" not in session:
            raise ValueError(f"the flow {flow!r} does not speak first: post a message with flow={flow!r}")
        return self._answer(session["job"], timeout)

    def follow(self, job_id: str, after: str | None = None, *, timeout: float | None = None) -> Answer:
        """Follow a job from its first event on, or from behind the event `after`."""
        return Answer(
            job_id,
            http=self._http,
            token=self._token,
            patience=self._patience,
            connect=lambda token, cursor: self._stream(token, job_id, cursor),
            after=after,
            timeout=timeout,
            on_break=self._on_break,
        )

    def job(self, job_id: str, *, wait: float = 0) -> dict[str, Any]:
        """Read a job, at once or when it has ended, at the latest after `wait` seconds (20 at most)."""
        return self._http.get(f"/jobs/{job_id}", **({"wait": wait} if wait else {}))

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Stop a job. Returns: the job, which may not have ended yet."""
        return self._http.post(f"/jobs/{job_id}/cancel")

    def retry(self, job_id: str, *, timeout: float | None = None) -> Answer:
        """Ask again what an ended job was asked, in a new job; once for each job, however often this is called."""
        return self._answer(self._http.post(f"/jobs/{job_id}/retry"), timeout)

    def state(self, session_id: str) -> dict[str, Any]:
        """Read a session's state: `{session_id, flow, version, state}`."""
        return self._http.get(f"/sessions/{session_id}/state")

    def end(self, session_id: str) -> dict[str, Any]:
        """End a session and remove it. Returns: what its flow came to, e.g. an interview's profile."""
        return self._http.post(f"/sessions/{session_id}/end")

    def actions(self, session_id: str) -> list[dict[str, Any]]:
        """Read the actions that a session's flow has proposed, the newest first."""
        found: list[dict[str, Any]] = self._http.get(f"/sessions/{session_id}/actions")["actions"]
        return found

    def confirm(self, session_id: str, action_id: str) -> dict[str, Any]:
        """Say yes to an action. Returns: the action; it is carried out soon, and once however often this is called."""
        return self._http.post(f"/sessions/{session_id}/actions/{action_id}/confirm")

    def reject(self, session_id: str, action_id: str) -> dict[str, Any]:
        """Say no to an action. Returns: the action."""
        return self._http.post(f"/sessions/{session_id}/actions/{action_id}/cancel")

    def _answer(self, accepted: dict[str, Any], timeout: float | None) -> Answer:
        self._websocket = self._websocket or accepted["links"]["websocket"]
        return self.follow(accepted["job_id"], timeout=timeout)

    def _stream(self, token: str, job_id: str, after: str | None) -> Stream:
        if self._transport == "sse":
            return EventStream(self._http, job_id, after, margin=self._patience.life_sign)
        if self._websocket is None:
            self._websocket = str(self._http.get("/app-config")["ws_url"])
        return WebSocketStream(self._websocket, token, job_id, after, margin=self._patience.life_sign)
