"""The flow `interview`: one question at a time, several answers at once, a destination at the end."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from chatapp.flows.interview import prompts, texts
from chatapp.flows.interview.destination import recommend
from chatapp.flows.interview.origin import Several, Unknown, find, label
from chatapp.flows.interview.profile import Answers, Language
from chatapp.flows.interview.questions import QUESTIONS
from chatapp.flows.interview.reading import Reading, read
from chatapp.flows.interview.state import Destination, InterviewState, Rejected, Update
from chatapp.flows.port import Asked, Change, Flow, Offer, Step, Summarize, done, say
from chatapp.flows.structured import form_of, structured
from chatapp.model import Finish, Message, ModelRequest, Pending, Session, State, Summary, text_of

PROFILE_UPDATED = "profile_updated"


class Interview(Flow):
    """Asks for a traveller's profile, and recommends a destination."""

    name = "interview"
    opens = True
    state_model = InterviewState

    def run(self, asked: Asked) -> Generator[Step, None, None]:
        """Yield the next question, or the recommendation. The first turn has no input: it greets."""
        state = InterviewState.of(asked.session.state)
        if text := text_of(asked.turn.input):
            yield from _answer(asked, state, text)
        else:
            language = state.language or cast("Language", asked.language)
            yield from _ask(state, Update(asked=state.question), language, [texts.WELCOME[language]])
            yield done(asked)

    def told(self, state: State) -> tuple[str, dict[str, Any]]:
        """Tell the profile as it is now."""
        return PROFILE_UPDATED, _public(state)

    def result(self, session: Session) -> Mapping[str, Any]:
        """Give the final profile and the recommendation."""
        return _public(session.state)


def _answer(asked: Asked, state: InterviewState, text: str) -> Generator[Step, None, None]:
    """Read a message, take what it answers, and go on from there."""
    answers, finish = yield from _extract(asked, state, text)
    language = state.language or answers.language or cast("Language", asked.language)
    reading = read(answers, state, find(asked.external, answers, state))
    update = Update(
        answers=reading.answers,
        language=answers.language,
        children_said=reading.children_said,
        origin_choices=reading.origin.choices if isinstance(reading.origin, Several) else (),
    )
    known = update.of(state)
    said = _said(state, known, reading, language)
    if known.recommendation_is_due or (known.interview_complete and answers.wants_another):
        if answers.wants_another and (standing := known.recommended_destination):
            update = replace(update, rejected=Rejected(name=standing.name, iata=standing.iata))
        found, second = yield from recommend(asked, update.of(state), _unwanted(known, answers), language)
        yield from _close(
            state, replace(update, destination=found, recommended_for=known.profile_data.fingerprint), language, said
        )
        yield done(asked, finish, second)
        return
    if known.interview_complete:
        yield from _close(state, update, language, said)
    else:
        yield from _ask(state, replace(update, asked=known.question), language, said)
    yield done(asked, finish)


def _extract(asked: Asked, state: InterviewState, text: str) -> Generator[Pending, None, tuple[Answers, Finish]]:
    today = datetime.fromtimestamp(asked.now / 1000, UTC).date()
    options = replace(asked.turn.options, instructions=prompts.extract(state, today), **prompts.OPTIONS)
    form = form_of(Answers)
    request = ModelRequest((Message("user", text),), options, asked.turn.user_id, str(asked.turn.job_id), form)
    return (yield from structured(asked.llm, request, Answers))


def _said(before: InterviewState, known: InterviewState, reading: Reading, language: Language) -> list[str]:
    """Say what was understood of a message, and what was wrong in it; greet first who was not greeted yet."""
    said = [texts.WELCOME[language] if before.untouched else ""]
    said.append(texts.noted(before.profile_data, known.profile_data, language))
    if isinstance(reading.origin, Unknown):
        said.append(texts.UNKNOWN_CITY[language].format(city=reading.origin.city))
    if isinstance(reading.origin, Several):
        choices = ", ".join(label(choice) for choice in reading.origin.choices)
        said.append(texts.WHICH_CITY[language].format(choices=choices))
    said += [QUESTIONS[key].hint[language] for key in reading.wrong]
    if reading.foreign:
        said.append(texts.IN_REAIS[language].format(currency=reading.foreign))
    if reading.reply is not None:
        said.append(reading.reply or texts.NO_ANSWERS[language])
    elif reading.empty and known.question is not None and not before.untouched:
        said += [texts.AGAIN[language], QUESTIONS[known.question].hint[language]]
    elif not any(said):  # what was known already is confirmed
        said.append(texts.repeated(reading.answers, known.profile_data, language))
    return [sentence for sentence in said if sentence]


def _unwanted(state: InterviewState, answers: Answers) -> tuple[str, ...]:
    """Say what the model is not to name: what was rejected, and for who wants another one all that was recommended."""
    rejected, now = [one.name for one in state.rejected_destinations], state.recommended_destination
    shown = [*state.past_destinations, *([now.name] if now else [])] if answers.wants_another else []
    return tuple(dict.fromkeys([*rejected, *shown]))


def _ask(state: InterviewState, update: Update, language: Language, said: list[str]) -> Generator[Step, None, None]:
    """Put the next question, after what there is to say."""
    after = update.of(state)
    question = QUESTIONS[after.question] if after.question else None
    choosing = update.origin_choices and after.question == "origin"
    if question is not None and not choosing:
        said = [*said, question.ask[language]]
    yield from say(" ".join(said))
    if choosing:
        yield Offer(tuple(label(choice) for choice in update.origin_choices))
    elif question is not None and language in question.replies:
        yield Offer(question.replies[language])
    yield from _keep(update, after, language)


def _close(state: InterviewState, update: Update, language: Language, said: list[str]) -> Generator[Step, None, None]:
    """Say the recommendation; shortly if it is the one that stands already."""
    after = update.of(state)
    found = after.recommended_destination
    if found is not None and after.rejects(found):
        said = [*said, texts.NO_OTHER[language], texts.AND_NOW[language]]
    elif found is not None:
        price = [texts.priced(found, language)] if update.destination is not None else []
        said = [*said, _named(found, language, new=update.destination is not None), *price, texts.AND_NOW[language]]
    yield from say(" ".join(said))
    if update.origin_choices:
        yield Offer(tuple(label(choice) for choice in update.origin_choices))
    yield from _keep(update, after, language)


def _named(found: Destination, language: Language, *, new: bool) -> str:
    recommended = (texts.RECOMMENDED if new else texts.STILL)[language]
    return recommended.format(name=found.name, iata=found.iata, reason=found.reason).strip()


def _keep(update: Update, after: InterviewState, language: Language) -> Generator[Step, None, None]:
    found = after.recommended_destination
    facts = {
        "recommended_destination": {"name": found.name, "iata": found.iata} if found else None,
        "interview_complete": after.interview_complete,
    }
    yield Change(update.apply)
    yield Summarize(Summary(texts.summary(after, language), facts))


def _public(state: State) -> dict[str, Any]:
    """Show the state to clients: in `profile_updated` and as the result."""
    now = InterviewState.of(state)
    found = now.recommended_destination
    return {
        "profile": now.profile_data.model_dump(mode="json"),
        "current_question_index": now.current_question_index,
        "interview_complete": now.interview_complete,
        "questions_asked": now.questions_asked,
        "questions_available": now.questions_available,
        "efficiency": now.efficiency,
        "recommended_destination": found.model_dump(mode="json") if found else None,
    }
