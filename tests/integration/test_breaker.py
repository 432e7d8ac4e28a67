"""The shared breaker on a real Redis: in one process, in many, and with Redis away."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis

from chatapp.dev import alone, twin
from chatapp.dev.ports import free_port
from chatapp.dev.process import ROOT
from chatapp.errors import BreakerOpen, CancelRequested, ProviderRateLimited, ProviderUnavailable
from chatapp.live import breaker as breaker_module
from chatapp.live import circuit
from chatapp.live.circuit import Circuit, Rules
from chatapp.model import Pending
from tests.integration.breaker_child import TIME_OUT, breakers, fail, tried, until
from tests.servers import clean_env


@pytest.fixture
def redis(valkey):
    """A clean Redis."""
    with Redis.from_url(valkey, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def make(valkey, redis):
    """Make a breaker as another process would have it, with its own memory of the state."""
    made = []

    def make(url=valkey, **options):
        made.append(breakers(url, **options))
        return made[-1].chain("m")[0]

    yield make
    for each in made:
        each._circuits._script.registered_client.close()


def trip(breaker):
    """Let it open, for long enough that it is still open when it is asked next."""
    for _ in range(6):
        assert tried(breaker, fail) == "in"
    assert tried(breaker, fail) == "out"


# --- the rules in Redis are the rules

LUA_BY_A_CLOCK_OF_OURS = circuit._SCRIPT.replace("redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, 1)")
assert LUA_BY_A_CLOCK_OF_OURS != circuit._SCRIPT

steps = st.tuples(
    st.sampled_from(["look", "enter", "failed", "failed", "failed", "succeeded", "released", "renewed"]),
    st.integers(0, 2_500),
    st.sampled_from(["", "", "a", "b"]),
    st.integers(0, 3),
)


AROUND = [("failed", 0, "", 0)] * 3 + [("enter", 2_500, "a", 0), ("enter", 600, "a", 0), ("succeeded", 9, "a", 0)]
"""Opened, half open, closed again: what chance seldom finds."""


@example([*AROUND, *[("failed", 1, "", 1)] * 4, *[("failed", 1, "", 0)] * 3])
@example([*AROUND[:-1], ("enter", 1_900, "b", 0), ("enter", 200, "b", 0), ("failed", 1, "a", 0), ("failed", 1, "b", 0)])
@example([*AROUND[:-1], ("renewed", 1_900, "a", 0), ("enter", 200, "b", 0), ("released", 1, "a", 0), ("enter", 1, "b", 0)])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=60))
def test_redis_and_the_process_keep_the_same_rules(redis, sequence):
    """The same steps at the same times have the same answers, all of them."""
    redis.flushall()
    script = redis.register_script(LUA_BY_A_CLOCK_OF_OURS)
    rules, now, generations = Rules(errors=2, window_ms=4_000, probe_ms=2_000), 1_800_000_000_123, [0]
    own = Circuit(rules)
    for step, after, chosen, back in sequence:
        now += after
        token = chosen or ("x" if step == "enter" else "")
        generation = generations[-1 - back % len(generations)]
        redis.delete("clock")
        redis.rpush("clock", now // 1000, now % 1000 * 1000 + 999)
        numbers = [generation, 3_000, rules.errors, rules.window_ms, rules.probe_ms, 900_000]
        theirs = script(keys=["breaker:{x}", "breaker:{x}:errors"], args=[step, token, *numbers])
        ours = own.take(step, now, token=token, generation=generation, open_ms=3_000)
        assert theirs == [*ours[:3], int(ours[3]), ours[4]]
        if ours.generation != generations[-1]:
            generations.append(ours.generation)


# --- one process


def test_six_errors_open_it_for_everybody_at_once(make):
    """Somebody who looked just before knows soon, who did not look yet knows at once."""
    one, other, fresh = make(), make(), make()
    assert other.closed
    began = time.monotonic()
    trip(one)
    assert fresh.opened
    assert 15 - (time.monotonic() - began) - 0.1 < fresh.open_remaining <= 15
    assert until(lambda: other.opened) < 5


def test_a_process_that_has_just_started_lets_no_burst_through(make):
    """Twenty calls at once, and the first of them asks: the others wait for what it learns."""
    trip(make())
    fresh, go = make(), threading.Barrier(20)

    def call(_):
        go.wait()
        return tried(fresh, int)

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(call, range(20))) == {"out"}


def test_a_refused_caller_is_told_when_to_come_back(make):
    """`retry_after` is the time until it half-opens."""
    one = make(open_seconds=7)
    began = time.monotonic()
    trip(one)
    with pytest.raises(BreakerOpen) as caught:
        one.call(fail)
    assert 7 - (time.monotonic() - began) - 0.1 < caught.value.retry_after <= 7


def test_a_longer_retry_after_of_the_provider_is_honoured_and_a_mad_one_is_not(make):
    """It knows better than we; within reason."""

    def failing(retry_after):
        raise ProviderUnavailable(retry_after=retry_after)

    for told, seconds in ((40, 40), (86_400, 120), (1, 15)):
        one = make()
        one._circuits._script.registered_client.flushall()
        began = time.monotonic()
        for _ in range(6):
            with pytest.raises(ProviderUnavailable):
                one.call(failing, told)
        assert seconds - (time.monotonic() - began) - 0.1 < one.open_remaining <= seconds


@pytest.mark.parametrize("error", [ProviderRateLimited(retry_after=9), CancelRequested(), ValueError("ours")], ids=repr)
def test_what_says_nothing_about_the_provider_does_not_count(make, error):
    """Neither a 429, nor our own stop, nor our own fault; and a probe that ends so gives its place back."""

    def failing():
        raise error

    one = make(open_seconds=1)
    for _ in range(10):
        with pytest.raises(type(error)):
            one.call(failing)
    assert one.closed
    trip(one)
    until(lambda: one.state == "half_open")
    for _ in range(3):
        with pytest.raises(type(error)):
            one.call(failing)
    assert one.state == "half_open"
    assert tried(one, lambda: None) == "in"
    assert one.closed


def test_a_stream_that_is_cut_is_an_error_and_one_that_its_reader_leaves_is_not(make):
    """How a stream ends is its verdict."""

    def stream(error=None):
        yield "a"
        yield "b"
        if error:
            raise error

    one = make()
    for _ in range(10):
        left = one.call_generator(stream)
        assert next(left) == "a"
        left.close()
        assert list(one.call_generator(stream)) == ["a", "b"]
    assert one.closed
    for _ in range(6):
        with pytest.raises(ProviderUnavailable):
            list(one.call_generator(stream, ProviderUnavailable("cut")))
    with pytest.raises(BreakerOpen):
        next(one.call_generator(stream))


def test_a_probe_that_streams_is_believed_before_its_end(make, monkeypatch):
    """Nobody waits for the end of a long answer; signs of life prove nothing; cut after that it is one error of six."""
    monkeypatch.setattr(breaker_module, "PROVEN_SECONDS", 0.1)
    one, other = make(open_seconds=1), make()
    trip(one)
    until(lambda: one.state == "half_open")
    go_on = threading.Event()

    def stream():
        for _ in range(3):
            yield Pending()
            time.sleep(0.05)
        yield "a"
        go_on.wait(5)
        yield "b"
        raise ProviderUnavailable("cut")

    probe = one.call_generator(stream)
    for _ in range(3):
        next(probe)
    assert next(probe) == "a"
    assert other.state == "half_open"
    time.sleep(0.1)
    go_on.set()
    next(probe)
    with pytest.raises(ProviderUnavailable):
        next(probe)
    assert until(lambda: other.closed) < 5
    assert make().failure_count == 1


def test_a_change_is_told_to_who_follows_and_to_the_log(valkey, redis, caplog):
    """For metrics; a follower that fails fails nobody's call."""
    made = breakers(valkey, open_seconds=1)
    (one,), seen = made.chain("m"), []
    made.on_change += [lambda *_: 1 / 0, lambda *change: seen.append(change)]
    trip(one)
    until(lambda: one.state == "half_open")
    assert tried(one, lambda: None) == "in"
    name = "llm.example.com/m"
    assert seen == [(name, "closed", "open"), (name, "open", "half_open"), (name, "half_open", "closed")]
    assert caplog.text.count("the breaker of llm.example.com/m is") == 3
    assert made.states() == {name: {"state": "closed"}}
    made._circuits._script.registered_client.close()


