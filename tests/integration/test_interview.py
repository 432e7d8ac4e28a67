"""The interview through the real services, over the emulator and the scripted model server."""

import json

import pytest

from chatapp.errors import ExternalUnavailable
from chatapp.flows.interview.questions import QUESTIONS
from chatapp.flows.interview.state import InterviewState
from chatapp.live.following import OWN_LOG
from chatapp.model import JobId, Status
from tests.conversations import CONVERSATIONS, Conversation
from tests.integration.interview_kit import Talk, travelling
from tests.integration.test_flow_steps import change_state


def told(services, session_id):
    return [json.loads(text) for text in services.events.read(JobId(session_id, OWN_LOG))]


def location(code, city, country="BR", kind="CITY"):
    """A city or airport, as Amadeus writes it."""
    return {"iataCode": code, "name": city, "subType": kind, "address": {"cityName": city, "countryCode": country}}


class Partners:
    """The travel APIs: answers by endpoint, or none at all; `asked` is what they were asked."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def cached_get(self, endpoint, params):
        self.asked.append((endpoint, dict(params)))
        if endpoint not in self.answers:
            raise ExternalUnavailable("away")
        return self.answers[endpoint]


@pytest.fixture(scope="module")
def settings(settings, partners):
    """With the scripted travel API."""
    return settings.model_copy(update=travelling(partners))


@pytest.fixture
def talk(services, user):
    """Begin a conversation, whose turns are answered here. Returns: what says its messages, and is given the turn as it ends."""

    def talk(*messages, language="pt", external=None, begin=True):
        if external is not None:
            services.answer._external = external
        talking = Talk(services, user, Conversation("", messages, {}, 0, language))
        if begin:
            services.answer(talking.job_id)
        return talking

    return talk


def say_all(services, talking):
    """Say what is left, and give the turns."""
    turns = []
    while job_id := talking.say_next():
        services.answer(job_id)
        turns.append(services.turns.get(job_id))
    return turns


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda c: c.name)
def test_a_conversation_ends_in_the_expected_profile(services, user, conversation):
    """Whatever the order, the mistakes and the language."""
    talking = Talk(services, user, conversation)
    services.answer(talking.job_id)
    assert "?" in talking.turn.answer
    offered = talking.turn.quick_replies
    for message in conversation.messages:
        if conversation.name.startswith("quick replies") and offered:
            assert message in offered
        services.answer(talking.say_next())
        assert talking.turn.status is Status.COMPLETED
        offered = talking.turn.quick_replies
    talking.check()
    assert ("voos a partir de R$ " in talking.turn.answer) or ("flights from R$ " in talking.turn.answer)


def test_every_change_of_the_profile_is_told(services, talk):
    """`profile_updated` says how far the interview is, under the version that was stored."""
    talking = talk("Recife", "3000")
    say_all(services, talking)
    events = [e for e in told(services, talking.session_id) if e["type"] == "profile_updated"]
    assert [(e["current_question_index"], e["questions_asked"], e["version"]) for e in events] == [
        (0, 1, 1),
        (1, 2, 2),
        (2, 3, 3),
    ]
    assert events[-1]["profile"]["budget"] == 3_000
    assert events[-1]["interview_complete"] is False
    assert events[-1]["recommended_destination"] is None


def test_several_cities_of_a_name_are_offered_and_one_is_chosen(services, talk):
    """What the airport API finds decides, and the choice needs no further look-up."""
    found = {
        "data": [location("SJO", "SAN JOSE", "CR"), location("SJC", "SAN JOSE", "US"), location("SFO", "SAN FRANCISCO", "US")]
    }
    external = Partners(airports=found)
    talking = talk("San José", "San José, US (SJC)", language="en", external=external)
    first, second = say_all(services, talking)
    assert first.quick_replies == ("San José, CR (SJO)", "San José, US (SJC)")
    assert talking.session.state["ProfileData"]["origin"] == {"city": "San José, US", "iata": "SJC"}
    assert second.answer.startswith("Noted: leaving from San José, US (SJC).")
    assert external.asked == [("airports", {"keyword": "SAN JOSE"})]


def test_an_unknown_city_is_asked_again(services, talk):
    """Nothing is made up for a city without an airport."""
    talking = talk("Atlântida", external=Partners(airports={"data": []}))
    (turn,) = say_all(services, talking)
    assert "Não encontrei um aeroporto em Atlântida" in turn.answer
    assert talking.session.state["ProfileData"]["origin"] is None


@pytest.mark.parametrize("answer", [{"data": "no list"}, {"data": [{"iataCode": "X"}]}, "text", None])
def test_an_airport_api_that_answers_nonsense_is_done_without(services, talk, answer):
    """The interview goes on with what the user said, and the model's code."""
    talking = talk("São Paulo", external=Partners(airports=answer))
    say_all(services, talking)
    assert talking.session.state["ProfileData"]["origin"] == {"city": "São Paulo", "iata": "SAO"}


ALL_BUT_ORIGIN = "3 mil reais, 2 adultos e 1 criança, em julho, praia, férias; hobbies: xadrez"


