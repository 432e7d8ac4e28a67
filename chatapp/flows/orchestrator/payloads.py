"""What the actions' URLs are sent. Times are RFC 3339 UTC."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from chatapp.flows.orchestrator.vitals import VitalSigns


class Payload(BaseModel):
    """The payload of an action."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def json_object(self) -> dict[str, Any]:
        """Give it as JSON, without what is not known."""
        return self.model_dump(mode="json", exclude_none=True)


class ShiftCheckIn(Payload):
    """A nurse has arrived. `place`: the ward, if it was said."""

    arrived_at: str
    place: str | None = None


class ClinicalNote(Payload):
    """What was measured and observed. `shift_started_at` is missing outside a shift."""

    recorded_at: str
    vital_signs: VitalSigns | None = None
    note: str | None = None
    shift_started_at: str | None = None


class FinishShift(Payload):
    """A shift is over. `records`: how many notes were confirmed in it."""

    started_at: str
    finished_at: str
    records: int
    remarks: str | None = None
