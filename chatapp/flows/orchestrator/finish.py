"""The sub-flow that ends a shift: is there anything to add, what was the shift, yes."""

from pydantic import Field

from chatapp.flows.orchestrator.payloads import FinishShift
from chatapp.flows.orchestrator.state import LastShift, OrchestratorState, Shift, Time
from chatapp.flows.orchestrator.subflow import Draft, Said, SubFlow
from chatapp.flows.orchestrator.texts import Texts, at
from chatapp.model import timestamp


class Closing(Draft):
    """When the shift ended (ms since 1970), whether the nurse had something to add, and what."""

    finished_at: Time
    answered: bool = False
    writes: bool = False
    remarks: str = Field("", max_length=2_000)


class Finish(SubFlow[Closing]):
    """Ends a shift."""

    name = "finish_shift"
    draft = Closing
    waits = True

    def refuses(self, state: OrchestratorState, texts: Texts) -> str | None:
        """Only a shift that has begun can end."""
        return None if state.shift else texts.no_shift

    def begins(self, said: Said) -> Closing:
        """The end is now."""
        return Closing(finished_at=said.now)

    def hears(self, draft: Closing, said: Said) -> Closing | None:
        """Before the proposal, words are remarks: “sim” announces some, “não” says that there are none."""
        if draft.answered or said.reading:
            return draft if said.intents == (self.name,) else None
        if said.wants("deny"):
            return draft.model_copy(update={"answered": True})
        if said.wants("confirm"):
            return draft.model_copy(update={"writes": True})
        if said.wants("clinical_note"):
            return draft.model_copy(update={"answered": True, "remarks": said.text.strip()})
        return draft if said.intents == (self.name,) else None

    def asks(self, draft: Closing, state: OrchestratorState, texts: Texts) -> str | None:
        """Ask once whether there is anything to add."""
        if draft.answered:
            return None
        return texts.finish_write if draft.writes else texts.finish_ask.format(summary=_summary(state.shift, texts))

    def takes_text(self, draft: Closing) -> bool:
        """Remarks may be any words."""
        return not draft.answered

    def payload(self, draft: Closing, state: OrchestratorState) -> FinishShift:
        """Write the shift's times and how many records it had."""
        shift = _shift(state)
        return FinishShift(
            started_at=timestamp(shift.started_at),
            finished_at=timestamp(draft.finished_at),
            records=shift.count,
            remarks=draft.remarks or None,
        )

    def describes(self, draft: Closing, state: OrchestratorState, texts: Texts) -> str:
        """Say the same."""
        shift = _shift(state)
        return texts.finish.format(
            started=at(timestamp(shift.started_at)),
            finished=at(timestamp(draft.finished_at)),
            records=texts.counted(shift.count),
            remarks=texts.finish_remarks.format(remarks=draft.remarks) if draft.remarks else "",
        )

    def confirmed(self, draft: Closing, state: OrchestratorState, action_id: str, description: str) -> OrchestratorState:
        """The shift is over; what it was is kept for whoever asks."""
        del action_id, description
        if state.shift is None:
            return state
        last = LastShift.model_validate(self.payload(draft, state).json_object())
        return state.model_copy(update={"shift": None, "last_shift": last})


def _shift(state: OrchestratorState) -> Shift:
    if state.shift is None:
        raise LookupError("no shift has begun: `refuses` was not asked")
    return state.shift


def _summary(shift: Shift | None, texts: Texts) -> str:
    """Sum the shift up: how many records, and the last of them."""
    lines = [texts.summary_open.format(records=texts.counted(shift.count if shift else 0))]
    lines += [f"• {record.text}" for record in (shift.records[-10:] if shift else ())]
    return "\n".join(lines)
