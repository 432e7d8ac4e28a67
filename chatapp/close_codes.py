"""What a client is to make of the code that its socket was closed with: told to clients, in the AsyncAPI document and the docs.

As a rule 4000-4499 and the 1xxx of the server mean come again and resume; 4500-4999 mean do not.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class CloseCode:
    """One code. `reconnect`: `yes` with back-off, `new_token` with another token, `no` before something has changed."""

    code: int
    meaning: str
    reconnect: Literal["yes", "new_token", "no"]


CLOSE_CODES = (
    CloseCode(1000, "The client closed.", "no"),
    CloseCode(1001, "The server goes away.", "yes"),
    CloseCode(1002, "The client broke the WebSocket protocol.", "no"),
    CloseCode(1007, "A text frame was not UTF-8.", "no"),
    CloseCode(1008, "No answer to a ping.", "yes"),
    CloseCode(1009, "A frame was larger than `max_payload`.", "no"),
    CloseCode(1011, "Our fault.", "yes"),
    CloseCode(1012, "The server restarts; the reason ends with the seconds to wait: `restarting, reconnect_in=1.7`.", "yes"),
    CloseCode(1013, "Redis is away, or too many sockets have yet to say who they are: try later.", "yes"),
    CloseCode(4001, "The token has expired.", "new_token"),
    CloseCode(4008, "The client does not read as fast as its sessions speak, or asks faster than it reads.", "yes"),
    CloseCode(4013, "Too many frames, or too many sockets of this user.", "yes"),
    CloseCode(4500, "The token or ticket is not valid.", "no"),
    CloseCode(4501, "Too many frames in a row that cannot be read.", "no"),
    CloseCode(4502, "Not authenticated in time.", "no"),
    CloseCode(4507, "This origin may not connect.", "no"),
)
