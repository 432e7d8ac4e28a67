"""The rate limit on a real Redis."""

import threading
import time
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chatapp.dev.ports import free_port
from chatapp.live.ratelimit import PAUSE_SECONDS, UNLIMITED, RateLimiter


def client_of(url: str) -> Redis:
    """Connect as the product does."""
    return Redis.from_url(url, decode_responses=True, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0))


@pytest.fixture
def redis(valkey) -> Iterator[Redis]:
    """A clean Redis."""
    with client_of(valkey) as client:
        client.flushall()
        yield client


def test_a_window_may_come_at_once_and_no_more(redis):
    """The first `requests` pass, counted down; the next is told when to come back, and costs nothing."""
    limiter = RateLimiter(redis, requests=3, seconds=60)
    allowances = [limiter.take("ada") for _ in range(5)]
    assert [a.allowed for a in allowances] == [True, True, True, False, False]
    assert [a.remaining for a in allowances] == [2, 1, 0, 0, 0]
    assert [round(a.reset) for a in allowances[:3]] == [20, 40, 60]
    assert 19 < allowances[4].retry_after <= 20
    assert limiter.take("bob").allowed


def test_what_was_taken_is_given_back_evenly(redis):
    """After `retry_after` one more request is allowed, and only one."""
    limiter = RateLimiter(redis, requests=4, seconds=4)
    while (last := limiter.take("ada")).allowed:
        pass
    assert 0 < last.retry_after <= 1
    time.sleep(last.retry_after + 0.005)
    assert limiter.take("ada").allowed
    assert not limiter.take("ada").allowed


def test_the_key_lapses_when_all_is_given_back(redis):
    """A user who went away leaves nothing behind."""
    began = time.monotonic()
    RateLimiter(redis, requests=10, seconds=60).take("ada")
    left = redis.pttl("ratelimit:ada")
    assert 6_000 - 1_000 * (time.monotonic() - began) - 10 <= left <= 6_000


def test_a_lowered_limit_keeps_nobody_out_for_longer_than_a_window(redis):
    """What an older setting left in Redis is cut to the new window, and given back from then on."""
    generous = RateLimiter(redis, requests=100, seconds=3_600)
    for _ in range(100):
        generous.take("ada")
    limiter = RateLimiter(redis, requests=10, seconds=5)
    refused = limiter.take("ada")
    assert 0 < refused.retry_after <= 5
    time.sleep(refused.retry_after + 0.005)
    assert limiter.take("ada").allowed


def test_callers_at_once_share_one_limit(valkey, redis):
    """Two hundred requests from eight threads and two processes' worth of limiters: exactly the limit passes."""
    limiters = [RateLimiter(client_of(valkey), requests=50, seconds=600) for _ in range(2)]
    passed: list[bool] = []

    def run(n: int) -> None:
        passed.extend(limiters[n % 2].take("ada").allowed for _ in range(25))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for limiter in limiters:
        limiter._take.registered_client.close()
    assert len(passed) == 200
    assert sum(passed) == 50


def test_it_is_one_round_trip_and_survives_a_script_flush(redis):
    """EVALSHA alone; a Redis that forgot the script is taught it again."""
    limiter = RateLimiter(redis, requests=10, seconds=60)
    limiter.take("ada")
    redis.config_resetstat()
    for _ in range(5):
        limiter.take("ada")
    stats = redis.info("commandstats")
    # What the script calls inside (GET, SET, TIME) is counted by Redis too, but travels nowhere.
    assert {name: stats[name]["calls"] for name in stats if name not in ("cmdstat_get", "cmdstat_set", "cmdstat_time")} == {
        "cmdstat_evalsha": 5,
        "cmdstat_config|resetstat": 1,
    }
    redis.script_flush()
    assert limiter.take("ada").remaining == 3


def test_zero_switches_it_off():
    """No Redis is asked."""
    with client_of("redis://127.0.0.1:1/0") as nowhere:
        assert RateLimiter(nowhere, requests=0, seconds=60).take("ada") == UNLIMITED


def test_without_redis_nobody_is_turned_away(caplog):
    """It fails open, quickly, says so once, and leaves Redis alone for a while."""
    with client_of(f"redis://127.0.0.1:{free_port()}/0") as nowhere:
        limiter = RateLimiter(nowhere, requests=1, seconds=60)
        before = time.monotonic()
        assert [limiter.take("ada") for _ in range(100)] == [UNLIMITED] * 100
        assert time.monotonic() - before < PAUSE_SECONDS
    assert caplog.text.count("requests are not limited") == 1
