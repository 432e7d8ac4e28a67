"""Events as clients see them."""

import hashlib
from dataclasses import replace

import pytest

from chatapp.model import EventId, Status, Usage
from chatapp.payloads import MAX_EVENT_TEXT, terminal_event
from tests.unit.test_history import turn

ENDED = replace(
    turn(3),
    status=Status.COMPLETED,
    end_id=EventId(2, 9),
    ended_at=1000,
    usage=Usage(1, 2),
    finish_reason="stop",
    answer_model="m",
)


def test_the_end_is_the_same_however_often_it_is_made():
    """The terminal event is made from the item alone."""
    made = terminal_event(ENDED)
    assert made == terminal_event(ENDED)
    assert (made["type"], made["id"], made["text"], made["finish_reason"]) == ("message_completed", "2-9", "a", "stop")


def test_a_long_answer_is_named_and_not_sent():
    """Over 48 KB the event says what to fetch from the job."""
    text = "é" * MAX_EVENT_TEXT
    made = terminal_event(replace(ENDED, answer=text))
    assert made["text"] is None
    assert made["text_length"] == len(text)
    assert made["text_sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_failed_turn_ends_in_an_error():
    """The event has the code, the message and whether to try again."""
    error = {"code": "provider_unavailable", "message": "no", "retryable": True}
    made = terminal_event(replace(ENDED, status=Status.FAILED, error=error))
    assert made["type"] == "error"
    assert error.items() <= made.items()


def test_a_cancelled_turn_keeps_its_partial_text():
    """What was said before the cancel is in the event."""
    made = terminal_event(replace(ENDED, status=Status.CANCELLED, answer="half"))
    assert (made["type"], made["text"]) == ("message_cancelled", "half")


def test_an_open_turn_has_no_end():
    """Asking for it is a fault of the caller."""
    with pytest.raises(ValueError, match="has not ended"):
        terminal_event(turn(1))
