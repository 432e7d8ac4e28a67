"""Signatures by Standard Webhooks 1.0.0 (https://www.standardwebhooks.com): who is called can tell that it was us, and when.

`webhook-signature` holds one HMAC-SHA256 of `id.timestamp.body` for each of our secrets: while one secret takes the place of
another, receivers that know either are content.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence

from chatapp.ports import Clock

PREFIX = "whsec_"


class Signer:
    """Signs what is sent. `secrets` are `whsec_` and base64, as the settings have checked them."""

    def __init__(self, secrets: Sequence[str], clock: Clock) -> None:
        self._keys = [base64.b64decode(secret.removeprefix(PREFIX)) for secret in secrets]
        self._clock = clock

    @property
    def ready(self) -> bool:
        """Whether there is a secret to sign with."""
        return bool(self._keys)

    def headers(self, message_id: str, body: bytes) -> dict[str, str]:
        """Make the three headers of a message that is sent now. `message_id` stays the same when it is sent again."""
        if "." in message_id:
            raise ValueError("a dot in the id would let its parts be shifted")
        sent_at = self._clock.now() // 1000
        signed = f"{message_id}.{sent_at}.".encode() + body
        macs = (hmac.new(key, signed, hashlib.sha256).digest() for key in self._keys)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(sent_at),
            "webhook-signature": " ".join("v1," + base64.b64encode(mac).decode() for mac in macs),
        }