# --- what it costs


def test_while_all_is_well_redis_is_asked_once_in_a_while_and_not_per_call(make, redis):
    """And while it is open not even that."""
    one = make()
    one.call(int)
    redis.config_resetstat()
    began = time.monotonic()
    for _ in range(2_000):
        one.call(int)
    asked = redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    assert asked <= (time.monotonic() - began) / breaker_module.CACHE_SECONDS + 1
    trip(one)
    redis.config_resetstat()
    for _ in range(2_000):
        assert tried(one, fail) == "out"
    assert "cmdstat_evalsha" not in redis.info("commandstats")


def test_nothing_is_left_in_redis_for_ever(make, redis):
    """Both keys lapse."""
    assert tried(make(), fail) == "in"
    assert {key: redis.ttl(key) > 0 for key in redis.scan_iter()} == {
        "breaker:{llm.example.com/m}": True,
        "breaker:{llm.example.com/m}:errors": True,
    }


# --- many processes


class Process:
    """A process with a breaker of its own: see breaker_child."""

    def __init__(self, url, open_seconds, probe_ms):
        command = [sys.executable, "-m", "tests.integration.breaker_child", url, "m", str(open_seconds), str(probe_ms)]
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen(command, cwd=ROOT, env=clean_env(), stdin=pipe, stdout=pipe, text=True)

    def ask(self, command):
        self.popen.stdin.write(command + "\n")
        self.popen.stdin.flush()

    def answer(self):
        return self.popen.stdout.readline().strip()

    def do(self, command):
        self.ask(command)
        return self.answer()


