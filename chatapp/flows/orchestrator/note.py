"""The sub-flow of a clinical note: vital signs, free text, or both; added to and corrected until it is confirmed."""

import re

from pydantic import Field, field_validator

from chatapp.flows.orchestrator.payloads import ClinicalNote
from chatapp.flows.orchestrator.reading import Problem
from chatapp.flows.orchestrator.state import MAX_RECORDS, OrchestratorState, Record, Time
from chatapp.flows.orchestrator.subflow import Draft, Said, SubFlow, TooLong
from chatapp.flows.orchestrator.texts import Texts, at
from chatapp.flows.orchestrator.vitals import DIASTOLIC, PRESSURE, SIGNS, SYSTOLIC, VitalSigns, label, number, shown
from chatapp.model import timestamp

MAX_NOTE_CHARS = 2_000
MAX_RECORD_CHARS = 200
"""How much of a record's description is kept with the shift."""

_OPENING = re.compile(
    r"^\s*(?P<word>nota|anotar?|anote|registr[aoe]r?|evolu[cç][aã]o|obs(?:erva[cç][aã]o)?|note|record|write\s+down|corrige|"
    r"corre[cç][aã]o|correction)\b(?:\s+(?:nota|note|(?:de\s+)?sinais(?:\s+vitais)?|vital\s+signs|vitals))?\s*[:\-–,.]*\s*",
    re.IGNORECASE,
)


class Note(Draft):
    """What is to be written (`recorded_at`: ms since 1970), and what of it needs another answer first."""

    recorded_at: Time
    signs: VitalSigns = VitalSigns()
    text: str = Field("", max_length=MAX_NOTE_CHARS)
    problems: tuple[Problem, ...] = ()

    @field_validator("problems")
    @classmethod
    def _of_signs(cls, value: tuple[Problem, ...]) -> tuple[Problem, ...]:
        if any(problem.sign not in {PRESSURE, *SIGNS} for problem in value):
            raise ValueError("must be of vital signs")
        return value

    @property
    def empty(self) -> bool:
        """Whether nothing was told yet."""
        return not (self.signs.measured or self.text or self.problems)


class TakeNote(SubFlow[Note]):
    """Records vital signs and observations."""

    name = "clinical_note"
    draft = Note

    def begins(self, said: Said) -> Note:
        """Take what the first message tells. A yes to a template tells nothing yet."""
        empty = Note(recorded_at=said.now)
        return _with(empty, said) if said.wants(self.name) else empty

    def hears(self, draft: Note, said: Said) -> Note | None:
        """Add what a message tells. A new value of a sign replaces the old one; “não” leaves out what was in question."""
        if draft.problems and said.wants("deny"):
            left = draft.model_copy(update={"problems": draft.problems[1:]})
            return None if left.empty else left
        return _with(draft, said) if said.wants(self.name) else None

    def asks(self, draft: Note, state: OrchestratorState, texts: Texts) -> str | None:
        """Ask about the first value that cannot be, or for a first word."""
        del state
        if draft.problems:
            return _question(draft.problems[0], texts)
        return texts.note_ask if draft.empty else None

    def awaits(self, draft: Note) -> str | None:
        """A number alone answers the question about its sign."""
        return draft.problems[0].sign if draft.problems else None

    def takes_text(self, draft: Note) -> bool:
        """An empty note was asked for."""
        return draft.empty

    def payload(self, draft: Note, state: OrchestratorState) -> ClinicalNote:
        """Write what there is, and the shift that it belongs to."""
        return ClinicalNote(
            recorded_at=timestamp(draft.recorded_at),
            vital_signs=draft.signs if draft.signs.measured else None,
            note=draft.text or None,
            shift_started_at=timestamp(state.shift.started_at) if state.shift else None,
        )

    def describes(self, draft: Note, state: OrchestratorState, texts: Texts) -> str:
        """Say every value and every word."""
        del state
        parts = [shown(draft.signs, texts.language), texts.note_written.format(note=draft.text) if draft.text else ""]
        return texts.note.format(at=at(timestamp(draft.recorded_at)), content=texts.note_and.join(filter(None, parts)))

    def confirmed(self, draft: Note, state: OrchestratorState, action_id: str, description: str) -> OrchestratorState:
        """Count it in the shift, if there is one."""
        del draft
        return counted(state, action_id, description)


def counted(state: OrchestratorState, action_id: str, description: str) -> OrchestratorState:
    """Count a confirmed note in the shift; nothing to do without one."""
    if state.shift is None:
        return state
    record = Record(action_id=action_id, text=description[:MAX_RECORD_CHARS])
    records = (*state.shift.records, record)[-MAX_RECORDS:]
    shift = state.shift.model_copy(update={"count": state.shift.count + 1, "records": records})
    return state.model_copy(update={"shift": shift})


def _with(draft: Note, said: Said) -> Note:
    """Add what a message tells. A text that begins with a word like "correção" replaces the text before it. Raises: TooLong."""
    reading = said.reading
    opening = _OPENING.match(reading.rest)
    words = reading.rest[opening.end() :].strip() if opening else reading.rest
    replaces = opening is not None and opening["word"].casefold().startswith("corr")
    text = words if replaces and words else "\n".join(filter(None, (draft.text, words)))
    answered = set(reading.signs.measured)
    open_still = [
        p for p in draft.problems if p.sign not in answered and not (p.sign == PRESSURE and "systolic_mmhg" in answered)
    ]
    again = {p.sign for p in reading.problems}
    problems = (*reading.problems, *(p for p in open_still if p.sign not in again))
    if len(text) > MAX_NOTE_CHARS:
        raise TooLong(len(text), MAX_NOTE_CHARS)
    signs = _known(draft.signs, problems).with_(reading.signs)
    return draft.model_copy(update={"signs": signs, "text": text, "problems": problems})


def _known(signs: VitalSigns, problems: tuple[Problem, ...]) -> VitalSigns:
    """Take out the values that are in question again."""
    doubted = {p.sign for p in problems}
    if PRESSURE in doubted:
        doubted |= {"systolic_mmhg", "diastolic_mmhg"}
    return VitalSigns.model_validate({name: value for name, value in signs.measured.items() if name not in doubted})


def _question(problem: Problem, texts: Texts) -> str:
    """Ask about a value that cannot be."""
    named = label(problem.sign, texts.language)
    fill: dict[str, str] = {"written": problem.written, "label": named}
    kind: str = problem.fault
    if problem.sign == PRESSURE:
        kind = "pressure" if kind == "range" else kind
        fill |= {"low": str(SYSTOLIC[0]), "high": str(SYSTOLIC[1]), "low2": str(DIASTOLIC[0]), "high2": str(DIASTOLIC[1])}
    else:
        sign = SIGNS[problem.sign]
        fill |= {"low": number(sign.low, texts.language), "high": number(sign.high, texts.language)}
    return f"{texts.problem[kind].format(**fill)} {texts.problem_drop.format(label=named)}"
