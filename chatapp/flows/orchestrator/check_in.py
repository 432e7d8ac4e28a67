"""The sub-flow of a nurse's arrival."""

import re

from pydantic import Field

from chatapp.flows.orchestrator.payloads import ShiftCheckIn
from chatapp.flows.orchestrator.state import OrchestratorState, Shift, Time
from chatapp.flows.orchestrator.subflow import Draft, Said, SubFlow
from chatapp.flows.orchestrator.texts import Texts, at
from chatapp.model import timestamp

_PLACE = re.compile(r"\b(?:setor|ala|ward|unit|unidade|leito|local)\b\s*[:=]?\s*(?P<place>[^\n,;.!?]{1,60})", re.IGNORECASE)


class Arrival(Draft):
    """When the nurse arrived (ms since 1970), and where."""

    arrived_at: Time
    place: str | None = Field(None, max_length=60)


class CheckIn(SubFlow[Arrival]):
    """Records when the nurse has arrived, and where if that is told."""

    name = "shift_check_in"
    draft = Arrival

    def refuses(self, state: OrchestratorState, texts: Texts) -> str | None:
        """There is one shift at a time."""
        return texts.on_shift.format(at=at(timestamp(state.shift.started_at))) if state.shift else None

    def begins(self, said: Said) -> Arrival:
        """The arrival is now."""
        return Arrival(arrived_at=said.now, place=_place(said.text))

    def hears(self, draft: Arrival, said: Said) -> Arrival | None:
        """A ward may follow; saying it again changes nothing."""
        place = None if said.reading else _place(said.text)
        if place is not None:
            return draft.model_copy(update={"place": place})
        return draft if said.intents == (self.name,) else None

    def payload(self, draft: Arrival, state: OrchestratorState) -> ShiftCheckIn:
        """Write time and place."""
        del state
        return ShiftCheckIn(arrived_at=timestamp(draft.arrived_at), place=draft.place)

    def describes(self, draft: Arrival, state: OrchestratorState, texts: Texts) -> str:
        """Say time and place."""
        del state
        place = texts.check_in_place.format(place=draft.place) if draft.place else ""
        return texts.check_in.format(at=at(timestamp(draft.arrived_at)), place=place)

    def hint(self, draft: Arrival, texts: Texts) -> str | None:
        """The ward may be told."""
        return None if draft.place else texts.check_in_hint

    def confirmed(self, draft: Arrival, state: OrchestratorState, action_id: str, description: str) -> OrchestratorState:
        """The shift begins."""
        del description
        shift = Shift(started_at=draft.arrived_at, place=draft.place, action_id=action_id)
        return state.model_copy(update={"shift": shift})


def _place(text: str) -> str | None:
    match = _PLACE.search(text)
    return match["place"].strip() or None if match else None
