"""What a message changes, once it was read by the model: right answers are taken, wrong ones are named. Pure."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from chatapp.flows.interview.origin import Found
from chatapp.flows.interview.profile import MAX_REPLY_CHARS, Answers, Key, Origin, clean
from chatapp.flows.interview.questions import QUESTIONS
from chatapp.flows.interview.state import InterviewState


@dataclass(frozen=True, slots=True)
class Reading:
    """What one message says. `answers`: right ones, as JSON; `wrong`: questions whose answer cannot be, or is half an answer."""

    answers: dict[Key, Any]
    wrong: tuple[Key, ...]
    origin: Found
    children_said: int | None
    foreign: str | None = None
    """The currency of a budget that was told in another than reais."""
    reply: str | None = None
    """What there is to say to a question of the traveller's; empty when nobody knows; None: nothing was asked."""

    @property
    def empty(self) -> bool:
        """Whether the message answers nothing, neither right nor wrong."""
        return not self.answers and not self.wrong and self.origin is None and self.foreign is None


def read(answers: Answers, state: InterviewState, origin: Found) -> Reading:
    """Check what the model read in a message against the questions. `origin`: what the look-up of the city came to."""
    foreign = _foreign(answers)
    right: dict[Key, Any] = {"origin": origin.model_dump()} if isinstance(origin, Origin) else {}
    wrong: list[Key] = []
    for key, question in QUESTIONS.items():
        said = question.said(answers, state)
        if said is None or (foreign and key == "budget"):
            continue
        try:
            checked = state.profile_data.with_answers({key: said})
        except ValidationError:
            wrong.append(key)
        else:
            right[key] = checked.model_dump()[key]
    half = "passengers" in wrong and answers.adults is None and answers.children is not None and 0 <= answers.children <= 9
    asks = answers.asks_question and not (answers.wants_another and state.interview_complete)  # that is answered by another one
    reply = clean(answers.reply or "", MAX_REPLY_CHARS) if asks else None
    return Reading(right, tuple(wrong), origin, answers.children if half else None, foreign, reply)


def _foreign(answers: Answers) -> str | None:
    """Name the currency of a budget that is not in reais: nobody here knows what it is worth."""
    told = clean(answers.budget_currency or "", 20).upper()
    return told if answers.budget is not None and told not in ("", "BRL", "R$", "REAIS", "REAL") else None
