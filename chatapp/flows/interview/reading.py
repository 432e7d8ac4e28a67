"""What a message changes, once it was read by the model: right answers are taken, wrong ones are named. Pure."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from chatapp.flows.interview.origin import Found
from chatapp.flows.interview.profile import Answers, Key, Origin
from chatapp.flows.interview.questions import QUESTIONS
from chatapp.flows.interview.state import InterviewState


@dataclass(frozen=True, slots=True)
class Reading:
    """What one message says. `answers`: right ones, as JSON; `wrong`: questions whose answer cannot be, or is half an answer."""

    answers: dict[Key, Any]
    wrong: tuple[Key, ...]
    origin: Found
    children_said: int | None
    asks_question: bool

    @property
    def empty(self) -> bool:
        """Whether the message answers nothing, neither right nor wrong."""
        return not self.answers and not self.wrong and self.origin is None


def read(answers: Answers, state: InterviewState, origin: Found) -> Reading:
    """Check what the model read in a message against the questions. `origin`: what the look-up of the city came to."""
    right: dict[Key, Any] = {"origin": origin.model_dump()} if isinstance(origin, Origin) else {}
    wrong: list[Key] = []
    for key, question in QUESTIONS.items():
        said = question.said(answers, state)
        if said is None:
            continue
        try:
            checked = state.profile_data.with_answers({key: said})
        except ValidationError:
            wrong.append(key)
        else:
            right[key] = checked.model_dump()[key]
    half = "passengers" in wrong and answers.adults is None and answers.children is not None and 0 <= answers.children <= 9
    return Reading(right, tuple(wrong), origin, answers.children if half else None, answers.asks_question)
