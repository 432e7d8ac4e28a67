"""Other APIs through the cache in Redis: one call for many, an old answer rather than none, and Redis away."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx2
import pytest
from click.testing import CliRunner
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from chatapp.cli import cli
from chatapp.clock import SystemClock
from chatapp.dev import alone
from chatapp.dev.ports import free_port
from chatapp.dev.process import ROOT
from chatapp.errors import ExternalRefused, ExternalUnavailable, StaleAttempt
from chatapp.live.api_cache import MAX_BYTES, ApiCache, fresh_key, lease_key, name_of, stale_key
from chatapp.live.api_lease import Leases
from chatapp.live.external import CachedApis
from tests.integration.breaker_child import until
from tests.integration.external_child import LEASE_SECONDS
from tests.servers import clean_env

QUESTION = {"keyword": "gru"}
NAME = name_of("airports", QUESTION)


@pytest.fixture
def redis(valkey):
    """A clean Redis."""
    with Redis.from_url(valkey, decode_responses=True) as client:
        client.flushall()
        yield client


class Api:
    """An API that counts. `answers`: what it says or raises, call by call, the last one from then on."""

    def __init__(self, *answers, hold=False):
        self.answers, self.calls, self.hold = list(answers), 0, hold
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, params):
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        self.begun.set()
        if self.hold:
            assert self.go.wait(10)
        if isinstance(answer, BaseException):
            raise answer
        return answer(params) if callable(answer) else answer


def apis_over(client, api, **seconds):
    """Make what one process has; another call is another process."""
    clock = SystemClock()
    cache = ApiCache(client, clock, **{"seconds": 60, "stale_seconds": 60, **seconds})
    return CachedApis({"airports": api}, cache, Leases(client, seconds=LEASE_SECONDS), clock)


@contextmanager
def child(valkey, partners, keyword):
    """Another process: takes a line, gives a line."""
    command = [sys.executable, "-m", "tests.integration.external_child", valkey, partners, keyword]
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    )
    try:
        yield process
    finally:
        alone.stop(process)
        process.stdin.close()
        process.stdout.close()


def send(process, line):
    """Give it a line."""
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


# --- one call for many


def test_fifty_in_four_processes_make_one_call(valkey, redis, partners):
    """The others wait for the one who asks, in its process and in the others; all have the whole answer."""
    keyword = "sao paulo [[delay=0.4]]"
    before = httpx2.get(f"{partners}/stats").json()["airports"]
    with ExitStack() as running:
        processes = [running.enter_context(child(valkey, partners, keyword)) for _ in range(4)]
        for process in processes:
            send(process, 13)
        told = [json.loads(process.stdout.readline()) for process in processes]
    assert told == [["SAO", "GRU", "CGH", "VCP"]] * 4
    assert httpx2.get(f"{partners}/stats").json()["airports"] == before + 1
    assert not redis.exists(lease_key(name_of("airports", {"keyword": keyword})))


def test_a_killed_leader_is_waited_for_no_longer_than_its_lease(valkey, redis, partners):
    """While it lives its lease is renewed and nobody else asks; after its death one of those who wait does."""
    api = Api({"data": []})
    apis = apis_over(redis, api)
    with child(valkey, partners, QUESTION["keyword"]) as leader, ThreadPoolExecutor(5) as pool:
        send(leader, "lead")
        assert leader.stdout.readline() == "leading\n"
        waiting = [pool.submit(apis.cached_get, "airports", QUESTION) for _ in range(5)]
        left = []
        until(lambda: left.append(redis.pttl(lease_key(NAME))) or left[-1] > min(left))  # it renews
        assert api.calls == 0
        leader.kill()
        assert [future.result(30) for future in waiting] == [{"data": []}] * 5
    assert api.calls == 1


def test_who_is_stopped_lets_go_at_once(redis):
    """An attempt that is stopped while it asks does not make the rest of the fleet wait for its lease."""
    with pytest.raises(StaleAttempt):
        apis_over(redis, Api(StaleAttempt("lost"))).cached_get("airports", QUESTION)
    assert not redis.exists(lease_key(NAME), fresh_key(NAME))


def test_a_failure_is_told_to_those_who_wait_elsewhere(redis):
    """An API that is down is not asked once by each of them."""
    api = Api(ExternalUnavailable("down"), hold=True)
    processes = [apis_over(redis, api) for _ in range(6)]
    redis.config_resetstat()
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(apis.cached_get, "airports", QUESTION) for apis in processes]
        until(lambda: redis.info("commandstats").get("cmdstat_set", {"calls": 0})["calls"] >= 6)  # all want the lease
        api.go.set()
        for future in asked:
            with pytest.raises(ExternalUnavailable):
                future.result(10)
    assert api.calls == 1
    assert not redis.exists(fresh_key(NAME), stale_key(NAME))


# --- what is kept


def test_an_answer_is_kept_in_the_words_of_the_design(redis):
    """`api_cache:<endpoint>:<params_hash>` with data, timestamp and ttl, for its time; no key holds what was asked."""
    api = Api({"data": [{"iataCode": "GRU"}]})
    assert apis_over(redis, api, seconds=300).cached_get("airports", QUESTION) == api.answers[0]
    assert apis_over(redis, api).cached_get("airports", dict(QUESTION)) == api.answers[0]
    assert api.calls == 1
    kept = json.loads(redis.get(f"api_cache:{NAME}"))
    assert kept == {"data": api.answers[0], "timestamp": kept["timestamp"], "ttl": 300}
    assert 295 < redis.ttl(fresh_key(NAME)) <= 300
    assert sorted(redis.keys()) == [fresh_key(NAME), stale_key(NAME)]


def test_what_one_caller_does_to_an_answer_is_not_seen_by_another(redis):
    """Each has an answer of its own."""
    apis = apis_over(redis, Api({"data": [1]}))
    apis.cached_get("airports", QUESTION)["data"].clear()
    assert apis.cached_get("airports", QUESTION) == {"data": [1]}


def test_a_stale_answer_is_better_than_none(redis):
    """When the fresh one has gone and the API is away, its copy is given; another question has none."""
    api = Api({"data": [1]}, ExternalUnavailable("down"))
    apis = apis_over(redis, api, seconds=0.05)
    apis.cached_get("airports", QUESTION)
    until(lambda: not redis.exists(fresh_key(NAME)))
    assert apis.cached_get("airports", QUESTION) == {"data": [1]}
    assert apis.cached_get("airports", QUESTION) == {"data": [1]}
    assert api.calls == 2, "after a failure the API is left alone for a moment"
    with pytest.raises(ExternalUnavailable):
        apis.cached_get("airports", {"keyword": "other"})


def test_a_refused_question_has_no_stale_answer_and_leaves_nothing(redis):
    """It was answered, with no: that is neither kept nor papered over."""
    api = Api({"data": [1]}, ExternalRefused("no"), {"data": [2]})
    apis = apis_over(redis, api, seconds=0.05)
    apis.cached_get("airports", QUESTION)
    until(lambda: not redis.exists(fresh_key(NAME)))
    with pytest.raises(ExternalRefused):
        apis.cached_get("airports", QUESTION)
    assert apis.cached_get("airports", QUESTION) == {"data": [2]}


def test_an_answer_that_is_too_large_is_handed_on_and_not_kept(redis):
    """Redis is shared with the live events."""
    api = Api({"data": "x" * MAX_BYTES})
    apis = apis_over(redis, api)
    assert len(apis.cached_get("airports", QUESTION)["data"]) == MAX_BYTES
    assert not redis.keys("api_*")


def test_what_cannot_be_read_is_asked_again(redis):
    """Somebody else's value under the key harms nobody."""
    redis.set(fresh_key(NAME), "{not json", px=60_000)
    assert apis_over(redis, Api({"data": []})).cached_get("airports", QUESTION) == {"data": []}


