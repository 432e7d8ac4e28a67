"""A webhook that was signed and read becomes a turn of the phone's session, once, however often it comes."""

import hashlib
import logging
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chatapp import failpoints
from chatapp.doors import Doors
from chatapp.effects import OUTBOUND
from chatapp.errors import InFlight, NotFound, SessionContended, StoreUnavailable
from chatapp.flows.submit import Accepted, Idempotency, Submission, Submit
from chatapp.incoming.messages import Incoming
from chatapp.model import ModelOptions
from chatapp.ports import Clock
from chatapp.stores.idempotency import Began, Completed, IdempotencyStore
from chatapp.stores.phones import PhoneStore

log = logging.getLogger(__name__)

WAIT_SECONDS = 8.0
"""How long a twin waits for the answer of the first: longer than a lease, so that it takes over from one that died."""

LOOK_SECONDS = (0.02, 0.05, 0.1, 0.2)
"""Pauses between its looks; the last one goes on."""

TRIES = 3
"""Sessions that may turn out to be over while one message is being kept."""

Allow = Callable[[str], None]
"""Counts the message against what its user may send. Raises: RateLimited."""


@dataclass(frozen=True, slots=True)
class Received:
    """The turn is stored. `answer` is what its sender is told, every time; `replayed`: it was told before."""

    answer: dict[str, str]
    replayed: bool


class Receive:
    """Keeps what webhooks bring.

    Two records guard against a second turn. One is found by the request's Idempotency-Key (the message's id without one) and
    gives every twin the first one's answer; it lives ten minutes. The other is part of the transaction that stores the turn and
    is found by the message's id alone. A header is not signed: who repeats a signed body under another key meets the second.
    """

    def __init__(
        self,
        *,
        records: IdempotencyStore,
        phones: PhoneStore,
        submit: Submit,
        options: ModelOptions,
        clock: Clock,
        remember_ms: int,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._records = records
        self._phones = phones
        self._submit = submit
        self._options = options
        self._clock = clock
        self._remember_ms = remember_ms
        self._wait_seconds = wait_seconds
        self._doors = Doors(lambda: InFlight(retry_after=1))

    def __call__(self, message: Incoming, *, key: str | None, allow: Allow, traceparent: str | None = None) -> Received:
        """Keep a message. `key` is the Idempotency-Key as the sender wrote it.

        Raises: IdempotencyMismatch, InFlight, RateLimited, TooManyOpenTurns, SessionContended, StoreUnavailable.
        """
        said, kind = message.fingerprint, message.kind
        own = message.id or said
        # Without an id of its own a message is told from its repetition by time alone.
        life_ms = self._remember_ms if message.id else self._records.life_ms
        # One name space for both kinds: a signature names no path, and a template must not come again as a person's words.
        record = Idempotency(_digest("message", own), said, life_ms)
        # Apart: a header is not signed, and must not keep out the message whose id it repeats.
        name = _digest("key", kind, key) if key else _digest("id", kind, own)
        give_up = self._clock.monotonic() + self._wait_seconds
        with self._doors.through(name, seconds=self._wait_seconds):
            began = self._begin(name, said, give_up)
            if isinstance(began, Completed):
                return Received(began.answer, replayed=True)
            with self._given_up_on_error(began):
                failpoints.hit("webhook.began")
                accepted = self._keep(message, record, allow, traceparent)
            return self._answer(began, accepted)

    def _answer(self, began: Began, accepted: Accepted) -> Received:
        """Say what became of the message, and have it said to its twins."""
        answer = {
            "job_id": str(accepted.job_id),
            "session_id": accepted.job_id.session_id,
            "status": accepted.status.value,
        }
        try:
            self._records.complete(began, answer)
        except StoreUnavailable as error:
            # The turn is stored, and its own record gives a twin the same answer.
            log.warning("the answer of %s is not recorded: %s", accepted.job_id, error)
        return Received(answer, replayed=accepted.replayed)

    def _begin(self, key: str, fingerprint: str, give_up: float) -> Began | Completed:
        """Become the one who keeps the message, or learn what that one answered."""
        looks = iter(LOOK_SECONDS)
        while True:
            found = self._records.begin(key, fingerprint)
            if isinstance(found, Began | Completed):
                return found
            if self._clock.monotonic() > give_up:
                left = math.ceil((found.lease_end - self._clock.now()) / 1000)
                raise InFlight(retry_after=max(1, left))
            pause = next(looks, LOOK_SECONDS[-1])
            self._clock.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  spreads the twins, guards nothing

    def _keep(self, message: Incoming, record: Idempotency, allow: Allow, traceparent: str | None) -> Accepted:
        """Store the turn in the phone's session; in a new one, if that is over."""
        phone = self._phones.find(message.phone) or self._phones.begin(message.phone)
        allow(phone.user_id)
        for _ in range(TRIES):
            submission = Submission(
                user_id=phone.user_id,
                input=message.parts(),
                options=self._options,
                session_id=phone.session_id,
                traceparent=traceparent,
                idempotency=record,
                callback=OUTBOUND if message.wants_reply else None,
            )
            try:
                return self._submit(submission)
            except NotFound:
                log.info("session %s of a phone is over: another begins", phone.session_id)
                phone = self._phones.begin(message.phone, after=phone)
        raise SessionContended(retry_after=1)

    @contextmanager
    def _given_up_on_error(self, began: Began) -> Iterator[None]:
        """Let the sender's next try begin at once, when this one came to nothing."""
        try:
            yield
        except Exception:
            try:
                self._records.abandon(began)
            except StoreUnavailable as error:
                log.warning("an idempotency record stays until its lease is over: %s", error)
            raise


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(("webhook", *words)).encode()).hexdigest()
