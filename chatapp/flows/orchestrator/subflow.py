"""What a sub-flow is: a small state machine over a draft, which ends in an action that needs a yes.

It is pure. The conversation (conversation.py) does the rest for all of them: the yes and the no, what is suspended and resumed.
"""

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from chatapp.flows.orchestrator.intents import Name
from chatapp.flows.orchestrator.payloads import Payload
from chatapp.flows.orchestrator.reading import Reading
from chatapp.flows.orchestrator.state import OrchestratorState
from chatapp.flows.orchestrator.texts import Texts


class TooLong(Exception):
    """The draft would hold more text than it may: `count` characters, and at most `most`."""

    def __init__(self, count: int, most: int) -> None:
        super().__init__(f"{count} characters, at most {most}")
        self.count = count
        self.most = most


@dataclass(frozen=True, slots=True)
class Said:
    """A message as it was understood. `now`: the time, ms since 1970; `sent_at`: when the message was accepted."""

    text: str
    intents: tuple[Name, ...]
    reading: Reading
    texts: Texts
    now: int
    sent_at: int

    def wants(self, intent: Name) -> bool:
        """Say whether that is (one of) what the message wants."""
        return intent in self.intents


class Draft(BaseModel):
    """What a sub-flow has gathered so far."""

    model_config = ConfigDict(frozen=True, extra="ignore")


D = TypeVar("D", bound=Draft)


class SubFlow(Generic[D]):
    """One kind of thing to record. `name` is its intent, its action and its key in the state."""

    name: ClassVar[Name]
    draft: type[D]
    waits: ClassVar[bool] = False
    """Whether it lets what is open be answered first, instead of interrupting it."""

    def refuses(self, state: OrchestratorState, texts: Texts) -> str | None:
        """Say why it cannot begin now; None if it can."""
        del state, texts
        return None

    def begins(self, said: Said) -> D:
        """Make the draft of a first message. Raises: TooLong."""
        raise NotImplementedError

    def hears(self, draft: D, said: Said) -> D | None:
        """Take a later message into the draft. None: the message is not for it. Raises: TooLong."""
        raise NotImplementedError

    def asks(self, draft: D, state: OrchestratorState, texts: Texts) -> str | None:
        """Ask for what is still missing; None when there is enough to propose the action."""
        del draft, state, texts
        return None

    def awaits(self, draft: D) -> str | None:
        """Name the vital sign whose value was asked for."""
        del draft
        return None

    def takes_text(self, draft: D) -> bool:
        """Say whether it asked for free text, so that any words are an answer."""
        del draft
        return False

    def payload(self, draft: D, state: OrchestratorState) -> Payload:
        """Make what is to be written."""
        raise NotImplementedError

    def describes(self, draft: D, state: OrchestratorState, texts: Texts) -> str:
        """Say exactly what will be written."""
        raise NotImplementedError

    def hint(self, draft: D, texts: Texts) -> str | None:
        """Say what else could be told, together with the proposal."""
        del draft, texts
        return None

    def confirmed(self, draft: D, state: OrchestratorState, action_id: str, description: str) -> OrchestratorState:
        """Change the state: the action has got its yes."""
        raise NotImplementedError