def test_a_flow_keeps_answers_of_its_own(redis):
    """Such as what a text was found to mean."""
    apis = apis_over(redis, Api({}))
    assert apis.recall("intent", {"text": "cheguei"}) is None
    apis.keep("intent", {"text": "cheguei"}, {"intent": "check_in"})
    assert apis_over(redis, Api({})).recall("intent", {"text": "cheguei"}) == {"intent": "check_in"}


# --- invalidation


def test_answers_are_invalidated_by_pattern(redis):
    """Fresh and stale ones of that endpoint and no others, however many, without KEYS."""
    cache = ApiCache(redis, SystemClock(), seconds=60, stale_seconds=60)
    for n in range(600):
        cache.put("flights", {"n": n}, n)
    cache.put("airports", {"n": 1}, "kept")
    redis.set("context:{x}", "kept")
    redis.config_resetstat()
    assert cache.invalidate("fl*") == 600
    assert "cmdstat_keys" not in redis.info("commandstats")
    one = name_of("airports", {"n": 1})
    assert sorted(redis.keys()) == [fresh_key(one), stale_key(one), "context:{x}"]
    assert cache.invalidate(one) == 1
    assert cache.get("airports", {"n": 1}) is None


def test_what_was_asked_before_an_invalidation_is_not_kept_after_it(redis):
    """The answer may be the very one that was meant."""
    cache = ApiCache(redis, SystemClock(), seconds=60, stale_seconds=60)
    api = Api(lambda _: {"data": cache.invalidate("airports")})
    assert apis_over(redis, api).cached_get("airports", QUESTION) == {"data": 0}
    assert not redis.keys("api_*")


