"""Why a socket is closed."""

from enum import IntEnum


class Close(IntEnum):
    """Why the server closes a socket. 4000-4499: come again; 4500-4999: do not (DESIGN section 6, docs/websocket.md)."""

    NORMAL = 1000
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    TRY_LATER = 1013
    TOKEN_EXPIRED = 4001
    SLOW_CONSUMER = 4008
    RATE_LIMITED = 4013
    BAD_TOKEN = 4500
    BAD_FRAMES = 4501
    AUTH_TIMEOUT = 4502
    FORBIDDEN_ORIGIN = 4507