@pytest.fixture
def processes(valkey, redis):
    """Start so many processes, each ready."""
    with ExitStack() as stack:

        def start(number, open_seconds=15.0, probe_ms=6_000):
            started = [Process(valkey, open_seconds, probe_ms) for _ in range(number)]
            for process in started:
                stack.enter_context(process.popen)
                stack.callback(process.popen.kill)
            assert [p.do("state") for p in started] == ["closed"] * number
            return started

        yield start


def test_four_processes_let_exactly_six_calls_through(processes):
    """One after the other in turn: the errors of all count together."""
    four = processes(4)
    assert [four[n % 4].do("fail") for n in range(20)] == ["in"] * 6 + ["out"] * 14


def test_four_processes_in_a_storm_let_no_more_through_than_were_under_way(processes):
    """All at once: six, and those who had been let in before the sixth error was known."""
    four = processes(4)
    for process in four:
        for _ in range(50):
            process.ask("fail")
    through = [process.answer() for process in four for _ in range(50)].count("in")
    assert 6 <= through <= 6 + 3


def test_eight_processes_send_one_probe(processes):
    """When half open; the others are refused, and let in once it has succeeded."""
    eight = processes(8, open_seconds=1)
    for _ in range(6):
        assert eight[0].do("fail") == "in"
    until(lambda: eight[0].do("state") == "half_open")
    for process in eight:
        process.ask("hold")
    assert sorted(process.answer() for process in eight) == ["in"] + ["out"] * 7


def test_the_place_of_a_probe_whose_process_was_killed_is_given_to_another(processes):
    """Not as long as it lives, however long that is; soon after it died."""
    first, second = processes(2, open_seconds=1, probe_ms=1_500)
    for _ in range(6):
        assert first.do("fail") == "in"
    until(lambda: first.do("state") == "half_open")
    assert first.do("hold") == "in"
    for _ in range(20):
        assert second.do("succeed") == "out"
        time.sleep(0.1)
    os.kill(first.popen.pid, signal.SIGKILL)
    assert 0.3 < until(lambda: second.do("succeed") == "in") < 3
    assert second.do("state") == "closed"


# --- without Redis


@contextmanager
def own_redis(folder, port):
    """A Redis that can be taken away."""
    child = twin.redis(port, None)
    with alone.running(child, clean_env(child.env), folder):
        yield


def test_without_redis_the_same_rules_hold_in_each_process(make, caplog):
    """It opens, half-opens with one probe, and closes; the log says once in a while that Redis is away."""
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    one, other = make(nowhere, open_seconds=1), make(nowhere)
    trip(one)
    assert other.closed
    until(lambda: one.state == "half_open")
    with one.enter():
        assert tried(one, fail) == "out"
    assert one.closed
    assert 1 <= caplog.text.count("each process guards the model on its own") <= 4


def test_a_redis_that_goes_and_comes_back_empty_is_survived(make, tmp_path):
    """What was open stays open without it; when it is back, all share one state again within seconds."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    one, other = make(url, open_seconds=6), make(url, open_seconds=6)
    with own_redis(tmp_path, port):
        assert other.closed
        trip(one)
        until(lambda: other.opened)
    assert tried(one, fail) == tried(other, fail) == "out"
    until(lambda: one.state == "half_open")
    assert tried(one, fail) == "in"  # a probe, in this process alone
    assert tried(one, fail) == "out"
    with own_redis(tmp_path, port):
        until(lambda: tried(one, int) == tried(other, int) == "in")
        until(lambda: one._circuits._own == other._circuits._own == {} and one.closed and other.closed)
        for _ in range(3):
            assert tried(one, fail) == tried(other, fail) == "in"
        assert tried(one, fail) == tried(other, fail) == "out"


def test_a_redis_that_does_not_answer_holds_up_one_call_in_a_while(make, tmp_path):
    """A stopped Redis costs its time-out once, not per call."""
    port = free_port()
    child = twin.redis(port, None)
    with alone.running(child, clean_env(child.env), tmp_path) as process:
        one = make(f"redis://127.0.0.1:{port}/0")
        one.call(int)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            time.sleep(breaker_module.CACHE_SECONDS)
            began = time.monotonic()
            for _ in range(200):
                one.call(int)
            assert time.monotonic() - began < 200 * TIME_OUT / 10  # a tenth of what a time-out for each would take
        finally:
            os.kill(process.pid, signal.SIGCONT)
