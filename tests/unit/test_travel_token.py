"""The life of an access token, and what is asked of the travel API."""

import pytest

from chatapp.errors import ExternalRefused, ExternalUnavailable
from chatapp.travel.amadeus import Amadeus
from chatapp.travel.token import AccessToken
from tests.fakes import FakeClock


@pytest.fixture
def clock():
    """A clock that stands still."""
    return FakeClock()


def granting(clock, seconds=1_799):
    """Make a token of a source that counts."""
    asked = []

    def grant():
        asked.append(1)
        return {"access_token": f"t{len(asked)}", "expires_in": seconds}

    return AccessToken(grant, clock, wait_seconds=1), asked


def test_a_token_is_kept_until_shortly_before_its_end(clock):
    """Then, and not earlier, a new one is asked for."""
    token, asked = granting(clock)
    assert token.get() == token.get() == "t1"
    clock.sleep(1_768)
    assert token.get() == "t1"
    clock.sleep(2)
    assert token.get() == "t2"
    assert len(asked) == 2


def test_a_short_token_is_used_all_the_same(clock):
    """A life shorter than the margin does not mean a new token for each request."""
    token, _ = granting(clock, seconds=20)
    assert token.get() == token.get() == "t1"
    clock.sleep(11)
    assert token.get() == "t2"


def test_a_refused_token_is_dropped_once(clock):
    """Who learns late that the old one was refused does not throw away the new one."""
    token, _ = granting(clock)
    old = token.get()
    token.refused(old)
    assert token.get() == "t2"
    token.refused(old)
    assert token.get() == "t2"


@pytest.mark.parametrize("answer", [{}, {"access_token": 1, "expires_in": 5}, {"access_token": "a\r\nb", "expires_in": 5}])
def test_a_token_that_cannot_be_read_is_an_error(clock, answer):
    """It is not sent anywhere, least of all into a header."""
    with pytest.raises(ExternalUnavailable):
        AccessToken(lambda: answer, clock, wait_seconds=1).get()


@pytest.mark.parametrize(
    ("endpoint", "params"),
    [
        ("airports", {}),
        ("airports", {"keyword": "  "}),
        ("airports", {"keyword": "x" * 101}),
        ("airports", {"keyword": "x", "subType": "AIRPORT"}),
        ("flights", {"originLocationCode": "GRU", "path": "/v1/other"}),
    ],
)
def test_nothing_unknown_is_sent(clock, endpoint, params):
    """Only parameters that are known, of a length that makes sense; the address would not even answer."""
    amadeus = Amadeus("http://127.0.0.1:9", client_id="i", client_secret="s", clock=clock)
    with pytest.raises(ExternalRefused):
        getattr(amadeus, endpoint)(params)
    amadeus.close()
