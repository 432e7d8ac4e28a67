"""The questions, in their order: what is asked, what is offered, which part of the model's reading answers them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatapp.flows.interview.profile import Answers, Key, Language
from chatapp.flows.interview.state import InterviewState

Texts = Mapping[Language, str]


def _same(key: Key) -> Callable[[Answers, InterviewState], Any]:
    """Take an answer as it was read. An empty list says nothing."""
    return lambda answers, _state: None if getattr(answers, key) in (None, []) else getattr(answers, key)


def _passengers(answers: Answers, state: InterviewState) -> Any:
    """Join adults and children with what was said of them before."""
    if answers.adults is None and answers.children is None:
        return None
    known = state.profile_data.passengers
    adults = answers.adults if answers.adults is not None else known and known.adults
    children = next((n for n in (answers.children, known and known.children, state.children_said) if n is not None), 0)
    return {"adults": adults, "children": children}


def _budget(answers: Answers, _state: InterviewState) -> Any:
    """Take whole reais; what is none (infinity) is refused later."""
    return answers.budget if answers.budget is None or not abs(answers.budget) < 1e12 else round(answers.budget)


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    `said` finds the answer in what was read, not yet checked; the profile's field of the same name says what is right. None: no
    answer. `hint` helps who gave a wrong one; `replies` may be chosen instead of typing.
    """

    key: Key
    ask: Texts
    hint: Texts
    said: Callable[[Answers, InterviewState], Any]
    replies: Mapping[Language, tuple[str, ...]] = field(default_factory=dict)


QUESTIONS: Mapping[Key, Question] = {
    question.key: question
    for question in (
        Question(
            "origin",
            {"pt": "De qual cidade você vai sair?", "en": "Which city will you leave from?"},
            {
                "pt": "Diga a cidade ou o código do aeroporto, por exemplo São Paulo ou GRU.",
                "en": "Name a city or an airport code, for example São Paulo or GRU.",
            },
            lambda _answers, _state: None,  # a city is looked up first: origin.py
        ),
        Question(
            "budget",
            {"pt": "Qual é o seu orçamento total, em reais?", "en": "What is your whole budget, in Brazilian reais?"},
            {
                "pt": "O orçamento precisa ser um valor maior que zero, por exemplo R$ 3.000.",
                "en": "The budget must be an amount above zero, for example R$ 3,000.",
            },
            _budget,
        ),
        Question(
            "passengers",
            {"pt": "Quantas pessoas vão viajar: adultos e crianças?", "en": "Who travels: how many adults and children?"},
            {
                "pt": "Preciso do número de adultos (pelo menos 1) e de crianças; juntos, no máximo 9.",
                "en": "I need the number of adults (at least 1) and of children; together 9 at most.",
            },
            _passengers,
            {
                "pt": ("1 adulto", "2 adultos", "2 adultos e 1 criança", "2 adultos e 2 crianças"),
                "en": ("1 adult", "2 adults", "2 adults and 1 child", "2 adults and 2 children"),
            },
        ),
        Question(
            "months",
            {"pt": "Em quais meses você pode viajar?", "en": "In which months can you travel?"},
            {
                "pt": "Diga um ou mais meses do ano, por exemplo março ou de junho a agosto.",
                "en": "Name one or more months of the year, for example March, or June to August.",
            },
            _same("months"),
            {
                "pt": ("Dezembro a fevereiro", "Março a maio", "Junho a agosto", "Setembro a novembro", "Qualquer mês"),
                "en": ("December to February", "March to May", "June to August", "September to November", "Any month"),
            },
        ),
        Question(
            "activities",
            {"pt": "O que você gostaria de fazer na viagem?", "en": "What would you like to do there?"},
            {"pt": "Por exemplo praia, trilhas, museus ou gastronomia.", "en": "For example beach, hiking, museums or food."},
            _same("activities"),
        ),
        Question(
            "purpose",
            {"pt": "Qual é o motivo da viagem?", "en": "What is the purpose of the journey?"},
            {
                "pt": "Por exemplo férias, lua de mel, trabalho ou família.",
                "en": "For example holidays, honeymoon, work or family.",
            },
            _same("purpose"),
        ),
        Question(
            "hobbies",
            {"pt": "Quais são os seus hobbies?", "en": "What are your hobbies?"},
            {"pt": "Por exemplo fotografia, leitura ou surfe.", "en": "For example photography, reading or surfing."},
            _same("hobbies"),
        ),
    )
}
