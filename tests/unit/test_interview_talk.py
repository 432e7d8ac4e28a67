"""What the interview says, message by message, with the scripted model and travel API."""

import pytest

from chatapp.dev.forms import FORMS
from chatapp.errors import AnswerMalformed
from tests.unit.interview_stage import Said, hold

ALL_PT = "Saindo de São Paulo com 8 mil, 1 adulto, junho, praia e trilhas, férias. Hobby: fotografia"
ALL_EN = "Leaving from São Paulo, budget 100, 1 adult, June, beach and hiking, holidays. Hobby: reading"


def named(turn: Said) -> str:
    """Say which destination stands after a turn."""
    name: str = turn.state["RecommendedDestination"]["name"]
    return name


def test_a_destination_that_was_not_wanted_is_never_named_again() -> None:
    """Not when an answer changes later, nor when only the recommendation is asked for."""
    first, second, third, fourth = hold((ALL_PT, "outro destino", "na verdade o orçamento é 500", "obrigado"), "pt")[1:]
    rejected = named(first)
    assert named(second) != rejected
    for turn in (second, third, fourth):
        assert rejected not in turn.answer
    assert third.state["RejectedDestinations"] == [{"name": rejected, "iata": first.state["RecommendedDestination"]["iata"]}]


def test_who_rejects_all_that_the_model_knows_is_told_so() -> None:
    """The last one is not brought up again either."""
    held = hold((ALL_PT, *["outro destino"] * 8, "obrigado"), "pt")[1:]
    seen = []
    for turn in held:
        if "Minha recomendação é" in turn.answer:
            assert named(turn) not in seen
            seen.append(named(turn))
    assert len(seen) > 3
    for turn in held[-2:]:
        assert "Não encontrei outro destino" in turn.answer
        assert not any(name in turn.answer for name in seen)


def test_nothing_is_claimed_about_the_budget_but_what_the_price_tells() -> None:
    """The state says it too, for who shows the recommendation."""
    dear, cheap = hold((ALL_EN,), "en")[-1], hold((ALL_EN.replace("100", "90,000"),), "en")[-1]
    assert "That is over your budget." in dear.answer
    assert dear.answer.count("budget") == 1
    assert "budget" not in cheap.answer
    assert [turn.state["RecommendedDestination"]["over_budget"] for turn in (dear, cheap)] == [True, False]
    assert "budget" not in dear.state["RecommendedDestination"]["reason"]


@pytest.mark.parametrize("found", [("São Paulo", "SAO"), ("sao paulo", "VCP"), ("Guarulhos", "GRU")])
def test_the_city_that_the_journey_begins_in_is_no_destination(monkeypatch: pytest.MonkeyPatch, found: tuple[str, str]) -> None:
    """By its name or its code: one of its airports has another."""
    answer = {"destination": found[0], "iata": found[1], "reason": ""}
    monkeypatch.setitem(FORMS, "Recommendation", lambda _messages: answer)
    with pytest.raises(AnswerMalformed):
        hold((ALL_PT.replace("São Paulo", "GRU"),), "pt")


@pytest.mark.parametrize("message", ["Olá", "oi", "hmm"])
def test_who_begins_with_words_that_are_no_answer_is_greeted_and_asked(message: str) -> None:
    """As who begins without words: the same text."""
    (first,) = hold((message,), "pt", greeted=False)
    assert first.answer == hold((), "pt")[0].answer


def test_who_begins_with_answers_is_greeted_too() -> None:
    """Once, and before what was noted."""
    first, second = hold(("Saindo de Recife com 3 mil reais", "hmm"), "pt", greeted=False)
    assert first.answer.startswith("Olá! Vou fazer algumas perguntas")
    assert "Anotado: saindo de Recife (REC); R$ 3.000. Quantas pessoas" in first.answer
    assert second.answer.startswith("Não encontrei uma resposta nessa mensagem.")


@pytest.mark.parametrize(
    ("message", "city", "noted"),
    [
        ("Saindo de Xyzópolis com 8 mil", "Xyzópolis", "R$ 8.000"),
        ("moro em Santa Rita do Oeste, somos 2 adultos", "Santa Rita do Oeste", "2 adultos"),
        ("I am leaving from Xyztown with 8k", "Xyztown", "R$ 8.000"),
    ],
)
def test_a_city_without_an_airport_is_told_beside_other_answers(message: str, city: str, noted: str) -> None:
    """What was right is kept, and the city is asked for again."""
    turn = hold((message,), "pt")[-1]
    assert f"Anotado: {noted}. Não encontrei um aeroporto em {city}. " in turn.answer
    assert turn.answer.endswith("De qual cidade você vai sair?")


@pytest.mark.parametrize("message", ["leaving from Xyztown", "I live in Xyztown", "Xyztown", "Saindo de Xyztown."])
def test_only_the_name_of_an_unknown_city_is_repeated(message: str) -> None:
    """Not the words around it."""
    assert "I found no airport in Xyztown. " in hold((message,), "en")[-1].answer


def test_months_to_leave_in_are_no_city() -> None:
    """They begin with capitals in English."""
    profile = hold(("Leaving in June",), "en")[-1].state["ProfileData"]
    assert (profile["origin"], profile["months"]) == (None, [6])


