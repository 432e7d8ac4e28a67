"""What a client may send is counted on the wire: bytes of a message, and frames of any kind."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websocket import ABNF

from ws.metering import BURST_SECONDS, Allowance, Meter
from ws.protocol import Close

MAX = 1_000


def frame(payload=b"", opcode=ABNF.OPCODE_TEXT, *, fin=True, mask=True):
    """One frame as it stands on the wire."""
    made = ABNF(int(fin), 0, 0, 0, opcode, int(mask), payload)
    if not mask:
        return made.format()
    made.get_mask_key = os.urandom
    return made.format()


def meter(rate=1_000_000.0):
    """A meter that counts no frames, say."""
    return Meter(Allowance(MAX, rate))


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, MAX])
def test_a_message_up_to_the_limit_passes(size, mask):
    """One after the other; the limit is of each."""
    counting = meter()
    for _ in range(5):
        assert counting.feed(frame(b"x" * size, mask=mask), 0) is None


@pytest.mark.parametrize("size", [MAX + 1, 70_000, 2**40])
def test_a_message_over_the_limit_is_told_by_its_header(size):
    """Before its payload is read."""
    header = b"\x81\xff" + size.to_bytes(8) + b"mask"
    if size < 2**16:
        header = b"\x81\xfe" + size.to_bytes(2) + b"mask"
    assert meter().feed(header, 0) is Close.TOO_BIG


def test_characters_are_not_bytes():
    """600 of two bytes are too many."""
    assert meter().feed(frame(("é" * 600).encode()), 0) is Close.TOO_BIG


def test_fragments_count_together():
    """And a ping between two of them is none."""
    counting = meter()
    assert counting.feed(frame(b"x" * 600, fin=False), 0) is None
    assert counting.feed(frame(b"p" * 100, ABNF.OPCODE_PING), 0) is None
    assert counting.feed(frame(b"x" * 400, ABNF.OPCODE_CONT), 0) is None
    assert counting.feed(frame(b"x" * 600, fin=False), 0) is None
    assert counting.feed(frame(b"x" * 401, ABNF.OPCODE_CONT), 0) is Close.TOO_BIG


@pytest.mark.parametrize(
    ("opcode", "fin"),
    [(ABNF.OPCODE_TEXT, True), (ABNF.OPCODE_PING, True), (ABNF.OPCODE_PONG, True), (ABNF.OPCODE_CONT, False)],
)
def test_frames_of_every_kind_are_counted(opcode, fin):
    """A burst of ten seconds' worth, then as many as the rate allows."""
    counting = meter(rate=20)
    burst = int(20 * BURST_SECONDS)
    for _ in range(burst):
        assert counting.feed(frame(b"", opcode, fin=fin), 100.0) is None
    assert counting.feed(frame(b"", opcode, fin=fin), 100.05) is None
    assert counting.feed(frame(b"", opcode, fin=fin), 100.05) is Close.RATE_LIMITED


def test_who_was_quiet_may_send_a_burst_again():
    """What is not used is not saved up beyond it."""
    counting = meter(rate=20)
    for now in (0.0, 1_000.0):
        assert counting.feed(frame() * 200, now) is None
    assert counting.feed(frame(), 1_000.0) is Close.RATE_LIMITED


FRAMES = st.lists(
    st.tuples(st.binary(max_size=300), st.sampled_from([ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY, ABNF.OPCODE_PING]), st.booleans()),
    max_size=20,
)


@given(FRAMES, st.data())
def test_it_does_not_matter_how_the_stream_is_cut(frames, data):
    """Every frame is counted once, wherever its header is torn."""
    stream = b"".join(frame(payload, opcode, mask=mask) for payload, opcode, mask in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    counting = Meter(Allowance(MAX, 1.0))
    paid = max(len(frames), 0)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        counting.feed(stream[start:end], 0.0)
    assert counting._paid_until == paid
    assert counting.feed(b"", 0.0) is (None if paid <= BURST_SECONDS else Close.RATE_LIMITED)