def test_an_operator_invalidates_by_a_command(valkey, redis, monkeypatch):
    """It says how many fresh answers went, and refuses what is no pattern of ours."""
    monkeypatch.setenv("REDIS_URL", valkey)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    ApiCache(redis, SystemClock(), seconds=60, stale_seconds=60).put("flights", {}, [1])
    done = CliRunner().invoke(cli, ["cache", "invalidate", "flights"])
    assert (done.exit_code, done.output) == (0, "fresh answers forgotten: 1\n")
    assert not redis.keys("api_*")
    assert "is no pattern" in CliRunner().invoke(cli, ["cache", "invalidate", "a b"]).output
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    away = CliRunner().invoke(cli, ["cache", "invalidate", "flights"])
    assert (away.exit_code, "Redis is not available" in away.output) == (1, True)


# --- Redis away


def test_without_redis_the_api_is_asked(redis):
    """Each time, but still once for all who ask at the same moment; nothing is raised, and nothing is kept."""
    with Redis(port=free_port(), retry=Retry(NoBackoff(), 0)) as away:
        api = Api({"data": [1]})
        apis = apis_over(away, api)
        assert apis.cached_get("airports", QUESTION) == apis.cached_get("airports", QUESTION) == {"data": [1]}
        assert api.calls == 2
        apis.keep("intent", {}, 1)
        assert apis.recall("intent", {}) is None
        with pytest.raises(RedisError):
            ApiCache(away, SystemClock(), seconds=1, stale_seconds=1).invalidate("*")


def test_redis_that_goes_while_the_api_is_asked_costs_no_second_call(valkey, redis):
    """The answer is there: that it cannot be kept is no reason to ask again."""
    client = Redis.from_url(valkey, decode_responses=True, retry=Retry(NoBackoff(), 0))

    def vanish(_):
        client.connection_pool.disconnect()
        client.connection_pool.connection_kwargs["port"] = free_port()
        return {"data": []}

    api = Api(vanish)
    assert apis_over(client, api).cached_get("airports", QUESTION) == {"data": []}
    assert api.calls == 1
    client.close()


def test_an_endpoint_that_nobody_configured(redis):
    """A flow hears that it is not there, as when it is away."""
    with pytest.raises(ExternalUnavailable, match="No API is configured"):
        apis_over(redis, Api({})).cached_get("flights", {})
