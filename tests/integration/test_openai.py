"""The OpenAI adapter against the scripted model server, over a real socket."""

import json
import math
import threading
import time
import urllib.request
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chatapp import errors
from chatapp.llm.openai import OpenAIModel
from chatapp.model import Finish, FinishReason, Message, ModelOptions, ModelRequest, Pending, TextDelta
from tests.integration.workers import until


@pytest.fixture
def model(model_server):
    """A model behind the scripted server."""
    return OpenAIModel(api_key="k", base_url=model_server, connect_seconds=10, read_seconds=30)


def asked(text, *before, **options):
    messages = (*before, Message("user", text))
    return ModelRequest(messages, ModelOptions("scripted", **options), "u", "job")


def stats(model_server):
    with urllib.request.urlopen(model_server.removesuffix("/v1") + "/stats") as answer:  # noqa: S310
        return json.load(answer)


def test_an_answer_is_text_and_a_finish_with_usage(model):
    """The finish comes last."""
    *pieces, last = model.stream(asked("[[echo=two words]]"))
    assert "".join(p.text for p in pieces if isinstance(p, TextDelta)) == "two words"
    assert isinstance(last, Finish)
    assert last.reason is FinishReason.STOP
    assert last.usage.output_tokens > 0


def test_what_was_asked_for_is_what_is_sent(model, model_server):
    """Instructions first, then the history, then the input."""
    history = (Message("user", "before"), Message("assistant", "so"))
    list(model.stream(asked("now [[echo=x]]", *history, instructions="be brief")))
    sent = stats(model_server)["last"][-1]["messages"]
    assert [(m["role"], m["content"]) for m in sent] == [
        ("system", "be brief"),
        ("user", "before"),
        ("assistant", "so"),
        ("user", "now [[echo=x]]"),
    ]


@pytest.mark.parametrize(
    ("directive", "kind", "retryable"),
    [
        ("[[status=500]]", errors.ProviderUnavailable, True),
        ("[[status=503]]", errors.ProviderUnavailable, True),
        ("[[status=401]]", errors.ProviderMisconfigured, False),
        ("[[status=404]]", errors.ProviderMisconfigured, False),
        ("[[status=400]]", errors.ModelRequestInvalid, False),
        ("[[garbage]]", errors.ProviderUnavailable, True),
        ("[[cut=3]]", errors.ProviderUnavailable, True),
        ("[[hang]]", errors.ProviderUnavailable, True),
    ],
)
def test_a_vendors_error_becomes_ours(model, directive, kind, retryable):
    """Whoever decides on a retry reads `retryable`."""
    with pytest.raises(errors.ModelError) as caught:
        list(model.stream(asked(f"please {directive}"), 1 if "hang" in directive else math.inf))
    assert type(caught.value) is kind
    assert caught.value.retryable is retryable


def test_a_rate_limit_says_when_to_come_back(model):
    """`Retry-After` of the provider is kept."""
    with pytest.raises(errors.ProviderRateLimited) as caught:
        list(model.stream(asked("[[status=429 retry_after=7]]")))
    assert caught.value.retry_after == 7


def test_nobody_there_is_an_unavailable_provider():
    """A refused connection is retryable."""
    nobody = OpenAIModel(api_key=None, base_url="http://127.0.0.1:1/v1", connect_seconds=1, read_seconds=1)
    with pytest.raises(errors.ProviderUnavailable):
        list(nobody.stream(asked("x")))


def test_closing_the_answer_closes_the_providers_stream(model, model_server):
    """Nothing more is written, so nothing more is paid for."""
    before = stats(model_server)["aborted_streams"]
    stream = model.stream(asked("[[tokens=100000]] [[delay=0.001]]"))
    next(stream)
    stream.close()
    until(lambda: stats(model_server)["aborted_streams"] > before, 30, "the server did not notice that its reader is gone")


@pytest.fixture
def canned():
    """A provider that sends these bytes as its stream, with these headers, to whoever asks."""
    with ExitStack() as stack:

        def serve(body, status=200, **headers):
            class Canned(BaseHTTPRequestHandler):
                def do_POST(self):
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name.replace("_", "-"), value)
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_):
                    pass

            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Canned))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            url = f"http://127.0.0.1:{server.server_port}/v1"
            return OpenAIModel(api_key=None, base_url=url, connect_seconds=10, read_seconds=30)

        yield serve


@pytest.mark.parametrize(
    "chunk",
    [
        "5",
        "[]",
        '{"choices": 5}',
        '{"choices": [5]}',
        '{"choices": [{"delta": 5}]}',
        '{"choices": [{"delta": {"content": 5}}]}',
        '{"choices": [{"delta": {"content": ["a"]}}]}',
        '{"choices": [{"delta": {"content": "a"}, "finish_reason": {"a": 1}}]}',
        '{"choices": [{"delta": {"tool_calls": [5]}}]}',
        '{"choices": [], "usage": 5}',
    ],
)
def test_a_chunk_of_another_shape_is_the_providers_failure(canned, chunk):
    """It may be tried again, and counts for the breaker: it is no fault of ours."""
    model = canned(f"data: {chunk}\n\n".encode())
    with pytest.raises(errors.ProviderUnavailable, match="not a chunk"):
        list(model.stream(asked("x")))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "invalid_request_error", "code": "invalid_prompt"}, errors.ModelRequestInvalid),
        ({"type": "BadRequestError", "code": 400}, errors.ModelRequestInvalid),
        ({"code": "rate_limit_exceeded"}, errors.ProviderRateLimited),
        ({"code": 429}, errors.ProviderRateLimited),
        ({"type": "server_error", "code": 500}, errors.ProviderUnavailable),
        ({"code": "context_length_exceeded"}, errors.ContextTooLong),
        ("broken", errors.ProviderUnavailable),
    ],
)
def test_an_error_within_the_stream_is_what_it_would_be_as_a_status(canned, error, kind):
    """A request that is wrong is not the provider's failure, however it is told."""
    model = canned(f"data: {json.dumps({'error': error})}\n\n".encode())
    with pytest.raises(errors.ModelError) as caught:
        list(model.stream(asked("x")))
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after": "9"}, 9),
        ({"retry_after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"retry_after": "soon"}, None),
        ({"retry_after_ms": "nan"}, None),
        ({"retry_after_ms": "inf"}, None),
        ({"retry_after_ms": "-5"}, 0),
    ],
)
def test_a_retry_after_is_a_number_of_seconds_or_nothing(canned, headers, seconds):
    """Whoever waits by it must not be handed what is none."""
    with pytest.raises(errors.ProviderUnavailable) as caught:
        list(canned(b"{}", status=503, **headers).stream(asked("x")))
    assert caught.value.retry_after == seconds


def test_a_line_that_never_ends_lets_its_reader_look(canned):
    """Its parts are signs of life; the line is given up when it is too long."""
    stream = canned(b"data: " + b"x" * 3_000_000).stream(asked("x"))
    assert next(stream) == Pending()
    with pytest.raises(errors.ProviderUnavailable, match="without an end"):
        list(stream)


def test_a_wait_may_be_shorter_than_the_adapters_own(model_server):
    """The time that is left for a fallback bounds its silence."""
    patient = OpenAIModel(api_key="k", base_url=model_server, connect_seconds=10, read_seconds=60)
    began = time.monotonic()
    with pytest.raises(errors.ProviderUnavailable):
        list(patient.stream(asked("[[hang]]"), 0.1))
    assert time.monotonic() - began < 30
