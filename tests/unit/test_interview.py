"""The interview's state, its checks and its questions: all that is pure."""

import json
from datetime import date
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from chatapp.errors import ExternalUnavailable
from chatapp.flows.interview import prompts, texts
from chatapp.flows.interview.destination import departure
from chatapp.flows.interview.origin import Several, Unknown, find
from chatapp.flows.interview.profile import MAX_BUDGET, Answers, Key, Origin, Profile, clean
from chatapp.flows.interview.questions import QUESTIONS
from chatapp.flows.interview.reading import read
from chatapp.flows.interview.state import KEYS, Destination, InterviewState, Update
from chatapp.flows.structured import form_of
from chatapp.model import State

HERE = Origin(city="São Paulo", iata="SAO")
ANSWERS: dict[Key, Any] = {
    "origin": HERE.model_dump(),
    "budget": 9_000,
    "passengers": {"adults": 1},
    "months": [6],
    "activities": ["praia"],
    "purpose": "férias",
    "hobbies": ["xadrez"],
}
THERE = Destination(name="Salvador", iata="SSA", reason="Sun.")


def reading(state: InterviewState | None = None, origin: Origin | None = None, **said: Any) -> Any:
    """Read what a model says it has read."""
    return read(Answers.model_validate(said), state or InterviewState(), origin)


def test_the_questions_come_in_the_order_of_the_brief() -> None:
    """Origin, budget, passengers, months, activities, purpose, hobbies; each is a field of the profile."""
    order = ["origin", "budget", "passengers", "months", "activities", "purpose", "hobbies"]
    assert list(QUESTIONS) == list(KEYS) == list(get_args(Key)) == list(Profile.model_fields) == order


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=lambda q: q.key)
def test_every_question_speaks_both_languages(question: Any) -> None:
    """So do its hint and its replies; passengers and months have some."""
    assert set(question.ask) == set(question.hint) == {"pt", "en"}
    assert set(question.replies) == ({"pt", "en"} if question.key in ("passengers", "months") else set())


@pytest.mark.parametrize("name", [name for name in vars(texts) if name.isupper() and name != "KEYS"])
def test_every_text_speaks_both_languages(name: str) -> None:
    """Nothing is said in one language only."""
    assert set(getattr(texts, name)) == {"pt", "en"}


@pytest.mark.parametrize(
    ("said", "key", "taken"),
    [
        ({"budget": 3000}, "budget", 3_000),
        ({"budget": 2999.6}, "budget", 3_000),
        ({"budget": MAX_BUDGET}, "budget", MAX_BUDGET),
        ({"adults": 1}, "passengers", {"adults": 1, "children": 0}),
        ({"adults": 4, "children": 5}, "passengers", {"adults": 4, "children": 5}),
        ({"months": [12, 1, 1]}, "months", [1, 12]),
        ({"activities": [" praia ", "praia", ""]}, "activities", ["praia"]),
        ({"activities": [str(n) for n in range(50)]}, "activities", [str(n) for n in range(10)]),
        ({"purpose": "férias\nem\tfamília"}, "purpose", "férias em família"),
        ({"hobbies": ["\u202exadrez\x00"]}, "hobbies", ["xadrez"]),
    ],
)
def test_right_answers_are_taken(said: dict[str, Any], key: str, taken: object) -> None:
    """In order, once, in one line and not too many."""
    assert (reading(**said).answers, reading(**said).wrong) == ({key: taken}, ())


@pytest.mark.parametrize(
    ("said", "key"),
    [
        *(({"budget": budget}, "budget") for budget in (-1, 0, 0.3, MAX_BUDGET + 1, 1e300)),
        *(({"adults": adults}, "passengers") for adults in (-1, 0, 10, 10**20)),
        ({"adults": 5, "children": 5}, "passengers"),
        ({"adults": 1, "children": -1}, "passengers"),
        ({"children": 2}, "passengers"),
        *(({"months": months}, "months") for months in ([13], [0], [-1], [1, 13])),
        ({"activities": [" ", "\n"]}, "activities"),
        ({"purpose": "\u200b"}, "purpose"),
    ],
)
def test_wrong_answers_are_named(said: dict[str, Any], key: str) -> None:
    """None of them gets into the profile."""
    assert (reading(**said).answers, reading(**said).wrong) == ({}, (key,))


@pytest.mark.parametrize("currency", ["USD", " eur", "francs\n"])
def test_a_budget_in_another_currency_is_not_taken_for_reais(currency: str) -> None:
    """Nor is it an answer that was wrong: nobody here knows what it is worth."""
    read_so = reading(budget=3000, budget_currency=currency, adults=2)
    assert (read_so.foreign, read_so.wrong) == (currency.strip().upper(), ())
    assert read_so.answers == {"passengers": {"adults": 2, "children": 0}}
    assert not reading(budget=3000, budget_currency=currency).empty


@pytest.mark.parametrize("currency", [None, "", "BRL", "brl", "R$"])
def test_reais_are_no_other_currency(currency: str | None) -> None:
    """Whether a model names them or not."""
    assert reading(budget=3000, budget_currency=currency).answers == {"budget": 3000}


