"""The socket beneath the WebSocket."""

import socket

import pytest

from ws.wire import WholeFrames


def test_a_frame_goes_out_whole_or_the_connection_is_dead(monkeypatch):
    """A peer that does not read makes `send` fail, and nothing is sent after half a frame."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = WholeFrames(ours)
        monkeypatch.setattr("ws.wire.SEND_SECONDS", 0.05)
        with pytest.raises(TimeoutError):
            wire.send(b"x" * 50_000_000)
        with pytest.raises(BrokenPipeError):
            wire.send(b"next")