@pytest.mark.parametrize(
    "hobbies",
    ["hobbies: cooking, chess", "Hobbies are cooking and chess", "My hobbies: cooking, chess.", "cooking, chess"],
)
def test_a_label_is_no_part_of_an_answer(hobbies: str) -> None:
    """Whether the question was asked or not."""
    known = "From São Paulo, budget 9000, 1 adult, June"
    held = hold((known, "activities: climbing, karting", "purpose: congress", hobbies), "en")
    profile = held[-1].state["ProfileData"]
    assert (profile["activities"], profile["purpose"]) == (["climbing", "karting"], "congress")
    assert profile["hobbies"] == ["cooking", "chess"]


@pytest.mark.parametrize(
    ("message", "language", "words"),
    [
        ("Quanto custa um hotel?", "pt", "O preço do voo eu procuro junto com a recomendação"),
        ("Why do you want to know?", "en", "So that the recommendation suits what you tell me."),
        ("What do you do?", "en", "I am an interviewer"),
        ("What do you do?", "pt", "Sou um entrevistador"),
        ("Quem ganhou a Copa de 94?", "pt", "Sou um entrevistador: faço sete perguntas"),
        ("???", "pt", "Por aqui só consigo planejar a sua viagem"),
    ],
)
def test_a_question_back_is_answered_and_the_own_one_asked_again(message: str, language: str, words: str) -> None:
    """In a sentence of the model's, or of the flow's own where it has none."""
    turn = hold(("Recife", message), language)[-1]
    assert turn.answer.startswith(words)
    assert turn.answer.endswith(hold(("Recife",), language)[-1].answer.partition(". ")[2])


def test_what_was_known_already_is_confirmed() -> None:
    """Who says it again hears that it was heard."""
    assert hold(("Recife", "3 mil reais", "2 adultos", "2 adultos"), "pt")[-1].answer.startswith("Anotado: 2 adultos. Em quais")


def test_a_budget_in_another_currency_is_asked_for_in_reais() -> None:
    """And what was known of it stands."""
    unknown, known = hold(("From Recife with $3,000, 2 adults", "5k reais", "make it 900 euros"), "en")[1::2]
    assert "did not convert USD. Please tell the amount in R$. What is your whole budget" in unknown.answer
    assert "did not convert EUR." in known.answer
    assert known.state["ProfileData"]["budget"] == 5_000


ANSWERS = {
    "origin": "Recife",
    "budget": "4 mil",
    "passengers": "2 adultos e 1 criança",
    "months": "março",
    "activities": "praia e museus",
    "purpose": "férias",
    "hobbies": "xadrez",
}


@pytest.mark.parametrize(
    ("asked", "message", "key", "value"),
    [
        ("origin", "Londres", "origin", {"city": "Londres", "iata": "LON"}),
        ("origin", "do Rio", "origin", {"city": "Rio de Janeiro", "iata": "RIO"}),
        ("origin", "saio de Campinas, ou melhor, de Natal", "origin", {"city": "Natal", "iata": "NAT"}),
        ("origin", "cinco mil reais", "budget", 5_000),
        ("origin", "quero ir para Paris", "origin", None),
        ("origin", "ler e cozinhar", "origin", None),
        ("origin", "semana que vem", "months", [11]),
        ("budget", "dez mil e quinhentos", "budget", 10_500),
        ("budget", "oitocentos reais", "budget", 800),
        ("budget", "five thousand", "budget", 5_000),
        ("budget", "1.2.3", "budget", 1),
        ("passengers", "um casal e um bebê", "passengers", {"adults": 2, "children": 1}),
        ("passengers", "somos oito", "passengers", {"adults": 8, "children": 0}),
        ("passengers", "there are four of us, two kids", "passengers", {"adults": 2, "children": 2}),
        ("passengers", "another one", "passengers", None),
        ("months", "mais uma criança", "passengers", {"adults": 2, "children": 2}),
        ("months", "mais 2 adultos", "passengers", {"adults": 4, "children": 1}),
        ("months", "entre novembro e janeiro", "months", [1, 11, 12]),
        ("months", "verão", "months", [1, 2, 12]),
        ("months", "mês que vem", "months", [12]),
        ("months", "tanto faz", "months", list(range(1, 13))),
        ("months", "dez ou jan", "months", [1, 12]),
        ("activities", "não, 3 adultos e não 2", "passengers", {"adults": 3, "children": 1}),
        ("activities", "not two adults, three", "passengers", {"adults": 3, "children": 1}),
        ("activities", "não somos 2, somos 3", "passengers", {"adults": 3, "children": 1}),
        ("activities", "janeiro também", "months", [1, 3]),
        ("activities", "change the city to Lisbon", "origin", {"city": "Lisbon", "iata": "LIS"}),
        ("hobbies", "na verdade saio de Natal", "origin", {"city": "Natal", "iata": "NAT"}),
        (None, "não quero praia, quero montanha", "activities", ["museus", "montanha"]),
        (None, "adicione trilhas", "activities", ["praia", "museus", "trilhas"]),
    ],
)
def test_a_traveller_is_read_as_travellers_write(asked: str | None, message: str, key: str, value: object) -> None:
    """The scripted model knows what people type first."""
    keys = list(ANSWERS)
    answered = keys[: keys.index(asked)] if asked else keys
    assert hold((*(ANSWERS[k] for k in answered), message), "pt")[-1].state["ProfileData"][key] == value
