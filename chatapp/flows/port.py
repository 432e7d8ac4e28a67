"""What a flow is: it decides how a turn is answered, and does no I/O except through what it is handed.

docs/writing-a-flow.md makes one. A flow yields *steps*: the pieces of the answer, and what is to be stored with it. All of that
is stored with the end of the turn, in one transaction, or not at all; so an attempt that dies half way has changed nothing, and
the next one begins from the same state.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from pydantic import BaseModel

from chatapp.model import Finish, FinishReason, Message, Piece, Session, State, Summary, TextDelta, Turn, Usage
from chatapp.ports import LLM, External, SessionActions


@dataclass(frozen=True, slots=True)
class Asked:
    """What a flow is handed: the turn to answer, the session with its state, the history before the turn, and its tools.

    A turn without input is the flow's to begin (see `Flow.opens`). `actions` are the session's proposed actions; `external` asks
    other APIs through a cache; `now` is the time in milliseconds since 1970; `language` is the setting DEFAULT_LANGUAGE.
    `ended_at` reads when a turn of the session ended, by its number; None if it has not.
    """

    turn: Turn
    session: Session
    history: tuple[Message, ...]
    llm: LLM
    actions: SessionActions
    external: External
    now: int
    language: str = "en"
    ended_at: Callable[[int], int | None] = lambda _number: None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the session's state. `apply` makes the new state of the old one and must be pure.

    It is applied to the state that is there when the turn ends, and once more if another writer was faster: it should change
    what it means to change and keep the rest. `put(...)` makes one that sets fields.
    """

    apply: Callable[[State], State]


@dataclass(frozen=True, slots=True)
class Propose:
    """An action that the user may confirm: `name` is a key of ACTION_URLS, `payload` what that is sent."""

    name: str
    payload: Mapping[str, Any]
    description: str


@dataclass(frozen=True, slots=True)
class Offer:
    """Quick replies: what the user may choose instead of typing."""

    replies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summarize:
    """What lists of sessions are to show from now on."""

    summary: Summary


Step: TypeAlias = Piece | Change | Propose | Offer | Summarize
"""What a flow yields. `Finish` comes last; the rest in any order."""


class Flow:
    """A way to answer."""

    name: ClassVar[str]
    """What clients write into `flow`."""

    opens: ClassVar[bool] = False
    """Whether a session begins with a turn of the flow's own, without input."""

    state_model: ClassVar[type[BaseModel] | None] = None
    """What the state may hold, for changes from outside (`PATCH /sessions/{id}/state`); None allows any JSON object."""

    def run(self, asked: Asked) -> Generator[Step, None, None]:
        """Yield the answer's steps, a `Finish` last."""
        raise NotImplementedError

    def told(self, state: State) -> tuple[str, dict[str, Any]] | None:
        """Say which event of the session's own log tells a new state: its type and fields. None for none."""
        del state
        return None

    def result(self, session: Session) -> Mapping[str, Any]:
        """Say what the session came to: what `POST /sessions/{id}/end` answers."""
        return session.state


def put(**fields: Any) -> Change:
    """Make a change that sets fields of the state."""
    return Change(lambda state: {**state, **fields})


def say(text: str) -> Iterator[TextDelta]:
    """Say a text as a model would, word by word."""
    words = text.split(" ")
    for word in words[:-1]:
        yield TextDelta(word + " ")
    yield TextDelta(words[-1])


def done(asked: Asked, *finishes: Finish) -> Finish:
    """End an answer of the flow's own; its usage is that of the model's answers (`finishes`) which it took."""
    used = [f.usage for f in finishes if f.usage]
    usage = Usage(sum(u.input_tokens for u in used), sum(u.output_tokens for u in used), estimated=any(u.estimated for u in used))
    return Finish(FinishReason.STOP, finishes[-1].model if finishes else asked.turn.options.model, usage)


@dataclass(slots=True)
class Outcome:
    """What a flow's answer is to change beside being said."""

    changes: list[Change] = field(default_factory=list)
    proposals: list[Propose] = field(default_factory=list)
    quick_replies: tuple[str, ...] = ()
    summary: Summary | None = None

    def take(self, step: Change | Propose | Offer | Summarize) -> None:
        """Take note of a step."""
        match step:
            case Change():
                self.changes.append(step)
            case Propose():
                self.proposals.append(step)
            case Offer():
                self.quick_replies = step.replies
            case Summarize():
                self.summary = step.summary

    def state_after(self, state: State) -> State | None:
        """Apply the changes to a state. Returns: the new one, None if it is to stay as it is."""
        new = state
        for change in self.changes:
            new = change.apply(new)
        return None if new == state else new