def test_the_cheapest_flight_is_named(services, talk):
    """The flight search is asked for everybody, from the city's code, in a month to come."""
    prices = [{"price": {"currency": "BRL", "grandTotal": total}} for total in ("1900.00", "1234.50")]
    external = Partners(airports={"data": [location("SAO", "SAO PAULO")]}, flights={"data": prices})
    talking = talk(ALL_BUT_ORIGIN, "São Paulo", external=external)
    turn = say_all(services, talking)[-1]
    assert "a partir de R$ 1.234,50" in turn.answer
    endpoint, params = external.asked[-1]
    day = params.pop("departureDate")
    assert endpoint == "flights"
    assert day[4:] == "-07-15"
    assert params == {
        "originLocationCode": "SAO",
        "destinationLocationCode": "FLN",
        "adults": 2,
        "children": 1,
        "currencyCode": "BRL",
        "max": 5,
    }
    destination = talking.session.state["RecommendedDestination"]
    assert (destination["price"], destination["currency"], destination["departure_date"]) == (1234.5, "BRL", day)


@pytest.mark.parametrize("answers", [{}, {"flights": {"data": []}}, {"flights": {"data": [{"price": {"grandTotal": "much"}}]}}])
def test_without_a_price_the_recommendation_stands(services, talk, answers):
    """And the answer says so."""
    talking = talk(ALL_BUT_ORIGIN, "São Paulo", external=Partners(**answers))
    turn = say_all(services, talking)[-1]
    assert "Minha recomendação é Florianópolis (FLN)" in turn.answer
    assert "Não consegui consultar o preço" in turn.answer


def test_what_a_webhook_changed_meanwhile_is_kept(services, talk):
    """The turn's change is applied to the state as it stands: neither side is lost, and the index follows from both."""
    talking = talk("Recife")
    external = Partners()

    def meanwhile(endpoint, params):
        if not external.asked:
            change_state(services, talking.session_id, lambda state: state | {"ProfileData": {"budget": 900}, "Else": 1})
        return Partners.cached_get(external, endpoint, params)

    external.cached_get = meanwhile
    services.answer._external = external
    say_all(services, talking)
    state = talking.session.state
    assert state["ProfileData"]["origin"] == {"city": "Recife", "iata": "REC"}
    assert (state["ProfileData"]["budget"], state["Else"], state["CurrentQuestionIndex"]) == (900, 1, 2)


def test_a_malformed_answer_is_tried_again_and_changes_nothing(services, talk):
    """AnswerMalformed is transient; the state is as it was."""
    talking = talk("[[json=garbage]]")
    before = talking.session.state
    services.answer(talking.say_next())
    turn = talking.turn
    assert (turn.status, turn.failures, turn.error["code"]) == (Status.QUEUED, 1, "answer_malformed")
    assert talking.session.state == before


@pytest.mark.parametrize(
    "said",
    [
        {"budget": -5, "adults": 0, "months": [13]},
        {"budget": 1e300, "adults": 10, "months": [0, 1]},
        {"budget": 0.4, "adults": 5, "children": 5, "months": [-1]},
    ],
)
def test_wrong_values_are_named_all_at_once(services, talk, said):
    """Whatever the model reads, what cannot be is not taken."""
    talking = talk(f"[[json={json.dumps(said | {'purpose': 'x' * 500})} ]]")
    (turn,) = say_all(services, talking)
    assert all(QUESTIONS[key].hint["pt"] in turn.answer for key in ("budget", "passengers", "months"))
    profile = talking.session.state["ProfileData"]
    assert (profile["budget"], profile["passengers"], profile["months"]) == (None, None, None)
    assert len(profile["purpose"]) == 80


def test_after_the_end_answers_may_change_and_another_destination_be_wanted(services, talk):
    """A changed answer is recommended for anew, a word of thanks is not; what was not wanted is not named again."""
    talking = talk(f"São Paulo, {ALL_BUT_ORIGIN}", "ok", "na verdade somos 3 adultos", "outro destino", "outro destino")
    calls = []
    llm = services.llm

    class Counted:
        def stream(self, request):
            calls.append(request.answer.name)
            return llm.stream(request)

    services.answer._llm = Counted()
    turns = say_all(services, talking)
    assert [turn.status for turn in turns] == [Status.COMPLETED] * 5
    assert calls == ["Answers", "Recommendation", "Answers", *["Answers", "Recommendation"] * 3]
    assert "continua: Florianópolis" in turns[1].answer
    state = talking.session.state
    assert state["ProfileData"]["passengers"] == {"adults": 3, "children": 1}
    assert state["PastDestinations"][0] == "Florianópolis"
    assert len({*state["PastDestinations"], state["RecommendedDestination"]["name"]}) == 3


def test_an_answer_that_was_changed_from_outside_is_recommended_for_anew(services, talk):
    """With the next message, whatever that says."""
    talking = talk(f"São Paulo, {ALL_BUT_ORIGIN}", "ok", "ok")
    services.answer(talking.say_next())
    change_state(
        services,
        talking.session_id,
        lambda state: state | {"ProfileData": {**state["ProfileData"], "budget": 90_000, "activities": ["neve", "esqui"]}},
    )
    second, third = say_all(services, talking)
    assert "Minha recomendação é Bariloche (BRC)" in second.answer
    assert "continua: Bariloche" in third.answer


def test_an_interview_may_begin_with_a_message(services, talk, user, submit):
    """`POST /chat` with the flow's name: the message is read as every other."""
    job_id = submit("Saindo de Recife com 3 mil reais", flow="interview").job_id
    services.answer(job_id)
    state = InterviewState.of(services.sessions.get(job_id.session_id).state)
    assert (state.profile_data.origin.city, state.profile_data.budget, state.question) == ("Recife", 3_000, "passengers")
