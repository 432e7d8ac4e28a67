"""Which web pages may call us: one rule for the API and the WebSocket.

Programs send no Origin; browsers always do, and their users' cookies and networks come with them. A page names itself exactly
or is a stranger: nothing is matched by its beginning, its end or its letters' case.
"""

import re

from config.settings import Settings

_THIS_MACHINE = re.compile(r"https?://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?")


def may_call(origin: str | None, settings: Settings) -> bool:
    """Say whether a request with this Origin header is welcome. None: it has no such header.

    CORS_ORIGINS lists who is. In development, as long as it is not set, any port of this machine is.
    """
    if origin is None or origin in settings.cors_origins:
        return True
    any_local_port = settings.env == "development" and not settings.cors_origins
    return any_local_port and _THIS_MACHINE.fullmatch(origin) is not None
