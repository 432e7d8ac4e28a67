"""The orchestrator as a flow: understands a message, lets the conversation hear it, and yields what came of it."""

import logging
from collections.abc import Generator, Mapping
from typing import Any

from pydantic import ValidationError

from chatapp.flows.orchestrator.answering import Answering
from chatapp.flows.orchestrator.conversation import hear
from chatapp.flows.orchestrator.language import asked_for
from chatapp.flows.orchestrator.open_flows import remind
from chatapp.flows.orchestrator.state import OrchestratorState, merged
from chatapp.flows.orchestrator.sub_flows import draft_of
from chatapp.flows.orchestrator.subflow import Said
from chatapp.flows.orchestrator.texts import TEXTS, Texts
from chatapp.flows.orchestrator.understanding import Understood, is_template, noted, understand
from chatapp.flows.orchestrator.vitals import Language
from chatapp.flows.port import Asked, Change, Flow, Offer, Step, Summarize, done, say
from chatapp.model import Session, State, Summary, text_of

log = logging.getLogger(__name__)

MAX_MESSAGE_CHARS = 2_000


class Orchestrator(Flow):
    """Nurses' shifts: arrival, clinical notes with vital signs, end of the shift; each is written after a yes."""

    name = "orchestrator"
    state_model = OrchestratorState

    def run(self, asked: Asked) -> Generator[Step, None, None]:
        """Answer a message. A template that was sent to the nurse is noted, and answered with nothing."""
        base, text = asked.session.state, text_of(asked.turn.input).strip()
        state, finishes = noted(_loaded(base), asked), []
        if text or not any(is_template(part) for part in asked.turn.input):
            understood, wished = Understood(), asked_for(text)
            if wished is None and 0 < len(text) <= MAX_MESSAGE_CHARS:
                understood = yield from understand(asked, state, text)
            finishes = [understood.finish] if understood.finish else []
            state = state.model_copy(update={"language": wished or state.language or understood.language})
            talk = _talk(asked, state, text, understood, wished is not None)
            state = talk.state
            yield from say("\n\n".join(talk.lines))
            if talk.proposal is not None:
                yield talk.proposal
            if talk.offers:
                yield Offer(talk.offers)
        yield from _kept(asked, base, state)
        yield done(asked, *finishes)

    def result(self, session: Session) -> Mapping[str, Any]:
        """Say what the session came to: the shift that runs and the last one that ended."""
        return {name: session.state[name] for name in ("Shift", "LastShift") if name in session.state}


def summarized(state: OrchestratorState, texts: Texts) -> Summary:
    """Sum the session up for lists."""
    if state.shift is not None:
        text = texts.summary_open.format(records=texts.counted(state.shift.count))
        return Summary(text, {"on_shift": True, "records": state.shift.count})
    records = state.last_shift.records if state.last_shift else 0
    text = texts.summary_closed.format(records=texts.counted(records)) if state.last_shift else texts.summary_none
    return Summary(text, {"on_shift": False, "records": records})


def _talk(asked: Asked, state: OrchestratorState, text: str, understood: Understood, language_chosen: bool) -> Answering:
    """Let the conversation hear what was understood."""
    texts = _texts(state, asked)
    said = Said(text, understood.intents, understood.reading, texts, asked.now, asked.turn.created_at)
    talk = Answering(state, said, asked)
    if understood.intents:
        hear(talk)
        return talk
    too_long = texts.too_long.format(count=len(text), most=MAX_MESSAGE_CHARS)
    talk.lines.append(texts.language_set if language_chosen else too_long if text else texts.only_text)
    remind(talk)
    return talk


def _kept(asked: Asked, base: State, state: OrchestratorState) -> Generator[Step, None, None]:
    """Keep the new state and its summary. What another writer changes meanwhile is kept as well."""
    mine = state.stored()
    yield Change(lambda now: merged(base, mine, now))
    summary = summarized(state, _texts(state, asked))
    if summary != asked.session.summary:
        yield Summarize(summary)


def _texts(state: OrchestratorState, asked: Asked) -> Texts:
    """Choose the language: the nurse's as far as it is known; else Portuguese for a phone number, the setting's for others."""
    fallback: Language = "pt" if asked.session.contact is not None or asked.language == "pt" else "en"
    return TEXTS[state.language or fallback]


def _loaded(state: State) -> OrchestratorState:
    """Read the state. What cannot be read any more is begun anew, and stays in the store as far as it is not written over."""
    try:
        loaded = OrchestratorState.model_validate(state)
        for frame in filter(None, (loaded.active_flow, *loaded.suspended)):
            draft_of(frame)
    except (ValidationError, KeyError) as error:
        log.warning("the orchestrator's state cannot be read, it begins anew: %s", type(error).__name__)
        return OrchestratorState()
    return loaded
