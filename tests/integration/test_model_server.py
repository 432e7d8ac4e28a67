"""The scripted model server over real sockets."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest

Body = dict[str, Any]


@pytest.fixture
def http(model_server: str) -> Iterator[httpx2.Client]:
    """A client of the server's root."""
    with httpx2.Client(base_url=model_server.removesuffix("/v1"), timeout=30) as client:
        yield client


@pytest.fixture
def sdk(model_server: str) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, without retries."""
    with openai.OpenAI(base_url=model_server, api_key="none", max_retries=0, timeout=30) as client:
        yield client


def ask(text: str, **more: Any) -> Body:
    """The body of a request."""
    return {"model": "scripted", "messages": [{"role": "user", "content": text}], **more}


def counts(http: httpx2.Client) -> Body:
    """What was counted so far."""
    stats: Body = http.get("/stats").json()
    return stats


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for a condition in another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_sdk_reads_a_stream(sdk: Any) -> None:
    """OpenAI's client gets the text, the finish reason and the usage."""
    stream = sdk.chat.completions.create(**ask("[[echo=a b c]]", stream=True, stream_options={"include_usage": True}))
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "a b c"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3


def test_usage_comes_only_when_asked_for(sdk: Any) -> None:
    """Without `stream_options` no chunk has usage."""
    assert all(c.usage is None for c in sdk.chat.completions.create(**ask("[[tokens=2]]", stream=True)))


def test_the_sdk_reads_a_whole_answer(sdk: Any) -> None:
    """The answer that is not streamed has the same text."""
    answer = sdk.chat.completions.create(**ask("[[echo=a b c]]"))
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("a b c", "stop")


def test_models_are_listed(sdk: Any) -> None:
    """`/v1/models` names what can be asked for."""
    assert "scripted" in [m.id for m in sdk.models.list()]


@pytest.mark.parametrize(
    ("status", "error"), [(500, openai.InternalServerError), (401, openai.AuthenticationError), (400, openai.BadRequestError)]
)
def test_an_error_has_the_vendors_shape(sdk: Any, status: int, error: type[openai.APIStatusError]) -> None:
    """A scripted status is raised by the SDK as its own error, with a message."""
    with pytest.raises(error, match="scripted"):
        sdk.chat.completions.create(**ask(f"[[status={status}]]", stream=True))


