"""What is said over the socket, and in answer to what: the tables of which the AsyncAPI document and its tests are made."""

from typing import get_args

from pydantic import BaseModel

from chatapp import frames
from chatapp import server_frames as said
from chatapp.server_events import Event

ANSWERS: dict[type[BaseModel], tuple[type[BaseModel], ...]] = {
    frames.Auth: (said.SignedIn,),
    frames.Refresh: (said.SignedIn,),
    frames.Subscribe: (said.Subscribed,),
    frames.Unsubscribe: (said.Unsubscribed,),
    frames.Chat: (said.Accepted,),
    frames.Cancel: (said.Done,),
    frames.Confirm: (said.Done,),
    frames.Ping: (said.Pong,),
}
"""What each frame of a client is answered; instead of it may come `refused`."""

REFUSED: tuple[type[BaseModel], ...] = (said.Refused,)
EVENTS: tuple[type[BaseModel], ...] = get_args(get_args(Event)[0])
UNASKED: dict[str, tuple[tuple[type[BaseModel], ...], str]] = {
    "greet": ((said.Connected,), "Say how things stand: the first frame of every socket"),
    "follow": ((said.Subscribed,), "Follow a session because of `chat`, or of a `POST /chat` that named this socket"),
    "tell": (EVENTS, "Tell what happens in the sessions that are followed: what was missed first, then live, each event once"),
    "notify": ((said.Notification,), "Push to a user, or to everybody"),
}
"""What the server sends without being asked, by operation."""


def every_message() -> tuple[type[BaseModel], ...]:
    """List the models of all frames, clients' first."""
    answers = (model for answers in ANSWERS.values() for model in answers)
    unasked = (model for models, _ in UNASKED.values() for model in models)
    return tuple(dict.fromkeys((*ANSWERS, *answers, *REFUSED, *unasked)))


def type_of(model: type[BaseModel]) -> str:
    """Say the `type` of a frame's model."""
    (kind,) = get_args(model.model_fields["type"].annotation)
    return str(kind)


def message_id(model: type[BaseModel]) -> str:
    """Name a frame's message: by its type, and the kinds of `ack` apart."""
    if (kind := type_of(model)) != "ack":
        return kind
    return "ack_" + "".join(f"_{c.lower()}" if c.isupper() else c for c in model.__name__).lstrip("_")
