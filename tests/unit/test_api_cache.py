"""How questions to external APIs are named."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.live.api_cache import ApiCache, name_of

PARAMS = st.dictionaries(st.text(), st.one_of(st.integers(), st.booleans(), st.text(), st.lists(st.text())), max_size=6)


@given(PARAMS)
def test_the_order_of_parameters_does_not_matter(params):
    """Whoever writes them down differently asks the same."""
    assert name_of("flights", params) == name_of("flights", dict(reversed(params.items())))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"q": "S\u00e3o"}, {"q": "Sa\u0303o"}),
        ({"q": "x", "children": None}, {"q": "x"}),
        ({"max": 5}, {"max": 5.0}),
        ({"months": [1, 2]}, {"months": (1, 2)}),
        ({"on": date(2027, 1, 2)}, {"on": "2027-01-02"}),
    ],
)
def test_what_means_the_same_has_one_name(one, other):
    """Unicode's forms, absent values, whole numbers, sequences and dates."""
    assert name_of("e", one) == name_of("e", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n": 1}, {"n": "1"}),
        ({"n": 1}, {"n": True}),
        ({"a": "b"}, {"b": "a"}),
        ({"q": ["a", "b"]}, {"q": ["a,b"]}),
        ({}, {"q": ""}),
    ],
)
def test_what_may_mean_something_else_has_another_name(one, other):
    """An API may tell a number from a text: an answer is never given to another question."""
    assert name_of("e", one) != name_of("e", other)
    assert name_of("e", one) != name_of("f", one)


def test_a_name_does_not_hold_what_was_asked():
    """What a user says does not become part of a key."""
    name = name_of("intent", {"text": "maria 5551999", "phone": "+5551999"})
    endpoint, _, hashed = name.partition(":")
    assert endpoint == "intent"
    assert len(hashed) == 32
    assert int(hashed, 16)


@pytest.mark.parametrize("endpoint", ["", "a:b", "a*", "A", "a b", "x" * 65])
def test_an_endpoint_is_a_plain_word(endpoint):
    """It stands in keys, and in patterns."""
    with pytest.raises(ValueError, match="endpoint"):
        name_of(endpoint, {})


def test_what_is_no_parameter_is_refused():
    """Rather than named after its address in memory."""
    with pytest.raises(TypeError):
        name_of("e", {"x": object()})


@pytest.mark.parametrize("pattern", ["", "*:*:*", "api_cache:x y", "[a-z]", "a:zz", "{a}"])
def test_a_pattern_is_one_of_ours(pattern):
    """Nothing of Redis' own language gets through, and no other key is in reach."""
    with pytest.raises(ValueError, match="pattern"):
        ApiCache(None, None, seconds=1, stale_seconds=1).invalidate(pattern)