def test_a_rate_limit_says_when_to_come_back(http: httpx2.Client) -> None:
    """429 carries Retry-After in seconds."""
    answer = http.post("/v1/chat/completions", json=ask("[[status=429 retry_after=2]]"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_it_fails_so_many_times_and_then_answers(http: httpx2.Client) -> None:
    """`[[fail=2]]` counts per conversation, and begins again after the answer."""
    one, other = ask("[[fail=2]] one", user="x"), ask("[[fail=2]] one", user="y")
    statuses = [http.post("/v1/chat/completions", json=body).status_code for body in (one, other, one, one, other, other, one)]
    assert statuses == [500, 500, 500, 200, 500, 200, 500]


def test_a_cut_stream_ends_without_its_end(http: httpx2.Client) -> None:
    """`[[cut=3]]` sends three chunks and drops the connection."""
    received = b""

    def read() -> None:
        nonlocal received
        with http.stream("POST", "/v1/chat/completions", json=ask("[[cut=3]] [[tokens=9]]", stream=True)) as answer:
            for part in answer.iter_raw():
                received += part

    with pytest.raises(httpx2.RemoteProtocolError):
        read()
    assert received.count(b"data: ") == 4  # the role, and three
    assert b"[DONE]" not in received


def test_garbage_is_no_json(http: httpx2.Client) -> None:
    """`[[garbage=1]]` sends a good chunk, then one that cannot be parsed, and no end."""
    lines = http.post("/v1/chat/completions", json=ask("[[garbage=1]] hello", stream=True)).text.strip().split("\n\n")
    assert [is_json(line.removeprefix("data: ")) for line in lines] == [True, True, False]


def is_json(text: str) -> bool:
    """Whether it can be parsed."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("directives", ["[[hang]]", "[[hang=30]]", "[[delay=30]]", "[[ttft=30]]"])
def test_a_client_that_leaves_is_noticed_at_once(http: httpx2.Client, model_server: str, directives: str) -> None:
    """Leaving a silent stream ends it long before it would go on, and counts as aborted."""
    before = counts(http)
    where = urlsplit(model_server)
    body = json.dumps(ask(f"{directives} [[tokens=9]]", stream=True)).encode()
    with socket.create_connection((where.hostname, where.port), timeout=30) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        until(lambda: counts(http)["in_flight"] == before["in_flight"] + 1)
    until(lambda: counts(http)["aborted_streams"] == before["aborted_streams"] + 1)
    until(lambda: counts(http)["in_flight"] == before["in_flight"])


def test_a_reader_that_leaves_in_the_middle_stops_the_writing(http: httpx2.Client) -> None:
    """A long stream is not written to the end for nobody."""
    before = counts(http)
    with http.stream("POST", "/v1/chat/completions", json=ask("[[tokens=100000]] [[delay=0.001]]", stream=True)) as answer:
        next(answer.iter_raw())
    until(lambda: counts(http)["aborted_streams"] == before["aborted_streams"] + 1)
    assert counts(http)["chunks_written"] - before["chunks_written"] < 50_000


def test_tokens_are_paced(http: httpx2.Client) -> None:
    """Thirty tokens at 10 ms take about 0.3 s, not one burst."""
    start = time.monotonic()
    http.post("/v1/chat/completions", json=ask("[[tokens=30]] [[delay=0.01]]", stream=True))
    assert 0.25 < time.monotonic() - start < 2


def test_what_was_asked_can_be_looked_up(http: httpx2.Client) -> None:
    """`/stats` keeps the latest requests with the history that was sent."""
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "look me up"},
    ]
    http.post("/v1/chat/completions", json={"model": "scripted", "messages": messages})
    assert counts(http)["last"][-1]["messages"] == messages


@pytest.mark.parametrize("raw", [b"GET /\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
def test_what_is_no_request_is_refused(model_server: str, raw: bytes) -> None:
    """Bytes that are no HTTP request get a 400, and the server lives on."""
    where = urlsplit(model_server)
    with socket.create_connection((where.hostname, where.port), timeout=30) as client:
        client.sendall(raw)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b'{"model": "m"}', b"\xff\xfe"])
def test_a_body_that_is_no_completion_request_is_refused(http: httpx2.Client, content: bytes) -> None:
    """A wrong body is a 400 in the vendor's shape."""
    answer = http.post("/v1/chat/completions", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_five_hundred_streams_at_once(http: httpx2.Client, model_server: str) -> None:
    """Five hundred conversations stream at the same time, and each gets all of its answer."""
    before = counts(http)
    assert asyncio.run(_all_streams(model_server, 500)) == [20] * 500
    after = counts(http)
    assert after["completed"] - before["completed"] == 500
    assert after["chunks_written"] - before["chunks_written"] == 500 * 20


async def _all_streams(base: str, number: int) -> list[int]:
    where = urlsplit(base)
    body = json.dumps(ask("[[tokens=20]] [[delay=0.02]]", stream=True)).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def one() -> int:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(head + body)
        received = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        return received.count(b'"delta":{"content":"') if received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") else -1

    return await asyncio.gather(*(one() for _ in range(number)))


def test_every_call_is_told_by_what_was_said(http: httpx2.Client, sdk: Any) -> None:
    """`/calls`: when, how many chunks, and how it ended."""
    list(sdk.chat.completions.create(**ask("who am I, 4711 [[echo=one two three]]", stream=True)))
    (call,) = [c for c in http.get("/calls").json() if c["said"].startswith("who am I, 4711")]
    assert (call["chunks"], call["outcome"]) == (3, "completed")
    assert call["began_at"] <= call["last_chunk_at"] <= time.time()
