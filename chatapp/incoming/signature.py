"""Who may call the webhooks: `X-Hub-Signature-256`, an HMAC-SHA256 of the raw body under a secret that both sides know."""

import hashlib
import hmac
from collections.abc import Sequence

from chatapp.errors import BadSignature

HEADER = "X-Hub-Signature-256"
PREFIX = "sha256="


class Signatures:
    """Checks signatures. Any of the secrets signs, so that one can be replaced while both are in use."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets]

    def check(self, body: bytes, given: str | None) -> None:
        """Let a body pass whose header carries `sha256=` and 64 lower-case hex digits under one of the secrets.

        Nothing may be read of the body before. Raises: BadSignature.
        """
        if not given:
            raise BadSignature(f"Send {HEADER}: {PREFIX}<the HMAC-SHA256 of the body, in hex>")
        # Every secret is tried in full, whatever matches: the time it takes tells nothing.
        claimed = given.encode()
        matches = [hmac.compare_digest(sign(secret, body).encode(), claimed) for secret in self._secrets]
        if not any(matches):
            raise BadSignature(f"{HEADER} is not the signature of this body under a secret of ours")


def sign(secret: bytes, body: bytes) -> str:
    """Make the header's value."""
    return PREFIX + hmac.new(secret, body, hashlib.sha256).hexdigest()
