"""The models behind their breakers, over real sockets: the scripted model server, a real Redis, gevent."""

import json
import subprocess
import sys
import time
import urllib.request

import pytest

from chatapp.api import create_app
from chatapp.auth import issue
from chatapp.dev import twin
from chatapp.dev.ports import free_port
from chatapp.dev.process import ROOT
from chatapp.errors import BreakerOpen, ModelError, ModelRequestInvalid, ProviderRateLimited, ProviderUnavailable
from chatapp.flows.submit import Submission
from chatapp.model import Finish, Message, ModelOptions, ModelRequest, Status, TextDelta, text_part
from chatapp.services import build
from config.settings import DEV_JWT_SECRET, Settings
from tests.integration.breaker_child import until
from tests.servers import clean_env, running

NOBODY = "http://127.0.0.1:1/v1"


def impatience(trouble):
    """Settings of who does not wait long for a model that hangs. All others have time: a busy machine may need it."""
    return {"llm_read_seconds": 0.5} if "hang" in trouble else {}


@pytest.fixture(scope="module")
def second_server(tmp_path_factory):
    """Another provider."""
    port = free_port()
    with running(twin.model(port, delay=0), tmp_path_factory.mktemp("second")):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def make(valkey):
    """Make the services of a process, with a Redis that remembers nothing."""
    made = []

    def make(base_url, *fallbacks, **more):
        entries = [{"base_url": url, "model": f"fallback-{n}"} for n, url in enumerate(fallbacks)]
        values = {"openai_base_url": base_url, "llm_fallbacks": json.dumps(entries), "redis_url": valkey, "llm_model": "m"}
        made.append(build(Settings(**values, env="test", **more)))
        return made[-1]

    build(Settings(redis_url=valkey)).redis.flushall()
    yield make
    for each in made:
        each.redis.close()


def asked(text):
    return ModelRequest((Message("user", text),), ModelOptions("m"), "u", "job")


def read(services, text):
    """Read an answer. Returns: its text and the model that said it."""
    *pieces, last = services.llm.stream(asked(text))
    assert isinstance(last, Finish)
    return "".join(p.text for p in pieces if isinstance(p, TextDelta)), last.model


def stats(url):
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as answer:  # noqa: S310
        return json.load(answer)


@pytest.mark.parametrize(
    "trouble", ["refused", "[[status=500]]", "[[status=429 retry_after=9]]", "[[status=401]]", "[[hang]]", "[[cut=0]]"]
)
def test_the_next_provider_answers_when_the_first_cannot(make, model_server, second_server, trouble):
    """Before the first word; the finish tells whose answer it is."""
    if trouble == "refused":
        assert read(make(NOBODY, second_server), "[[echo=hello]]") == ("hello", "fallback-0")
        return
    before = stats(second_server)["requests"]
    services = make(model_server, second_server, **impatience(trouble))
    with pytest.raises(ModelError):
        read(services, trouble)  # both are told to fail
    assert stats(second_server)["requests"] == before + 1
    assert stats(second_server)["last"][-1]["model"] == "fallback-0"


def test_a_wrong_request_is_not_sent_to_the_next_provider(make, model_server, second_server):
    """It would say the same."""
    before = stats(second_server)["requests"]
    with pytest.raises(ModelRequestInvalid):
        read(make(model_server, second_server), "[[status=400]]")
    assert stats(second_server)["requests"] == before


def test_an_answer_that_breaks_off_is_not_continued_by_another(make, model_server, second_server):
    """The error passes, as soon as one word was yielded."""
    before = stats(second_server)["requests"]
    with pytest.raises(ProviderUnavailable):
        read(make(model_server, second_server), "[[cut=3]]")
    assert stats(second_server)["requests"] == before


@pytest.mark.parametrize("trouble", ["[[status=503]]", "[[cut=3]]", "[[hang]]", "[[hang=3]]", "[[garbage]]"])
def test_each_way_of_failing_counts(make, model_server, trouble):
    """An HTTP error, a cut, a silence before and within the answer, garbage: after six of them nobody is asked."""
    services = make(model_server, **impatience(trouble))
    before = stats(model_server)["requests"]
    for _ in range(6):
        began = time.monotonic()
        with pytest.raises(ProviderUnavailable):
            read(services, trouble)
    with pytest.raises(BreakerOpen) as caught:
        read(services, "[[echo=hello]]")
    assert 15 - (time.monotonic() - began) - 0.1 < caught.value.retry_after <= 15
    assert stats(model_server)["requests"] == before + 6


