"""Frames that no client library would send, written by hand: each costs its own socket, and nobody else anything.

After each of them a good client is served, the server's log has no traceback, and its memory is what it was.
"""

import json
import time

import pytest

from tests.integration.attack_kit import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MB,
    PING,
    TEXT,
    Raw,
    frame,
    opened,
    pair,
    text,
)

LIMIT = 16_384
"""The largest message, as the server is set up here."""

GROWTH = 12 * MB
"""Most that the server may have grown while it was attacked."""


@pytest.fixture(scope="module")
def servers(settings, tmp_path_factory):
    """The WebSocket server, with a small limit for frames and a big one for how many."""
    env = {"WS_MAX_PAYLOAD": str(LIMIT), "WS_FRAMES_PER_SECOND": "10000", "WS_AUTH_SECONDS": "20"}
    with pair(settings, tmp_path_factory.mktemp("wire"), api=False, **env) as running:
        running.serves_others()  # what the first socket costs is no growth
        yield running


@pytest.fixture
def unharmed(servers):
    """Whatever the test does: others are served, nothing is logged that nobody expected, and no memory is kept."""
    before = servers.memory()
    yield
    servers.serves_others()
    assert servers.memory() - before < GROWTH


NO_MASK = 0x80
PROTOCOL_ERROR, NOT_UTF8, TOO_BIG = 1002, 1007, 1009

