"""Reading dead letters, which may hold anything, and showing them."""

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from chatapp.cli.operating import age, inert, table
from chatapp.deadletters import Kind, _letter
from chatapp.model import JobId, new_session_id

JOB = JobId(new_session_id(), 3)
NAMES = ("Reason", "Detail", "JobId", "Attempt", "Queue", "Kind", "DeadAt")

attributes = st.dictionaries(
    st.sampled_from(NAMES) | st.text(max_size=5),
    st.fixed_dictionaries({"DataType": st.just("String"), "StringValue": st.text(max_size=30)})
    | st.fixed_dictionaries({"DataType": st.just("Binary"), "BinaryValue": st.binary(max_size=9)}),
)


def read(body="x", **told):
    strings = {k: {"DataType": "String", "StringValue": v} for k, v in told.items()}
    system = {"SentTimestamp": "1000", "ApproximateReceiveCount": "2"}
    return _letter({"MessageId": "m", "ReceiptHandle": "r", "Body": body, "Attributes": system, "MessageAttributes": strings})


@given(st.text() | st.binary().map(lambda b: base64.b64encode(b).decode()), attributes)
def test_anything_can_be_read(body, told):
    """Anybody with rights on the queue may have put it there."""
    message = {"MessageId": "m", "ReceiptHandle": "r", "Body": body, "MessageAttributes": told}
    assert _letter(message).body == body


def test_what_we_put_there_is_read_as_it_was_meant():
    """Every attribute."""
    letter = read(Reason="crashed", Detail="d", JobId=str(JOB), Attempt="7", Kind="turn", DeadAt="2026-11-21T05:00:00.250Z")
    assert (letter.kind, letter.reason, letter.detail, letter.job_id, letter.attempt) == (Kind.TURN, "crashed", "d", JOB, 7)
    assert (letter.dead_at, letter.sent_at, letter.receives) == (1_795_237_200_250, 1_000, 2)


def test_what_cannot_be_right_is_left_out():
    """A job id that is none, an attempt that is no number, a time that is none."""
    letter = read(Reason="x", JobId="../../etc", Attempt="-1", DeadAt="yesterday")
    assert (letter.kind, letter.job_id, letter.attempt, letter.dead_at) == (Kind.POISON, None, None, 1_000)


def test_without_a_reason_the_job_is_read_from_the_body():
    """Base64 as kombu writes it, or plain JSON."""
    text = json.dumps({"headers": {"task": "chatapp.answer", "id": str(JOB)}})
    for body in (text, base64.b64encode(text.encode()).decode()):
        letter = read(body)
        assert (letter.kind, letter.job_id) == (Kind.COUNTED, JOB)
    assert read("[" * 100_000).job_id is None
    assert read(json.dumps({"headers": {"id": "nonsense"}})).job_id is None


@given(st.text())
def test_nothing_that_is_shown_moves_the_cursor(text):
    """What can be seen stays, the rest is written as an escape."""
    assert inert(text).isprintable()
    assert not text.isprintable() or inert(text) == text


def test_an_age_is_said_in_its_largest_whole_unit():
    """Seconds, minutes, hours, days; a clock that is behind makes no negative age."""
    assert [
        age(s * 1000) for s in (-5, 0, 59, 60, 3_599, 3_600, 86_399, 86_400, 200_000)
    ] == "0s 0s 59s 1m 59m 1h 23h 1d 2d".split()


def test_columns_are_as_wide_as_what_is_in_them():
    """And an empty table is its head."""
    assert list(table(["A", "LONG"], [["one", "x"]])) == ["A    LONG", "one  x"]
    assert list(table(["A", "B"], [])) == ["A  B"]


def test_a_time_that_cannot_be_shown_is_no_time():
    """Anybody who may send there can write one: the entry must still be listed, and be discarded."""
    for told in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "yesterday"):
        assert read(DeadAt=told, Reason="x").dead_at == 1_000
