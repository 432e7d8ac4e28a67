"""What clients ask for, and how they post it: with a key, and again with the same key until they have an answer."""

import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx2

from chatapp.incoming.signature import HEADER, sign
from config.settings import DEV_WEBHOOK_SECRET

CLIENT_SECONDS = 5.0
GIVE_UP_SECONDS = 60.0
WORDS = "the queue may deliver twice or late or never and still each answer is written once in its place and in its order".split()


@dataclass(eq=False)
class Conversation:
    """A session as its client knows it. With a `phone` its messages come in by webhook, and its answers go out so."""

    session_id: str | None = None
    phone: str | None = None
    opening: threading.Lock = field(default_factory=threading.Lock)


@dataclass(eq=False)
class Order:
    """One message that somebody wants answered.

    `says` is the answer that it must get, None when it is meant to fail, with `code`. `calls` is the most model calls that
    it may cost by itself; crashes come on top. `dead`: it belongs in the
    dead-letter queue in the end. `text`: what is posted in the place of a request for an echo; its answer has `says` in it.
    `refused`: nobody takes what is delivered of its end.
    """

    number: int
    conversation: Conversation
    directives: str
    says: str | None
    code: str | None = None
    ends: frozenset[str] = frozenset({"completed"})
    calls: int = 1
    dead: bool = False
    text: str | None = None
    refused: bool = False
    key: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    posts: int = 0
    refusals: list[str] = field(default_factory=list)
    posted_at: float = 0.0
    accepted_at: float = 0.0
    job_id: str | None = None

    @property
    def marker(self) -> str:
        """How the message begins: what tells it from all others, also at the model."""
        return f"order {self.number:05}."

    @property
    def message(self) -> str:
        """The text that is posted."""
        if self.text is not None:
            return self.text
        echo = f"[[echo={self.says}]] " if self.says is not None else ""
        return f"{self.marker} {echo}{self.directives}"

    @property
    def followed(self) -> bool:
        """Whether a client waits for its end at a socket. Who writes by phone gets a delivery instead."""
        return self.conversation.phone is None

    def answered_by(self, answer: str | None) -> bool:
        """Say whether this is the answer that it must get."""
        return answer == self.says if self.text is None else (self.says or "") in (answer or "")


class Client:
    """A front end that does not give up: what it does not know, it asks again with the same Idempotency-Key."""

    def __init__(self, api_url: str, token: str, *, seed: int) -> None:
        self._http = httpx2.Client(
            base_url=api_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=CLIENT_SECONDS,
            limits=httpx2.Limits(max_connections=100, max_keepalive_connections=0),
        )
        self._numbers = itertools.count(1)
        self._pool = ThreadPoolExecutor(64, thread_name_prefix="client")
        self._seed = seed
        self.orders: list[Order] = []

    def close(self) -> None:
        """Stop posting."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._http.close()

    def order(self, conversation: Conversation, *, words: int = 20, delay: float = 0.02, **more: Any) -> Order:
        """Write an order for an answer of so many words, `delay` seconds apart. It is not posted yet."""
        number = next(self._numbers)
        chance = random.Random(f"{self._seed} {number}")
        text = " ".join([f"answer {number:05}:", *(chance.choice(WORDS) for _ in range(words - 2))])
        directives = f"[[delay={delay}]] {more.pop('directives', '')}".strip()
        made = Order(number, conversation, directives, more.pop("says", text), key=f"key-{self._seed}-{number}", **more)
        self.orders.append(made)
        return made

    def post(self, order: Order) -> Order:
        """Post until it is accepted. Raises: AssertionError for an answer that no client should get, or for none at all."""
        if order.conversation.session_id is None:
            with order.conversation.opening:  # a session is made by its first message; who comes meanwhile waits for its id
                if order.conversation.session_id is None:
                    return self._until_accepted(order)
        return self._until_accepted(order)

    def post_all(self, orders: list[Order]) -> "list[Future[Order]]":
        """Post many at the same time."""
        return [self._pool.submit(self.post, order) for order in orders]

    def submit(self, work: "Callable[[Order], Any]", order: Order) -> "Future[Any]":
        """Do something with an order in the background."""
        return self._pool.submit(work, order)

    def send(self, order: Order) -> "httpx2.Response":
        """Post once."""
        order.posts += 1
        if order.conversation.phone is not None:
            return self._send_by_phone(order, order.conversation.phone)
        body = {"message": order.message, **order.body}
        if order.conversation.session_id is not None:
            body["session_id"] = order.conversation.session_id
        return self._http.post("/chat", json=body, headers={"Idempotency-Key": order.key})

    def cancel(self, order: Order) -> "httpx2.Response":
        """Cancel an order's job."""
        return self._http.post(f"/jobs/{order.job_id}/cancel")

    def confirm(self, session_id: str, action_id: str) -> None:
        """Say yes to an action, until that was taken. Raises: AssertionError for a no, or when there is no answer for long."""
        give_up = time.monotonic() + GIVE_UP_SECONDS
        refusals: list[str] = []
        while time.monotonic() < give_up:
            try:
                answer = self._http.post(f"/sessions/{session_id}/actions/{action_id}/confirm")
            except httpx2.HTTPError as error:
                refusals.append(type(error).__name__)
            else:
                if answer.status_code == 200:
                    return
                assert answer.status_code == 503, f"{action_id} of {session_id} got {answer.status_code}: {answer.text}"
                refusals.append("503")
            time.sleep(0.2)
        raise AssertionError(f"{action_id} of {session_id} was never confirmed: {refusals}")

    def actions(self, session_id: str) -> list[dict[str, Any]]:
        """Read the actions of a session, as its user sees them."""
        answer = self._http.get(f"/sessions/{session_id}/actions")
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["actions"]
        return found

    def ask(self, body: dict[str, Any]) -> "httpx2.Response":
        """Post a message that is no order: it is meant to be refused."""
        return self._http.post("/chat", json=body)

    def _send_by_phone(self, order: Order, phone: str) -> "httpx2.Response":
        body = json.dumps({"message_id": order.key, "phoneNumber": phone, "text": order.message}).encode()
        signed = {HEADER: sign(DEV_WEBHOOK_SECRET.encode(), body), "Content-Type": "application/json"}
        return self._http.post("/webhook/ingest", content=body, headers=signed)

    def _until_accepted(self, order: Order) -> Order:
        order.posted_at = time.time()
        give_up = time.monotonic() + GIVE_UP_SECONDS
        # The body of a key must stay the same: an order that opened a session goes on opening it.
        while True:
            try:
                answer = self.send(order)
            except httpx2.HTTPError as error:
                order.refusals.append(type(error).__name__)
            else:
                if answer.status_code == 202:
                    told = answer.json()
                    order.accepted_at, order.job_id = time.time(), told["job_id"]
                    order.conversation.session_id = told["session_id"]
                    return order
                again = (429, 502, 503) if order.followed else (409, 429, 502, 503)  # 409: its twin is being answered
                assert answer.status_code in again, f"{order.marker} got {answer.status_code}: {answer.text}"
                assert answer.headers["content-type"] == "application/problem+json", answer.text
                order.refusals.append(str(answer.status_code))
            assert time.monotonic() < give_up, f"{order.marker} was never accepted: {order.refusals}"
            time.sleep(0.2)