BROKEN: dict[str, tuple[bytes, int]] = {
    "unmasked": (frame(TEXT, b'{"type":"ping"}', mask=False), PROTOCOL_ERROR),
    "reserved bit 1, as if compressed": (frame(TEXT, b"\xaaVJ*\xc8\xccKW\xb2R\x00\x00", rsv=4), PROTOCOL_ERROR),
    "reserved bit 2": (frame(TEXT, b"x", rsv=2), PROTOCOL_ERROR),
    "reserved bit 3": (frame(TEXT, b"x", rsv=1), PROTOCOL_ERROR),
    "reserved data opcode": (frame(3, b"x"), PROTOCOL_ERROR),
    "reserved control opcode": (frame(11, b"x"), PROTOCOL_ERROR),
    "all bits set": (b"\xff" * 64, PROTOCOL_ERROR),
    "ping of 126 bytes": (frame(PING, b"x" * 126), PROTOCOL_ERROR),
    "ping in fragments": (frame(PING, b"x", fin=False), PROTOCOL_ERROR),
    "close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), PROTOCOL_ERROR),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), PROTOCOL_ERROR),
    "a message within a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), PROTOCOL_ERROR),
    "a binary end of a text": (frame(TEXT, b"x", fin=False) + frame(BINARY, b"x"), PROTOCOL_ERROR),
    "length 2^63": (frame(TEXT, length=2**63), TOO_BIG),
    "length 2^64 - 1": (frame(TEXT, length=2**64 - 1), TOO_BIG),
    "a length that needed fewer bytes": (b"\x81\xfe\x00\x01" + b"\x00" * 5, PROTOCOL_ERROR),
    "invalid UTF-8": (frame(TEXT, b"\xff\xfe"), NOT_UTF8),
    "UTF-8 cut at the end": (frame(TEXT, "é".encode()[:1]), NOT_UTF8),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), NOT_UTF8),
    "an overlong slash": (frame(TEXT, b"\xc0\xaf"), NOT_UTF8),
    "invalid UTF-8 over two fragments": (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"), NOT_UTF8),
    "one frame over the limit": (frame(TEXT, b"x" * (LIMIT + 1)), TOO_BIG),
    "one binary frame over the limit": (frame(BINARY, b"x" * (LIMIT + 1)), TOO_BIG),
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("authenticated", [True, False], ids=["user", "stranger"])
@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_frame_ends_its_socket_with_the_standards_code(servers, user, data, code, authenticated):
    """Also from who has not said who he is."""
    with opened(servers, user if authenticated else None) as raw:
        raw.send(data)
        assert raw.close_code() == code


def subscribe(**resume: object) -> str:
    """Write a subscribe with something wrong in its cursor."""
    session_id = "0" * 32
    return json.dumps({"type": "subscribe", "session_id": session_id, "resume": {"job_id": f"{session_id}.1", **resume}})


CONTENTS = {
    "empty": "",
    "not JSON": "hello",
    "cut JSON": '{"type":"ping"',
    "two objects": '{"type":"ping"}{"type":"ping"}',
    "array": '[{"type":"ping"}]',
    "number": "17",
    "null": "null",
    "true": "true",
    "NaN": '{"type":"ping","id":NaN}',
    "deep array": "[" * 8_000,
    "deep array, closed": "[" * 8_000 + "]" * 8_000,
    "deep object": '{"a":' * 2_000,
    "deep in a field": '{"type":"ping","id":' + "[" * 5_000 + "]" * 5_000 + "}",
    "unknown type": '{"type":"eval"}',
    "type of a server's frame": '{"type":"connected"}',
    "no type": '{"id":1}',
    "type a list": '{"type":["ping"]}',
    "type null": '{"type":null}',
    "unknown field": '{"type":"ping","user_id":"root"}',
    "prototype": '{"type":"ping","__proto__":{"admin":true}}',
    "id an object": '{"type":"ping","id":{"a":1}}',
    "id of 5,000 digits": '{"type":"ping","id":' + "9" * 5_000 + "}",
    "id a fraction": '{"type":"ping","id":1.5}',
    "id too long": '{"type":"ping","id":"' + "x" * 200 + '"}',
    "lone surrogate": '{"type":"ping","id":"\\ud800"}',
    "NUL": '{"type":"\x00ping"}',
    "BOM": '\ufeff{"type":"ping"}',
    "session id a list": '{"type":"subscribe","session_id":["' + "0" * 32 + '"]}',
    "session id with a line break": '{"type":"subscribe","session_id":"' + "0" * 32 + '\\n"}',
    "session id a pattern": '{"type":"subscribe","session_id":"*"}',
    "cursor -1": subscribe(after="-1"),
    "cursor 2^63": subscribe(after=f"1-{2**63}"),
    "cursor a text": subscribe(after="last"),
    "cursor a number": subscribe(after=1),
    "cursor of another session": subscribe(job_id="1" * 32 + ".1"),
    "cursor of turn 0": subscribe(job_id="0" * 32 + ".0"),
}


@pytest.mark.usefixtures("unharmed")
def test_what_cannot_be_understood_is_refused_and_the_socket_lives_on(servers, user):
    """One after the other on one socket, with a good frame between: each has one refusal, in its turn."""
    with opened(servers, user) as raw:
        for name, content in CONTENTS.items():
            raw.send(text(content) + text('{"type":"ping","id":"good"}'))
            refused, pong = raw.receive(), raw.receive()
            assert refused is not None
            assert json.loads(refused[1])["type"] == "refused", name
            assert pong == (TEXT, b'{"type":"pong","id":"good"}'), name


@pytest.mark.usefixtures("unharmed")
def test_of_doubled_keys_the_last_counts(servers, user):
    """As everywhere else where JSON is read; the frame that is acted upon is the one that was checked."""
    with opened(servers, user) as raw:
        raw.send(text('{"type":"nope","type":"ping","id":1,"id":2}'))
        assert raw.receive() == (TEXT, b'{"type":"pong","id":2}')


@pytest.mark.usefixtures("unharmed")
def test_who_sends_nothing_that_can_be_understood_is_closed(servers, user):
    """4501, in any mixture of text and binary, also before anybody has authenticated."""
    for name in (user, None):
        with opened(servers, name) as raw:
            raw.send(b"".join(text("x") + frame(BINARY, b"\x00\xff") for _ in range(10)))
            assert raw.close_code() == 4501


@pytest.mark.usefixtures("unharmed")
def test_a_message_without_end_is_cut_before_it_is_in_memory(servers, user):
    """A frame that claims 1 GB, and fragments that add up: refused at the limit, and the connection ends while more comes."""
    piece = b"x" * 65_536
    fragments = frame(CONTINUATION, b"x" * 1_000, fin=False) * 64
    for first, more in (
        (frame(BINARY, piece, length=2**30), piece),
        (frame(TEXT, b"x" * 1_000, fin=False) + fragments, fragments),
    ):
        before, until = servers.memory(), time.monotonic() + 10
        with opened(servers, user) as raw:
            going = raw.send(first)
            while going and time.monotonic() < until:
                going = raw.send(more)
            assert not going, "the server still takes it"
        assert servers.memory() - before < GROWTH


@pytest.mark.usefixtures("unharmed")
def test_a_message_in_the_smallest_fragments_is_read(servers, user):
    """Fragments are no offence: pings between them are answered, and the message arrives."""
    whole = b'{"type":"ping","id":"in pieces"}'
    pieces = [frame(CONTINUATION, whole[i : i + 1], fin=i == len(whole) - 1) for i in range(1, len(whole))]
    with opened(servers, user) as raw:
        raw.send(frame(TEXT, whole[:1], fin=False) + frame(PING, b"now").join(pieces))
        received = [raw.receive() for _ in range(len(pieces))]
        assert received.count((10, b"now")) == len(pieces) - 1
        assert (TEXT, b'{"type":"pong","id":"in pieces"}') in received


@pytest.mark.usefixtures("unharmed")
def test_empty_fragments_grow_nothing(servers, user):
    """50,000 of them: others are answered meanwhile, and the message that they belong to arrives at last."""
    with opened(servers, user) as raw:
        raw.send(frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 50_000)
        servers.serves_others()
        raw.send(frame(CONTINUATION, b'{"type":"ping"}'))
        assert raw.receive() == (TEXT, b'{"type":"pong"}')


@pytest.mark.usefixtures("unharmed")
def test_a_flood_of_pings_holds_up_nobody(servers, user):
    """30,000 of them, the answers unread: others are answered all the while, and nothing piles up."""
    with opened(servers, user) as raw:
        raw.sock.settimeout(1)
        burst = frame(PING, b"x" * 125) * 1_000
        for n in range(30):
            if not raw.send(burst):
                break
            if n % 10 == 9:
                servers.serves_others()


CLOSES = {
    **{str(code): code.to_bytes(2, "big") for code in (0, 999, 1004, 1005, 1006, 1015, 5000, 65_535)},
    "no code": b"",
    "half a code": b"\x03",
    "a reason that is not UTF-8": b"\x03\xe8\xff",
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("payload", CLOSES.values(), ids=CLOSES.keys())
def test_any_close_of_the_client_ends_the_socket_at_once(servers, user, payload):
    """The codes that nobody may send too; also in the middle of a fragmented message."""
    for before in (b"", frame(TEXT, b'{"ty', fin=False)):
        with opened(servers, user) as raw:
            began = time.monotonic()
            raw.send(before + frame(CLOSE, payload))
            raw.close_code()
            assert time.monotonic() - began < 5


@pytest.mark.usefixtures("unharmed")
def test_what_comes_after_a_close_is_not_read(servers, user):
    """No frame behind it is acted upon."""
    with opened(servers, user) as raw:
        raw.send(frame(CLOSE, b"\x03\xe8") + text('{"type":"ping"}') * 100)
        assert raw.frames() == []


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("cut", [1, 5, 20])
def test_half_a_frame_and_then_silence_costs_one_socket(servers, user, cut):
    """Others see nothing of it, and the rest is understood when it comes."""
    whole = text('{"type":"ping","id":"half"}')
    with opened(servers, user) as raw:
        raw.send(whole[:cut])
        servers.serves_others()
        raw.send(whole[cut:])
        assert raw.receive() == (TEXT, b'{"type":"pong","id":"half"}')


KEY = "Sec-WebSocket-Key: " + "A" * 22 + "=="
VERSION = "Sec-WebSocket-Version: 13"
HANDSHAKES = [
    pytest.param("GET", [VERSION], id="no key"),
    pytest.param("GET", ["Sec-WebSocket-Key: eA==", VERSION], id="key too short"),
    pytest.param("GET", ["Sec-WebSocket-Key: %%%", VERSION], id="key not base64"),
    pytest.param("GET", [KEY, "Sec-WebSocket-Version: 8"], id="version 8"),
    pytest.param("GET", [KEY], id="no version"),
    pytest.param("POST", [KEY, VERSION], id="POST"),
]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(("method", "headers"), HANDSHAKES)
def test_a_handshake_that_is_none_is_refused(servers, method, headers):
    """By a status, and the connection is not a WebSocket."""
    lines = [f"{method} /ws HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket", *headers, "", ""]
    with Raw(servers.ws_port) as raw:
        raw.send("\r\n".join(lines).encode())
        answer = raw.sock.recv(65_536)
    assert answer.split()[1] in (b"400", b"405", b"426"), answer


@pytest.mark.usefixtures("unharmed")
def test_compression_is_never_agreed_to(servers):
    """Whatever is offered: a small frame could inflate to hundreds of megabytes."""
    with Raw(servers.ws_port) as raw:
        assert (
            raw.handshake("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "Sec-WebSocket-Protocol: x")
            == 101
        )
        raw.receive()
        raw.send(frame(TEXT, b"\x00" * 100, rsv=4))
        assert raw.close_code() == PROTOCOL_ERROR
