"""Leases on named things, in DynamoDB: one holder in the fleet, a token that only rises, an end that time decides.

A lease alone cannot keep two from writing: who was paused in mid-write believes that it still holds. So what a holder writes is
*fenced*: either the transaction asks whether the lease is still its own (`Held.still`), or what it writes to keeps the highest
token that it has seen and refuses lower ones (`FENCE`).

    with locks.hold("report", wait=5) as held:
        ...                                     # renewed in the background; held.lost says when to stop
        transact(client, [{"Update": ...}, held.still()])
"""

import logging
import random
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chatapp.errors import LockTaken, StoreUnavailable
from chatapp.ports import Clock
from chatapp.stores.dynamo import ALL_OLD, call, from_item, patiently, refused_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

log = logging.getLogger(__name__)

DAY_SECONDS = 86_400
SKEW_MS = 2_000
"""Clocks of two machines differ by less (AnchoredClock): a lease is taken over only so long after its end."""

TRY_SECONDS = (0.05, 0.2)
"""Between two tries to take what somebody else holds."""

TAKE = "SET Owner = :owner, LeaseEnd = :end, ExpiresAt = :gone, Token = if_not_exists(Token, :now) + :one"
"""The first token is the time, in ms: if DynamoDB deletes the item, a day after its last use, later tokens are still higher."""

FENCE = "attribute_not_exists(Fence) OR Fence <= :fence"
"""The condition of a write to what a lock protects, with `SET Fence = :fence` and the holder's token as `:fence`."""


class Held:
    """A lease that is held. `token` is higher than that of every holder before."""

    def __init__(self, store: "LockStore", resource: str, owner: str, token: int, until: float) -> None:
        self._store = store
        self._until = until
        self._refused = threading.Event()
        self.resource = resource
        self.owner = owner
        self.token = token

    @property
    def lost(self) -> bool:
        """Whether the lease is over: it ran out, by this machine's steady clock, or somebody else has it. It never comes back."""
        if self._store.monotonic() >= self._until:
            self._refused.set()
        return self._refused.is_set()

    def still(self) -> dict[str, Any]:
        """Make the part of a transaction that asks whether the lease is still this holder's: nothing is written if it is not."""
        values = {"owner": self.owner, "token": self.token}
        return {"ConditionCheck": self._store.request(self.resource, values, ConditionExpression=MINE)}

    def lapse(self) -> None:
        """Take note that the lease is over."""
        self._refused.set()

    def extend(self, until: float) -> None:
        """Take note of a renewal. `until` is a time of the steady clock, in seconds."""
        self._until = until


MINE = "Owner = :owner AND Token = :token"


class LockStore:
    """Takes, renews and gives back leases. Each method raises StoreUnavailable."""

    def __init__(
        self, client: "DynamoDBClient", *, table: str, clock: Clock, lease_ms: int = 10_000, skew_ms: int = SKEW_MS
    ) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._lease_ms = lease_ms
        self._skew_ms = skew_ms
        self.monotonic = clock.monotonic

    def acquire(self, resource: str, owner: str) -> int | None:
        """Take or renew a lease in the name of `owner`. Returns: its fencing token, None while somebody else holds it."""
        now = self._clock.now()
        condition = "attribute_not_exists(Resource) OR attribute_not_exists(Owner) OR Owner = :owner OR LeaseEnd < :now"
        taken = self._write(resource, TAKE, condition, {**self._lease(now), "owner": owner, "now": now, "one": 1})
        return None if taken is None else int(taken["Token"])

    @contextmanager
    def hold(self, resource: str, *, wait: float = 0) -> Iterator[Held]:
        """Hold a lease while the block runs; it is renewed in the background. `wait`: seconds to try to get it.

        Raises: LockTaken.
        """
        held = self._take(resource, self._clock.monotonic() + wait)
        stop = threading.Event()
        renewer = threading.Thread(target=self._renew, args=(held, stop), name=f"lock-{resource}", daemon=True)
        renewer.start()
        try:
            yield held
        finally:
            stop.set()
            renewer.join()
            self._release(held)

    def request(self, resource: str, values: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Write the arguments of a call on a lock's item."""
        return call(self._table, key={"Resource": resource}, values=values, **more)

    def _take(self, resource: str, give_up: float) -> Held:
        owner = secrets.token_hex(8)
        while True:
            now, begun = self._clock.now(), self._clock.monotonic()
            condition = "attribute_not_exists(Resource) OR attribute_not_exists(Owner) OR Owner = :owner OR LeaseEnd < :lapsed"
            values = {**self._lease(now), "owner": owner, "now": now, "one": 1, "lapsed": now - self._skew_ms}
            taken = self._write(resource, TAKE, condition, values)
            if taken is not None:
                return Held(self, resource, owner, int(taken["Token"]), begun + self._lease_ms / 1000)
            if self._clock.monotonic() >= give_up:
                raise LockTaken(f"Somebody else holds `{resource}`", retry_after=self._lease_ms / 1000)
            self._clock.sleep(random.uniform(*TRY_SECONDS))  # noqa: S311  spreads the contenders, guards nothing

    def _renew(self, held: Held, stop: threading.Event) -> None:
        while not stop.wait(self._lease_ms / 3000) and not held.lost:
            now, begun = self._clock.now(), self._clock.monotonic()
            values = {**self._lease(now), "owner": held.owner, "token": held.token}
            try:
                renewed = self._write(held.resource, "SET LeaseEnd = :end, ExpiresAt = :gone", MINE, values)
            except StoreUnavailable as error:
                log.warning("the lease on %s was not renewed, it is tried again: %s", held.resource, error)
                continue
            if renewed is None:
                log.warning("the lease on %s is lost", held.resource)
                held.lapse()
            else:
                held.extend(begun + self._lease_ms / 1000)

    def _release(self, held: Held) -> None:
        held.lapse()
        try:
            # The item stays: its token must not begin anew.
            self._write(held.resource, "REMOVE Owner, LeaseEnd", MINE, {"owner": held.owner, "token": held.token})
        except StoreUnavailable as error:
            log.warning("the lease on %s was not given back, it runs out: %s", held.resource, error)

    def _lease(self, now: int) -> dict[str, int]:
        return {"end": now + self._lease_ms, "gone": now // 1000 + DAY_SECONDS}

    def _write(self, resource: str, update: str, condition: str, values: dict[str, Any]) -> dict[str, Any] | None:
        expressions = {"UpdateExpression": update, "ConditionExpression": condition}
        request = self.request(resource, values, **expressions, ReturnValues="ALL_NEW", **ALL_OLD)
        try:
            return patiently(lambda: from_item(self._client.update_item(**request)["Attributes"]), self._clock)
        except ClientError as error:
            refused_item(error)
            return None
