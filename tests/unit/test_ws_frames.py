"""The frames of the socket are read strictly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.frames import Auth, Ping, Resume, Subscribe, Unsubscribe
from config.settings import Settings
from ws.frames import BadFrame, read, refused, write

SETTINGS = Settings()
SID = "0123456789abcdef" * 2
OTHER = "f" * 32


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ('{"type":"ping"}', Ping(type="ping")),
        ('{"type":"ping","id":7}', Ping(type="ping", id=7)),
        ('{"type":"auth","token":"t","id":"a"}', Auth(type="auth", token="t", id="a")),
        (f'{{"type":"unsubscribe","session_id":"{SID}"}}', Unsubscribe(type="unsubscribe", session_id=SID)),
        (
            f'{{"type":"subscribe","session_id":"{SID}","resume":{{"job_id":"{SID}.3","after":"1-4"}}}}',
            Subscribe(type="subscribe", session_id=SID, resume=Resume(job_id=f"{SID}.3", after="1-4")),
        ),
    ],
)
def test_a_frame_of_the_contract_is_read(text, frame):
    """Every frame that a client may send."""
    assert read(text, SETTINGS) == frame


@pytest.mark.parametrize(
    "data",
    [
        "",
        "hello",
        "[]",
        "null",
        "1",
        '"ping"',
        "{}",
        '{"type":null}',
        '{"type":"nope"}',
        '{"type":["ping"]}',
        '{"type":"ping","extra":1}',
        '{"type":"ping","id":true}',
        '{"type":"ping","id":1.5}',
        '{"type":"ping","id":"\\ud800"}',
        '{"type":"ping","id":NaN}',
        '{"type":"ping","id":' + "9" * 5000 + "}",
        '{"type":"auth"}',
        '{"type":"auth","token":1}',
        '{"type":"subscribe"}',
        '{"type":"subscribe","session_id":"../../x"}',
        '{"type":"subscribe","session_id":"' + SID + '\\n"}',
        '{"type":"subscribe","session_id":"' + SID.upper() + '"}',
        '{"type":"subscribe","session_id":"' + SID + '","resume":{"job_id":"' + OTHER + '.1"}}',
        '{"type":"subscribe","session_id":"' + SID + '","resume":{"job_id":"' + SID + '.0"}}',
        '{"type":"subscribe","session_id":"' + SID + '","resume":{"job_id":"' + SID + '.1","after":"1"}}',
        '{"type":"subscribe","session_id":"' + SID + '","resume":{"job_id":"' + SID + '.1","after":"01-2"}}',
        "[" * 60_000,
        '{"type":"ping","id":' + "[" * 30_000,
        '{"type":"ping"} {"type":"ping"}',
        b'{"type":"ping"}',
        b"\xff\xfe",
    ],
)
def test_any_other_frame_is_a_bad_frame(data):
    """Nothing that a client sends becomes an exception of another kind, and no cursor is guessed."""
    with pytest.raises(BadFrame) as caught:
        read(data, SETTINGS)
    json.loads(refused(caught.value.frame_id, caught.value.code, caught.value.detail))


@given(st.text() | st.binary())
def test_noise_is_a_bad_frame(data):
    """Also what nobody thought of."""
    with pytest.raises(BadFrame):
        read(data, SETTINGS)


def test_the_id_of_a_frame_that_is_refused_is_echoed():
    """The client can tell which of its frames was wrong."""
    with pytest.raises(BadFrame) as caught:
        read('{"type":"subscribe","id":"q1"}', SETTINGS)
    assert caught.value.frame_id == "q1"


def test_answers_echo_the_id_only_if_there_was_one():
    """`id` is optional."""
    assert json.loads(write("pong")) == {"type": "pong"}
    assert json.loads(write("pong", 0)) == {"type": "pong", "id": 0}
    assert json.loads(refused(None, "x", "y"))["id"] is None
