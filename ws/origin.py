"""Which web pages may open a socket. Programs send no Origin; browsers always do, and do not ask before they connect."""

import re

from config.settings import Settings

_THIS_MACHINE = re.compile(r"https?://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?")


def may_connect(origin: str | None, settings: Settings) -> bool:
    """Say whether a handshake with this Origin header is welcome: the rule of CORS_ORIGINS, as for the API."""
    if origin is None or origin in settings.cors_origins:
        return True
    any_local_port = settings.env == "development" and not settings.cors_origins
    return any_local_port and _THIS_MACHINE.fullmatch(origin) is not None
