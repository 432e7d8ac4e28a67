"""What a gateway sends, without a server: phone numbers, signatures, fingerprints and what is kept of unknown fields."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapp.doors import Doors
from chatapp.errors import BadSignature, InFlight
from chatapp.incoming.messages import MAX_KEPT_BYTES, IngestedMessage, TemplateFired, e164
from chatapp.incoming.signature import Signatures, sign
from config.settings import Settings

SETTINGS = Settings(_env_file=None)
DIGITS = st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True)


def read(model=IngestedMessage, **fields):
    """Read a body as the views do."""
    given = {"message_id": "1", "phoneNumber": "+5511987654321", "text": "oi", **fields}
    return model.model_validate(given, strict=True, context=SETTINGS)


@settings(max_examples=50)
@given(digits=DIGITS, prefix=st.sampled_from(["", "+", "00"]), marks=st.lists(st.sampled_from(" .-()\u00a0"), max_size=8))
def test_every_spelling_of_a_number_is_one_number(digits, prefix, marks):
    """Whatever punctuation stands where."""
    spelled = list(prefix + digits)
    for place, mark in enumerate(marks):
        spelled.insert(place * 2 % (len(spelled) + 1), mark)
    assert e164("".join(spelled)) == "+" + digits


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_what_is_no_number_is_refused_without_being_repeated(text):
    """No letter makes a number."""
    with pytest.raises(ValueError, match=r"^is not an international phone number, as \+5511999999999$"):
        e164(f"x{text}")


@settings(max_examples=50)
@given(body=st.binary(max_size=200), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_signature_is_of_every_bit(body, place, bit):
    """A body passes with its own signature, and no other does."""
    signatures = Signatures(["old", "new"])
    signed = sign(b"new", body)
    signatures.check(body, signed)
    changed = bytearray(body or b"x")
    if body:
        changed[place % len(body)] ^= 1 << bit
    with pytest.raises(BadSignature):
        signatures.check(bytes(changed), signed)


JSON = st.none() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.floats() | st.just("é" * 2_000), max_size=3)
NAMES = st.text(max_size=9).filter(lambda name: name not in ("message_id", "phoneNumber", "text"))


@settings(max_examples=50)
@given(st.dictionaries(NAMES, JSON, max_size=6))
def test_unknown_fields_are_kept_within_bounds_and_change_nothing(others):
    """As strict JSON; the fingerprint is that of the message alone."""
    plain, message = read(), read(**others)
    assert message.fingerprint == plain.fingerprint
    said, *rest = message.parts()
    assert said == {"kind": "text", "text": "oi"}
    assert bool(rest) == bool(others)
    for part in rest:
        kept = json.loads(part["fields"], parse_constant=pytest.fail)
        assert len(part["fields"].encode()) <= MAX_KEPT_BYTES
        assert kept.keys() <= others.keys()
        assert len(kept) + part.get("dropped", 0) == len(others)


def test_two_kinds_of_messages_never_have_one_fingerprint():
    """Even if they say the same."""
    fired = {"template": "t", "text": None}
    assert read(TemplateFired, **fired).fingerprint != read().fingerprint
    assert read(TemplateFired, **fired).fingerprint == read(TemplateFired, **fired, more=1).fingerprint
    assert read(TemplateFired, **fired).fingerprint != read(TemplateFired, template="other", text=None).fingerprint


def test_who_waits_at_a_door_for_too_long_goes_away():
    """Another door is free; and this one, once whoever was first has left."""
    doors = Doors(InFlight)
    with doors.through("a", seconds=0):
        with doors.through("b", seconds=0):
            pass
        with pytest.raises(InFlight), doors.through("a", seconds=0.01):
            pass
    with doors.through("a", seconds=0):
        pass
