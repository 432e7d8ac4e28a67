"""A flow of the tests' own, as FLOWS names one: it counts its turns in the session's state."""

import threading
from collections.abc import Generator, Mapping
from typing import Any, ClassVar

from chatapp.flows.port import Asked, Change, Flow, Step, done, say

AS_LONG_AS_A_MODEL = 0.1
_NEVER = threading.Event()


class Counting(Flow):
    """Adds one to `Turns`, whatever else the state holds."""

    name: ClassVar[str] = "counting"

    def run(self, asked: Asked) -> Generator[Step, None, None]:
        yield from say("One more.")
        _NEVER.wait(AS_LONG_AS_A_MODEL)  # in which others change the state
        yield Change(_one_more)
        yield done(asked)

    def result(self, session: Any) -> Mapping[str, Any]:
        return {"counted": session.state}


def _one_more(state: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**state, "Turns": state.get("Turns", 0) + 1}
