"""The interview's state in the session, under the names of the systems it comes from, and how a turn changes it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, computed_field, model_validator
from pydantic.alias_generators import to_pascal

from chatapp.flows.interview.profile import CURRENCY, MAX_PRICE, Checked, Iata, Key, Language, Origin, Profile, Reason, Word
from chatapp.model import State

KEYS: tuple[Key, ...] = get_args(Key)
"""The questions in their order."""

MAX_PAST = 20
MAX_CHOICES = 5


def _each_once(keys: list[Key]) -> list[Key]:
    return list(dict.fromkeys(keys))


class Destination(Checked):
    """A recommended destination. `price`: of the cheapest flight found for all travellers, in `currency`, on `departure_date`.

    `over_budget`: whether that is more than the budget; None where nobody knows.
    """

    name: Word
    iata: Iata
    reason: Reason
    price: float | None = Field(None, ge=0, le=MAX_PRICE)
    currency: str | None = Field(None, pattern=CURRENCY)
    departure_date: str | None = Field(None, pattern=r"^\d{4}-\d\d-\d\d$")
    over_budget: bool | None = None


class Rejected(Checked):
    """A destination that was not wanted."""

    name: Word
    iata: Iata


class InterviewState(BaseModel):
    """What a session of the interview holds.

    `asked_questions`: those that were put to the user, each once. `last_question`: what the next message probably answers.
    `children_said`: children without adults are half an answer. `origin_choices`: the cities that the user is to choose from.
    `recommended_for`: the fingerprint of the profile that the destination was recommended for. `past_destinations`: those
    that were recommended before it. `rejected_destinations`: those of them that were not wanted.
    """

    model_config = ConfigDict(
        alias_generator=to_pascal, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    profile_data: Profile = Profile()
    language: Language | None = None
    asked_questions: Annotated[list[Key], AfterValidator(_each_once)] = []
    last_question: Key | None = None
    children_said: int | None = Field(None, ge=0, le=99)
    origin_choices: list[Origin] = Field([], max_length=MAX_CHOICES)
    recommended_destination: Destination | None = None
    recommended_for: str | None = Field(None, max_length=64)
    past_destinations: list[Word] = Field([], max_length=MAX_PAST)
    rejected_destinations: list[Rejected] = Field([], max_length=MAX_PAST)

    @model_validator(mode="before")
    @classmethod
    def _without_what_follows(cls, told: Any) -> Any:
        """Leave out what is derived from the rest, whatever somebody has written there."""
        derived = {to_pascal(name) for name in cls.model_computed_fields}
        return {name: value for name, value in told.items() if name not in derived} if isinstance(told, Mapping) else told

    @computed_field  # type: ignore[prop-decorator]
    @property
    def current_question_index(self) -> int:
        """The place of the first question without an answer; `questions_available` when there is none."""
        return next((place for place, key in enumerate(KEYS) if key not in self.answered), len(KEYS))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def interview_complete(self) -> bool:
        """Whether every question has an answer."""
        return len(self.answered) == len(KEYS)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def questions_asked(self) -> int:
        """How many of the questions were asked."""
        return len(self.asked_questions)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def questions_available(self) -> int:
        """How many questions there are."""
        return len(KEYS)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def efficiency(self) -> float:
        """Which part of the questions was answered without being asked, from 0 to 1."""
        return round(sum(key not in self.asked_questions for key in self.answered) / len(KEYS), 2)

    @property
    def answered(self) -> list[Key]:
        """The questions that have an answer."""
        return [key for key in KEYS if getattr(self.profile_data, key) is not None]

    @property
    def untouched(self) -> bool:
        """Whether nothing was asked and nothing answered yet: the user was not greeted."""
        return not self.asked_questions and not self.answered

    @property
    def recommendation_is_due(self) -> bool:
        """Whether all is answered and no destination was recommended for these answers."""
        return self.interview_complete and self.recommended_for != self.profile_data.fingerprint

    def rejects(self, found: Destination) -> bool:
        """Say whether a destination is one that was not wanted, by its name or its code."""
        return any(found.iata == one.iata or found.name.casefold() == one.name.casefold() for one in self.rejected_destinations)

    @property
    def question(self) -> Key | None:
        """The first question without an answer."""
        return next((key for key in KEYS if key not in self.answered), None)

    @classmethod
    def of(cls, state: State) -> Self:
        """Read a session's state; what a newer version of this program has added to it is left alone."""
        known = {to_pascal(name) for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in state.items() if name in known})

    def stored(self) -> dict[str, Any]:
        """Write it as it is stored and told: JSON, by the names of the seeds."""
        return self.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True, slots=True)
class Update:
    """What a turn changes. Applied to the state as it stands by then: what the turn did not learn is kept."""

    answers: Mapping[Key, Any] = field(default_factory=dict)
    asked: Key | None = None
    language: Language | None = None
    children_said: int | None = None
    origin_choices: tuple[Origin, ...] = ()
    destination: Destination | None = None
    recommended_for: str | None = None
    rejected: Rejected | None = None

    def of(self, state: InterviewState) -> InterviewState:
        """Make the new state."""
        return InterviewState.model_validate(
            {
                **dict(state),
                "profile_data": state.profile_data.with_answers(dict(self.answers)),
                "language": state.language or self.language,
                "asked_questions": [*state.asked_questions, *([self.asked] if self.asked else [])],
                "last_question": self.asked or (None if self.destination else state.last_question),
                "children_said": self._children(state),
                "recommended_for": self.recommended_for or state.recommended_for,
                "origin_choices": [] if "origin" in self.answers else list(self.origin_choices or state.origin_choices),
                "rejected_destinations": self._rejected(state),
                **self._recommended(state),
            }
        )

    def apply(self, state: State) -> State:
        """Make the new state of a session; fields that are not the interview's stay."""
        return {**state, **self.of(InterviewState.of(state)).stored()}

    def _children(self, state: InterviewState) -> int | None:
        return (
            None
            if "passengers" in self.answers
            else self.children_said
            if self.children_said is not None
            else state.children_said
        )

    def _rejected(self, state: InterviewState) -> list[Rejected]:
        known = [other for other in state.rejected_destinations if other != self.rejected]
        return [*known, *([self.rejected] if self.rejected else [])][-MAX_PAST:]

    def _recommended(self, state: InterviewState) -> dict[str, Any]:
        before = state.recommended_destination
        if self.destination is None or (before is not None and before.iata == self.destination.iata):
            return {"recommended_destination": self.destination or before}
        past = [*state.past_destinations, *([before.name] if before else [])]
        return {"recommended_destination": self.destination, "past_destinations": past[-MAX_PAST:]}
