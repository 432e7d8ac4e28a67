"""What the orchestrator keeps in the session's state, with the capitalised names under which it is stored."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_pascal

from chatapp.effects import NEVER
from chatapp.flows.orchestrator.vitals import Language
from chatapp.model import State

MAX_RECORDS = 100
"""How many of a shift's records are kept by name; the count goes on."""


Time: TypeAlias = Annotated[int, Field(ge=0, le=NEVER)]
"""Milliseconds since 1970, up to the end of the year 9999: states are changed from outside, too."""


class Kept(BaseModel):
    """A part of the state. Unknown names are kept: a later version or an operator wrote them. Times: ms since 1970."""

    model_config = ConfigDict(
        alias_generator=to_pascal, populate_by_name=True, extra="allow", frozen=True, hide_input_in_errors=True
    )


class Frame(Kept):
    """A sub-flow that is open: its draft, the action that waits for a yes, when the nurse was last asked, and in which turn.

    `shown_at`: when the question was last shown; a reminder repeats it, and asks nothing new.
    """

    flow: str
    draft: Mapping[str, Any] = Field(default_factory=dict)
    action_id: str | None = None
    asked_at: Time = 0
    shown_at: Time = 0
    asked_in: int = Field(0, ge=0)


class Record(Kept):
    """A record of a shift: the action that writes it, and what it says."""

    action_id: str
    text: str


class Shift(Kept):
    """A shift that has begun. `records` are the last ones, `count` is the number of all."""

    started_at: Time
    place: str | None = None
    action_id: str
    count: int = Field(0, ge=0, lt=10**9)
    records: tuple[Record, ...] = ()


class LastShift(BaseModel):
    """The payload of the last `finish_shift`; what is read of it, and the rest."""

    model_config = ConfigDict(extra="allow", frozen=True)

    records: int = Field(ge=0, lt=10**9)


class Template(Kept):
    """The last template that was sent to the nurse. `opens`: the sub-flow that a yes to it begins."""

    name: str
    sent_at: Time
    opens: str | None = None


class OrchestratorState(Kept):
    """The whole of it. `active_flow` is the sub-flow that is talked about; the last of `suspended` comes back first."""

    language: Language | None = None
    active_flow: Frame | None = None
    suspended: tuple[Frame, ...] = ()
    shift: Shift | None = None
    last_shift: LastShift | None = None
    last_template: Template | None = None

    def stored(self) -> dict[str, Any]:
        """Give the JSON object that is kept."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def merged(base: State, mine: State, now: State) -> dict[str, Any]:
    """Carry the changes that lead from `base` to `mine` over to `now`, which another writer may have changed meanwhile.

    What I did not change stays as it is now, at every depth; what both changed becomes mine; what both added to a list stays.
    """
    new = dict(now)
    for name in base.keys() | mine.keys():
        if base.get(name, _GONE) == mine.get(name, _GONE):
            continue
        if name not in mine:
            new.pop(name, None)
        else:
            new[name] = _merged_value(base.get(name), mine[name], now.get(name))
    return new


_GONE = object()


def _merged_value(base: Any, mine: Any, now: Any) -> Any:
    match base, mine, now:
        case Mapping(), Mapping(), Mapping():
            return merged(base, mine, now)
        case list(), list(), list() if mine[: len(base)] == base:
            return [*now, *mine[len(base) :]]
    return mine