def test_a_rate_limit_does_not_open_it(make, model_server):
    """Slow down is not broken."""
    services = make(model_server)
    for _ in range(10):
        with pytest.raises(ProviderRateLimited) as caught:
            read(services, "[[status=429 retry_after=7]]")
    assert caught.value.retry_after == 7
    assert read(services, "[[echo=hello]]") == ("hello", "m")


def test_each_model_of_a_provider_has_a_breaker_of_its_own(make, model_server):
    """One model that is down takes no other with it."""
    services = make(model_server, llm_models="other")
    for _ in range(6):
        with pytest.raises(ProviderUnavailable):
            read(services, "[[status=500]]")
    other = ModelRequest((Message("user", "[[echo=x]]"),), ModelOptions("other"), "u", "job")
    assert isinstance(list(services.llm.stream(other))[-1], Finish)
    host = model_server.split("/")[2]
    assert {name: told["state"] for name, told in services.breakers.states().items()} == {
        f"{host}/m": "open",
        f"{host}/other": "closed",
    }


def test_it_fails_fast_while_all_are_open(make):
    """Two providers, both refused: after six errors each, a refusal takes far less than 50 ms."""
    services = make(NOBODY, "http://127.0.0.1:2/v1")
    for _ in range(6):
        with pytest.raises(ProviderUnavailable):
            read(services, "x")
    took = []
    for _ in range(500):
        began = time.perf_counter()
        with pytest.raises(BreakerOpen):
            read(services, "x")
        took.append(time.perf_counter() - began)
    assert sorted(took)[int(len(took) * 0.99)] < 0.05


def test_what_is_thrown_into_a_waiting_attempt_stops_it_at_once(model_server, valkey):
    """Before the answer and within it, two hundred times, and once while the breaker waits for Redis.

    It arrives unchanged, the provider's connection is closed, the breaker hears nothing, and the pool keeps nothing.
    """
    build(Settings(redis_url=valkey)).redis.flushall()
    command = [sys.executable, "-m", "gevent.monkey", "--module", "tests.integration.guarded_child", model_server, valkey]
    child = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True, timeout=110, check=False)
    assert child.returncode == 0, child.stderr
    told = json.loads(child.stdout)
    assert told["outcomes"] == {"unchanged, at once": 200 + 1}
    assert (told["connections"], told["requests"], told["errors"]) == (0, 0, 0)
    assert told["answer"] == "well"


@pytest.fixture
def trip(services):
    """Have the fleet see six errors of its only provider, and forget them afterwards."""
    request = ModelRequest((Message("user", "[[status=500]]"),), ModelOptions(services.settings.llm_model), "u", "job")
    services.redis.flushall()

    def trip():
        for _ in range(6):
            with pytest.raises(ProviderUnavailable):
                list(services.llm.stream(request))

    yield trip
    services.redis.flushall()


def test_an_accepted_turn_fails_in_milliseconds_while_the_breaker_is_open(services, trip, user, model_server):
    """`provider_unavailable`, which the user may try again; the model is not asked."""
    options = ModelOptions(services.settings.llm_model)
    submission = Submission(user_id=user, input=(text_part("[[echo=hello]]"),), options=options)
    accepted = [services.submit(submission) for _ in range(5)]
    trip()
    before, took = stats(model_server)["requests"], []
    for each in accepted:
        began = time.monotonic()
        services.answer(each.job_id)
        took.append(time.monotonic() - began)
        turn = services.turns.get(each.job_id)
        assert (turn.status, turn.error["code"], turn.error["retryable"]) == (Status.FAILED, "provider_unavailable", True)
    assert min(took) < 0.5  # a busy machine holds up one or the other
    assert stats(model_server)["requests"] == before


def test_the_api_refuses_what_would_fail_and_replays_what_it_accepted(services, trip, user):
    """Another process than the one that saw the errors: a 503 with Retry-After, nothing kept; an old key has its 202."""
    api = build(services.settings)
    client = create_app(api).test_client()
    headers = {"Authorization": f"Bearer {issue(DEV_JWT_SECRET, user, seconds=60)}"}

    def post(key):
        return client.post("/chat", json={"message": "hello"}, headers=headers | {"Idempotency-Key": key})

    accepted = post("before")
    assert accepted.status_code == 202
    trip()
    until(lambda: next(iter(client.get("/health/ready").json["breakers"].values()))["state"] == "open")
    refused = post("new")
    assert (refused.status_code, refused.json["code"]) == (503, "provider_unavailable")
    assert 1 <= int(refused.headers["Retry-After"]) <= 15
    assert len(client.get("/sessions", headers=headers).json["sessions"]) == 1
    again = post("before")
    assert (again.status_code, again.json["job_id"]) == (202, accepted.json["job_id"])
    api.redis.close()
