"""The travel API's adapter against the scripted Amadeus, and its place in a process."""

import secrets
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from chatapp.clock import SystemClock
from chatapp.dev.partner_travel import CLIENT_ID, CLIENT_SECRET
from chatapp.dev.ports import free_port
from chatapp.errors import ExternalRefused, ExternalUnavailable
from chatapp.services import build
from chatapp.travel.amadeus import Amadeus
from config.settings import Settings
from tests.faults.proxy import FaultProxy

TRIP = {"originLocationCode": "GRU", "destinationLocationCode": "LIS", "departureDate": "2999-05-01", "adults": 2, "children": 1}


@pytest.fixture
def amadeus(partners):
    """A process's client, without a token yet."""
    made = Amadeus(partners, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, clock=SystemClock())
    yield made
    made.close()


@pytest.fixture
def asked(partners):
    """What has been asked since the test began."""
    before = httpx2.get(f"{partners}/stats").json()
    return lambda kind: httpx2.get(f"{partners}/stats").json()[kind] - before[kind]


def test_cities_and_airports_are_found(amadeus):
    """A city with several airports, written with accents or without."""
    found = amadeus.airports({"keyword": "São Paulo"})["data"]
    assert [(place["subType"], place["iataCode"]) for place in found] == [
        ("CITY", "SAO"),
        ("AIRPORT", "GRU"),
        ("AIRPORT", "CGH"),
        ("AIRPORT", "VCP"),
    ]
    assert {place["address"]["cityName"] for place in found} == {"SAO PAULO"}
    assert amadeus.airports({"keyword": "nowhere at all"})["data"] == []


def test_flights_are_offered(amadeus):
    """For all passengers, in the currency that was asked for."""
    offers = amadeus.flights({**TRIP, "currencyCode": "BRL", "max": 3})["data"]
    assert len(offers) == 3
    prices = [float(offer["price"]["grandTotal"]) for offer in offers]
    assert prices == sorted(prices)
    assert len(offers[0]["travelerPricings"]) == 3
    assert offers[0]["itineraries"][0]["segments"][0]["arrival"]["iataCode"] == "LIS"


def test_many_who_need_a_token_ask_for_one(amadeus, asked):
    """It is kept for the next ones too."""
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda n: amadeus.flights({**TRIP, "adults": 1 + n % 5}), range(40)))
    assert (asked("tokens"), asked("flights")) == (1, 40)


def test_a_token_that_was_revoked_is_renewed_once(amadeus, asked, partners):
    """The request is repeated with the new one, and nobody notices."""
    amadeus.flights(TRIP)
    httpx2.post(f"{partners}/amadeus/revoke").raise_for_status()
    with ThreadPoolExecutor(10) as pool:
        assert all(answer["data"] for answer in pool.map(lambda _: amadeus.flights(TRIP), range(10)))
    assert asked("tokens") == 2


def test_a_token_that_is_refused_again_is_an_error(amadeus, asked):
    """There is one second try and no third."""
    with pytest.raises(ExternalUnavailable):
        amadeus.airports({"keyword": "x [[status=401]]"})
    assert (asked("tokens"), asked("airports")) == (2, 2)


def test_wrong_credentials(partners):
    """The detail names neither them nor the address."""
    amadeus = Amadeus(partners, client_id=CLIENT_ID, client_secret="wrong-secret", clock=SystemClock())
    with pytest.raises(ExternalUnavailable) as caught:
        amadeus.flights(TRIP)
    assert caught.value.detail == "The travel API does not accept our credentials"
    amadeus.close()


@pytest.mark.parametrize("fault", ["status=500", "status=503", "status=403", "cut"])
def test_an_api_that_is_away(amadeus, fault):
    """Whatever it does, one error of ours comes out, which does not repeat what the user has said."""
    with pytest.raises(ExternalUnavailable) as caught:
        amadeus.airports({"keyword": f"maria [[{fault}]]"})
    assert not isinstance(caught.value, ExternalRefused)
    assert "maria" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_word_to_slow_down_is_handed_on(amadeus):
    """With its seconds."""
    with pytest.raises(ExternalUnavailable) as caught:
        amadeus.airports({"keyword": "x [[status=429 retry_after=7]]"})
    assert caught.value.retry_after == 7


def test_a_question_that_makes_no_sense_is_refused(amadeus):
    """Asking again would not help, and the API is not away."""
    with pytest.raises(ExternalRefused):
        amadeus.flights({**TRIP, "departureDate": "2001-01-01"})


def test_a_silent_api_is_given_up(partners):
    """Within its seconds, however it keeps silent."""
    with FaultProxy(int(partners.rsplit(":", 1)[1])) as proxy:
        amadeus = Amadeus(f"http://127.0.0.1:{proxy.port}", client_id=CLIENT_ID, client_secret=CLIENT_SECRET, clock=SystemClock())
        amadeus._api._client.timeout = httpx2.Timeout(0.2)
        with pytest.raises(ExternalUnavailable, match="ReadTimeout"):
            amadeus.airports({"keyword": "x [[hang]]"})
        proxy.refuse()
        with pytest.raises(ExternalUnavailable):
            amadeus.flights(TRIP)
        amadeus.close()


@pytest.fixture
def process(valkey, partners):
    """Make what a process has, with or without a travel API."""
    made = []

    def process(address=partners):
        amadeus = {"amadeus_client_id": CLIENT_ID, "amadeus_client_secret": CLIENT_SECRET, "amadeus_base_url": address}
        settings = Settings.model_validate({"env": "test", "redis_url": valkey, **(amadeus if address else {})})
        made.append(build(settings))
        return made[-1]

    yield process
    for services in made:
        services.redis.close()


def test_a_process_has_airports_and_flights(process, asked):
    """Two processes, one question, one call."""
    params = {"keyword": f"x{secrets.token_hex(4)}"}
    assert process().external.cached_get("airports", params) == process().external.cached_get("airports", params)
    assert asked("airports") == 1


def test_without_a_travel_api_there_is_none(process):
    """The interview does without."""
    with pytest.raises(ExternalUnavailable, match="No API is configured"):
        process(None).external.cached_get("airports", {"keyword": "x"})


def test_an_api_that_fails_again_and_again_is_left_alone(process):
    """The breaker opens for other questions too, and the whole fleet knows."""
    services = process(f"http://127.0.0.1:{free_port()}")
    for n in range(6):
        with pytest.raises(ExternalUnavailable, match="could not be asked"):
            services.external.cached_get("airports", {"keyword": f"{n}{secrets.token_hex(4)}"})
    with pytest.raises(ExternalUnavailable, match="is not asked for now") as caught:
        services.external.cached_get("flights", {**TRIP, "adults": 3})
    assert caught.value.retry_after > 0


def test_refused_questions_do_not_open_the_breaker(process, asked):
    """What users make up is no sign that the API is away."""
    external = process().external
    for n in range(7):
        with pytest.raises(ExternalRefused):
            external.cached_get("flights", {**TRIP, "departureDate": f"2001-01-{n + 1:02}"})
    assert asked("flights") == 7
