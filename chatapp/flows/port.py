"""What a flow is: it decides how a turn is answered, and does no I/O except through what it is handed."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from chatapp.model import Message, Piece, Session, Turn
from chatapp.ports import LLM


@dataclass(frozen=True, slots=True)
class Asked:
    """What a flow is handed: the turn to answer, the session it belongs to, the history before it, and the model."""

    turn: Turn
    session: Session
    history: tuple[Message, ...]
    llm: LLM


class Flow(Protocol):
    """A way to answer. `name` is what clients write into `flow`."""

    name: str

    def run(self, asked: Asked) -> Generator[Piece, None, None]:
        """Yield the answer's pieces, a `Finish` last."""
        ...