def test_a_currency_without_an_amount_is_nothing() -> None:
    """Some models fill in what they were not told."""
    assert reading(budget_currency="USD").empty


def test_a_reply_counts_when_something_was_asked_and_in_one_short_line() -> None:
    """Empty where nobody knows; none for the wish for another destination, which that destination answers."""
    complete = Update(answers={key: ANSWERS[key] for key in KEYS}).of(InterviewState())
    assert reading(reply="No.").reply is None
    assert reading(asks_question=True).reply == ""
    assert reading(asks_question=True, reply=" Yes,\nit\x1b is. " + "x" * 999).reply == ("Yes, it is. " + "x" * 999)[:400]
    assert reading(asks_question=True, wants_another=True, reply="Yes.").reply == "Yes."
    assert reading(complete, asks_question=True, wants_another=True, reply="Yes.").reply is None


def test_nothing_is_read_where_nothing_was_said() -> None:
    """Empty lists are what some models write for nothing."""
    assert reading(activities=[], hobbies=[], months=[]).empty


def test_children_alone_are_half_an_answer_that_is_kept() -> None:
    """The adults of the next message join them."""
    first = reading(children=2)
    state = Update(children_said=first.children_said).of(InterviewState())
    second = reading(state, adults=1)
    assert (first.wrong, second.answers) == (("passengers",), {"passengers": {"adults": 1, "children": 2}})
    assert Update(answers=second.answers).of(state).children_said is None


def test_a_correction_keeps_what_it_does_not_name() -> None:
    """`Three adults` leaves the child where it was, and the other way round."""
    state = Update(answers={"passengers": {"adults": 2, "children": 1}}).of(InterviewState())
    assert reading(state, adults=3).answers["passengers"] == {"adults": 3, "children": 1}
    assert reading(state, children=0).answers["passengers"] == {"adults": 2, "children": 0}


STATED = {
    "origin_city": st.none() | st.sampled_from(["São Paulo", "Recife", " "]),
    "budget": st.none() | st.floats(),
    "adults": st.none() | st.integers(),
    "children": st.none() | st.integers(),
    "months": st.none() | st.lists(st.integers(-1, 14), max_size=4),
    "activities": st.none() | st.lists(st.text(max_size=200), max_size=12),
    "purpose": st.none() | st.text(max_size=200),
    "hobbies": st.none() | st.lists(st.text(max_size=200), max_size=3),
}


class Away:
    """No travel API."""

    def cached_get(self, endpoint: str, params: Any) -> Any:
        """Answer as the cache does without one."""
        raise ExternalUnavailable(f"{endpoint} {params}")


@given(st.lists(st.fixed_dictionaries(STATED), max_size=6), st.booleans())
def test_whatever_is_read_the_index_points_at_the_first_question_without_an_answer(said: list[Any], found: bool) -> None:
    """And the interview is complete when, and only when, there is none. The state fits its model at every step."""
    stored: State = {"Other": 1}
    for one in said:
        state = InterviewState.of(stored)
        answers = Answers.model_construct(**{**Answers().model_dump(), **one})
        seen = read(answers, state, find(Away(), answers, state))
        update = Update(answers=seen.answers, asked=state.question, children_said=seen.children_said)
        stored = Update.apply(update, stored) if not found else Update(answers=seen.answers, destination=THERE).apply(stored)
        missing = [key for key in KEYS if stored["ProfileData"][key] is None]
        index = stored["CurrentQuestionIndex"]
        assert KEYS[index:][:1] == tuple(missing[:1])
        assert stored["InterviewComplete"] is (not missing)
        assert stored["QuestionsAsked"] == len(set(stored["AskedQuestions"])) <= stored["QuestionsAvailable"] == 7
        assert 0 <= stored["Efficiency"] <= 1
        assert stored["Other"] == 1
        assert InterviewState.of(stored).stored() == {name: value for name, value in stored.items() if name != "Other"}


def test_what_follows_from_the_answers_cannot_be_written() -> None:
    """A change from outside that sets the index or the end sets nothing; a new answer moves both."""
    state = InterviewState.model_validate(
        {"ProfileData": {"origin": {"city": "Recife"}}, "CurrentQuestionIndex": 6, "InterviewComplete": True, "Efficiency": 9}
    )
    assert (state.current_question_index, state.interview_complete, state.efficiency) == (1, False, 0.14)


@pytest.mark.parametrize(
    "state",
    [
        {"Profiledata": {}},
        {"ProfileData": {"budget": 0}},
        {"ProfileData": {"origin": {"city": "X", "iata": "1A"}}},
        {"ProfileData": {"car": 1}},
        {"AskedQuestions": ["name"]},
        {"Language": "fr"},
        ["ProfileData"],
    ],
)
def test_a_state_that_is_none_is_refused(state: Any) -> None:
    """`PATCH /sessions/{id}/state` is checked by the same model."""
    with pytest.raises(ValidationError):
        InterviewState.model_validate(state)


