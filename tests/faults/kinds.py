"""What can happen to a request: the faults that `FaultProxy.fault` takes."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What happens to one request. Made by the functions below."""

    kind: str
    seconds: float = 0.0
    status: int = 0
    body: bytes = b""
    headers: tuple[str, ...] = ("Content-Type: application/x-amz-json-1.0",)

    def answer(self) -> bytes:
        """Write the HTTP answer of an `answer`."""
        head = f"HTTP/1.1 {self.status} Injected", *self.headers, f"Content-Length: {len(self.body)}"
        return "\r\n".join([*head, "", ""]).encode() + self.body


def status(code: int, error: str | None = None, **fields: Any) -> Fault:
    """Answer with an HTTP status and an AWS JSON error, without asking the server. `fields` go into the error's body."""
    body = {"__type": error or {403: "AccessDenied", 503: "ServiceUnavailable"}.get(code, "InternalFailure")}
    content = json.dumps({**body, "message": "injected", **fields}).encode()
    # By its request id the product tells AWS from whoever may stand between.
    return Fault(
        "answer", status=code, body=content, headers=("Content-Type: application/x-amz-json-1.0", "x-amzn-RequestId: injected")
    )


def throttled() -> Fault:
    """DynamoDB's and SQS's way to say: too fast."""
    return status(400, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException")


def conflict() -> Fault:
    """Cancel a DynamoDB transaction because it met another."""
    reasons = [{"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}]
    return status(400, "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", CancellationReasons=reasons * 2)


def malformed() -> Fault:
    """Answer 200 with something that is not JSON."""
    return Fault("answer", status=200, body=b"<html>it works</html>")


def dropped() -> Fault:
    """Reset the connection; the server never sees the request."""
    return Fault("drop")


def swallowed() -> Fault:
    """Say nothing at all; the server never sees the request."""
    return Fault("swallow")


def delayed(seconds: float) -> Fault:
    """Hand the request on later."""
    return Fault("delay", seconds=seconds)


def lost() -> Fault:
    """Let the server do it, and reset the connection in the place of its answer."""
    return Fault("lost")


def late(seconds: float) -> Fault:
    """Let the server do it, and hand its answer on later."""
    return Fault("late", seconds=seconds)


def twice() -> Fault:
    """Let the server do it twice; the client hears of one."""
    return Fault("twice")
