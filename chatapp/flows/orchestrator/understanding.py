"""From a turn's input to what was said: vital signs and obvious words are read here, a model is asked about the rest."""

from collections.abc import Generator
from dataclasses import dataclass

from chatapp.flows.orchestrator.classify import classify
from chatapp.flows.orchestrator.intents import MAX_OBVIOUS_CHARS, Name, by_keyword, obvious, says_nothing, words
from chatapp.flows.orchestrator.language import detect
from chatapp.flows.orchestrator.reading import Reading, read
from chatapp.flows.orchestrator.state import Frame, OrchestratorState, Template
from chatapp.flows.orchestrator.sub_flows import SUB_FLOWS, draft_of, sub_flow
from chatapp.flows.orchestrator.vitals import Language, VitalSigns
from chatapp.flows.port import Asked
from chatapp.model import Finish, Part, Pending

NOTHING = Reading(VitalSigns())

MAX_TEMPLATE_CHARS = 1_024
"""How much of a template's text is read: as much as WhatsApp lets one have. A text may be 32,000 characters."""

_COMMANDS = ("shift_check_in", "finish_shift")


@dataclass(frozen=True, slots=True)
class Understood:
    """What a text wants and says. `finish`: of the model's answer, if one was asked."""

    intents: tuple[Name, ...] = ()
    reading: Reading = NOTHING
    language: Language | None = None
    finish: Finish | None = None


def understand(asked: Asked, state: OrchestratorState, text: str) -> Generator[Pending, None, Understood]:
    """Find out what a text means to a session in this state."""
    frame, language = state.active_flow, detect(text)
    reading = read(text, _awaited(frame))
    if reading:
        return Understood(*_beside(reading), language)
    if plain := obvious(text):
        return Understood((plain,), reading, language)
    if says_nothing(text):
        return Understood(("other",), reading, language)
    if frame is not None and sub_flow(frame).takes_text(draft_of(frame)):
        return Understood(("clinical_note",), reading, language)
    intent, finish = yield from classify(asked, text)
    told: Language | None = None if intent.language == "unknown" else intent.language
    return Understood((_believed(intent.intent, text),), reading, language or told, finish)


def is_template(part: Part) -> bool:
    """Whether a part of an input is a template: a message that somebody else sent to the nurse."""
    return part.get("kind") == "template"


def noted(state: OrchestratorState, asked: Asked) -> OrchestratorState:
    """Take note of the templates in an input, and of what a yes to them begins."""
    for part in asked.turn.input:
        if is_template(part):
            name, text = str(part.get("name", "")), str(part.get("text", ""))[:MAX_TEMPLATE_CHARS]
            template = Template(name=name[:200], sent_at=asked.now, opens=_asks_for(name, text))
            state = state.model_copy(update={"last_template": template, "language": state.language or detect(text)})
    return state


def _beside(reading: Reading) -> tuple[tuple[Name, ...], Reading]:
    """Say what a message with vital signs wants: a note, and perhaps what its other words want."""
    command = obvious(reading.rest) if reading.rest else None
    if command in _COMMANDS:
        return ("clinical_note", command), Reading(reading.signs, reading.problems)
    if says_nothing(reading.rest):
        return ("clinical_note",), Reading(reading.signs, reading.problems)
    return ("clinical_note",), reading


def _believed(name: Name, text: str) -> Name:
    """Take a yes or no that only a model saw in a short text: a long one may quote somebody else's, and a yes is for good."""
    return "other" if name in ("confirm", "deny") and len(words(text)) > MAX_OBVIOUS_CHARS else name


def _asks_for(name: str, text: str) -> str | None:
    """Say which sub-flow a yes to a template begins: its name tells, else its text."""
    guesses = [_of_template(name.replace("_", " ").replace("-", " ")), _of_template(text)]
    return next((guess for guess in guesses if guess in SUB_FLOWS), None)


def _of_template(said: str) -> str:
    said = said.casefold()
    for hints, name in _TEMPLATE_WORDS.items():
        if any(hint in said for hint in hints):
            return name
    return by_keyword(said)


_TEMPLATE_WORDS: dict[tuple[str, ...], str] = {
    ("finish", "encerr", "finaliz", "fim do plant", "end of shift", "shift end"): "finish_shift",
    ("vital", "sinais", "clinical", "nota", "evolu"): "clinical_note",
    ("shift", "plant", "check in", "checkin", "chegada", "chegou", "arriv"): "shift_check_in",
}


def _awaited(frame: Frame | None) -> str | None:
    return sub_flow(frame).awaits(draft_of(frame)) if frame is not None else None
