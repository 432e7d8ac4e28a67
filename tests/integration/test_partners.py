"""The scripted partners: what others' tests and a developer lean on."""

import secrets

import httpx2
import pytest

from chatapp.dev.partner_travel import CLIENT_ID, CLIENT_SECRET

NEXT_YEAR = "2999-05-01"


@pytest.fixture(scope="module")
def http(partners):
    """A client of theirs."""
    with httpx2.Client(base_url=partners, timeout=30) as client:
        yield client


@pytest.fixture
def key():
    """A key that nobody has used."""
    return secrets.token_hex(8)


def act(http, key, text="a note", name="clinical_note", **options):
    """Call an action's target."""
    return http.post(f"/actions/{name}", json={"text": text}, headers={"Idempotency-Key": key}, **options)


def status(http, key):
    """Ask what became of an action."""
    return http.get("/actions/clinical_note/status", params={"idempotency_key": key})


def test_an_action_is_carried_out_and_each_call_is_counted(http, key):
    """The same key again is told the same reference."""
    first, again = act(http, key).json(), act(http, key).json()
    assert first == {"status": "executed", "action": "clinical_note", "reference": first["reference"], "calls": 1}
    assert again == {**first, "calls": 2}
    kept = http.get("/actions").json()[key]
    assert (kept["name"], kept["calls"], kept["status"], kept["body"]) == ("clinical_note", 2, "executed", '{"text":"a note"}')
    assert status(http, key).json() == {"status": "executed", "reference": first["reference"], "calls": 2}


def test_an_error_means_that_an_action_was_not_carried_out(http, key):
    """A staged error is counted, and says when to come back."""
    answer = act(http, key, "[[status=429 retry_after=3]]")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert status(http, key).json()["status"] == "failed"
    assert status(http, "never called").status_code == 404


@pytest.mark.parametrize(("text", "became"), [("[[cut]]", "executed"), ("[[action cut status=500]]", "failed")])
def test_an_answer_that_never_comes_leaves_it_to_the_status(http, key, text, became):
    """The caller cannot tell whether it was carried out; the status call can."""
    with pytest.raises(httpx2.RemoteProtocolError):
        act(http, key, text)
    assert status(http, key).json()["status"] == became


def test_a_target_that_hangs_has_carried_it_out(http, key):
    """The caller's time-out is no sign that nothing happened."""
    with pytest.raises(httpx2.ReadTimeout):
        act(http, key, "[[action hang]]", timeout=0.2)
    assert status(http, key).json()["status"] == "executed"


def test_it_fails_as_often_as_it_is_told_to(http, key):
    """Then it is carried out."""
    assert [act(http, key, "[[fail=2]]").status_code for _ in range(3)] == [500, 500, 200]


def test_deliveries_are_kept_with_their_headers(http, key):
    """Refused ones too; directives for another partner do nothing."""
    headers = {"webhook-id": key}
    texts = ["hello", "[[action hang]]", "[[outbound fail=1 status=503]]", "[[outbound fail=1 status=503]]"]
    answers = [http.post("/outbound", json={"text": text}, headers=headers).status_code for text in texts]
    assert answers == [204, 204, 503, 204]
    mine = [d for d in http.get("/outbound").json()["deliveries"] if d["headers"].get("webhook-id") == key]
    assert [d["answered"] for d in mine] == answers
    assert mine[0]["body"] == '{"text":"hello"}'


def test_the_travel_api_wants_a_token_and_answers_in_amadeus_shapes(http):
    """A token for the right client only; cities with their airports; the same offers for the same question."""
    form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    assert http.post("/v1/security/oauth2/token", data={**form, "client_secret": "other"}).status_code == 401
    token = http.post("/v1/security/oauth2/token", data=form).json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    where, flights = "/v1/reference-data/locations", "/v2/shopping/flight-offers"
    params = {"subType": "CITY,AIRPORT", "keyword": "sao p"}
    assert http.get(where, params=params).status_code == 401
    found = http.get(where, params=params, headers=headers).json()["data"]
    assert [place["iataCode"] for place in found] == ["SAO", "GRU", "CGH", "VCP"]
    trip = {"originLocationCode": "SAO", "destinationLocationCode": "LIS", "departureDate": NEXT_YEAR, "adults": "2"}
    offers = http.get(flights, params={**trip, "currencyCode": "BRL", "max": "3"}, headers=headers)
    assert len(offers.json()["data"]) == 3
    assert offers.json()["data"][0]["price"]["currency"] == "BRL"
    assert http.get(flights, params={**trip, "currencyCode": "BRL", "max": "3"}, headers=headers).text == offers.text
    assert http.get(flights, params={**trip, "departureDate": "2001-01-01"}, headers=headers).status_code == 400
    assert http.get(where, params={**params, "keyword": "[[status=503]]"}, headers=headers).status_code == 503


def test_a_wrong_directive_is_named(http, key):
    """It is a 400 and not silence."""
    assert "status must be" in act(http, key, "[[status=1]]").json()["error"]