def test_efficiency_counts_what_was_answered_without_being_asked() -> None:
    """Four of seven answers came unasked."""
    update = Update(answers={"budget": 1, "purpose": "x", "hobbies": ["y"], "activities": ["z"]}, asked="origin")
    assert Update(answers={"origin": HERE.model_dump()}).of(update.of(InterviewState())).efficiency == round(4 / 7, 2)


def test_a_destination_that_is_recommended_again_is_no_past_one() -> None:
    """Only another one takes its place."""
    state = Update(destination=THERE).of(InterviewState())
    assert Update(destination=THERE).of(state).past_destinations == []
    assert Update(destination=Destination(name="Natal", iata="NAT", reason="")).of(state).past_destinations == ["Salvador"]


class Airports:
    """An airport API with one answer."""

    def __init__(self, *places: tuple[str, str, str, str]) -> None:
        self._data = [
            {"iataCode": code, "name": city, "subType": kind, "address": {"cityName": city, "countryCode": country}}
            for code, kind, city, country in places
        ]

    def cached_get(self, endpoint: str, params: Any) -> Any:
        """Answer."""
        assert endpoint == "airports"
        assert params["keyword"].isascii()
        return {"data": self._data}


SAO = (("GRU", "AIRPORT", "SAO PAULO", "BR"), ("SAO", "CITY", "SAO PAULO", "BR"), ("SLZ", "CITY", "SAO LUIS", "BR"))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"origin_city": "são paulo"}, Origin(city="são paulo", iata="SAO")),
        ({"origin_city": "São Paulo", "origin_iata": "gru"}, Origin(city="São Paulo", iata="GRU")),
        ({"origin_iata": "GRU"}, Origin(city="Sao Paulo", iata="GRU")),
        ({"origin_city": "Sao"}, Several((Origin(city="Sao Paulo", iata="SAO"), Origin(city="Sao Luis", iata="SLZ")))),
        ({"origin_city": "  ", "origin_iata": "G1"}, None),
    ],
)
def test_a_city_is_found_by_its_name_or_code(said: dict[str, str], found: object) -> None:
    """The code is the city's own, unless an airport was named; the name is written as the user did."""
    assert find(Airports(*SAO), Answers.model_validate(said), InterviewState()) == found


def test_a_city_that_nobody_knows_is_unknown() -> None:
    """What the airport API does not know is not believed."""
    assert find(Airports(), Answers(origin_city="Narnia", origin_iata="NAR"), InterviewState()) == Unknown("Narnia")


@pytest.mark.parametrize(("code", "iata"), [("SAO", "SAO"), ("sao ", "SAO"), ("S4O", None), ("", None), (None, None)])
def test_without_the_look_up_the_models_code_counts_if_it_is_one(code: str | None, iata: str | None) -> None:
    """The interview goes on with what the user said."""
    assert find(Away(), Answers(origin_city="São Paulo", origin_iata=code), InterviewState()) == Origin(
        city="São Paulo", iata=iata
    )


@pytest.mark.parametrize(
    ("today", "months", "day"),
    [
        ("2026-11-09", [11], "2026-11-16"),
        ("2026-11-09", [12], "2026-12-15"),
        ("2026-11-09", [1, 12], "2026-12-15"),
        ("2026-11-21", [11, 3], "2026-11-28"),
        ("2026-11-25", [11, 3], "2027-03-15"),
        ("2026-11-25", [11], "2027-11-15"),
        ("2026-12-28", [12, 1], "2027-01-15"),
        ("2026-12-28", [12], "2027-12-15"),
    ],
)
def test_flights_are_searched_in_the_first_month_to_come(today: str, months: list[int], day: str) -> None:
    """This month is one, as long as a week of it is left before the day: nobody leaves sooner."""
    assert departure(months, date.fromisoformat(today)).isoformat() == day


@pytest.mark.parametrize(
    ("amount", "language", "written"),
    [(3000, "pt", "R$ 3.000"), (1234.5, "pt", "R$ 1.234,50"), (1234.5, "en", "R$ 1,234.50"), (9, "en", "R$ 9")],
)
def test_amounts_are_written_as_the_language_does(amount: float, language: Any, written: str) -> None:
    """Cents only where there are some."""
    assert texts.money(amount, "BRL", language) == written


@given(st.text())
def test_a_text_is_brought_into_one_short_line(text: str) -> None:
    """Whatever users and models write: no control characters, no line breaks."""
    cleaned = clean(text)
    assert len(cleaned) <= 80
    assert cleaned == cleaned.strip()
    assert cleaned.isprintable() or not cleaned


def test_the_model_is_told_the_day_and_what_is_known() -> None:
    """Else nobody could tell which month is the next, or what "March too" adds to."""
    state = Update(answers={"months": [2]}, asked="activities").of(InterviewState())
    context = json.loads(prompts.extract(state, date(2026, 11, 21)).partition(prompts.CONTEXT)[2])
    assert (context["today"], context["known"], context["last_question"]) == ("2026-11-21", {"months": [2]}, "activities")
    assert (context["language"], context["recommended"]) == (None, None)


def test_the_forms_are_strict() -> None:
    """Every field is required and none is added, as providers ask of structured answers."""
    schema = form_of(Answers).schema
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(Answers.model_fields)
    assert "maxLength" not in str(schema)
