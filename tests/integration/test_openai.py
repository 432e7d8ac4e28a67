"""The OpenAI adapter against the scripted model server, over a real socket."""

import json
import urllib.request

import pytest

from chatapp import errors
from chatapp.llm.openai import OpenAIModel
from chatapp.model import Finish, FinishReason, Message, ModelOptions, ModelRequest, TextDelta


@pytest.fixture
def model(model_server):
    """A model behind the scripted server."""
    return OpenAIModel(api_key="k", base_url=model_server, connect_seconds=2, read_seconds=1)


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
        list(model.stream(asked(f"please {directive}")))
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
    for _ in range(200):
        if stats(model_server)["aborted_streams"] > before:
            return
    pytest.fail("the server did not notice that its reader is gone")
