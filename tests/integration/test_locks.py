"""Leases on named things, over real tables and processes: one holder, and a fence for who believes that it still is one."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import psutil
import pytest
from botocore.exceptions import ClientError

from chatapp.errors import LockTaken, StoreUnavailable
from chatapp.stores.dynamo import call, from_item, transact
from chatapp.stores.locks import FENCE, SKEW_MS, LockStore
from tests.fakes import FakeClock
from tests.integration.lock_child import CONTENDERS, KEY
from tests.integration.workers import env_of, until

LEASE_MS = 10_000


@pytest.fixture
def clock():
    """Stands still until it is told to move."""
    return FakeClock()


@pytest.fixture
def make(services, clock):
    """Make the store of a process."""
    table = services.settings.table_name("locks")
    return lambda client=services.dynamodb: LockStore(client, table=table, clock=clock, lease_ms=LEASE_MS)


@pytest.fixture
def name(user):
    """A lock that no other test has."""
    return f"lock-{user}"


def test_one_holds_and_the_next_has_a_higher_token(make, name):
    """Given back, it is free at once."""
    locks = make()
    with locks.hold(name) as first:
        with pytest.raises(LockTaken), make().hold(name):
            pytest.fail("two hold it")
        assert (first.lost, locks.acquire(name, "relay")) == (False, None)
    assert first.lost
    with make().hold(name) as second:
        assert second.token > first.token


def test_who_waits_gets_it(make, name):
    """As soon as it is given back."""
    locks, holding, go = make(), threading.Event(), threading.Event()

    def hold():
        with locks.hold(name):
            holding.set()
            go.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(10)
    threading.Timer(0.2, go.set).start()
    with make().hold(name, wait=3_600) as held:
        assert not held.lost
    thread.join()


def test_time_ends_a_lease_not_the_table(make, clock, name):
    """Its item is still there, and taken over; the old holder knows by its own clock, and changes nothing any more."""
    with make().hold(name) as old:
        clock.ms += LEASE_MS
        assert old.lost
        with pytest.raises(LockTaken), make().hold(name):
            pytest.fail("it was taken within what clocks may differ")
        clock.ms += SKEW_MS + 1
        with make().hold(name) as new:
            assert (new.token > old.token, new.lost) == (True, False)
    assert make().acquire(name, "relay") is not None


def test_a_lease_is_renewed_in_the_background(services, name):
    """It is held for longer than it lasts."""
    table = services.settings.table_name("locks")
    locks = LockStore(services.dynamodb, table=table, clock=services.clock, lease_ms=2_000, skew_ms=0)
    ends = lambda: from_item(services.dynamodb.get_item(**call(table, key={"Resource": name}))["Item"])["LeaseEnd"]  # noqa: E731
    with locks.hold(name) as held:
        first = ends()
        until(lambda: ends() > first + 2_000, 20, "the lease was not renewed")
        assert not held.lost


@contextmanager
def resource(services, name):
    """An item that the lock protects."""
    table = services.settings.table_name("sessions")
    services.dynamodb.put_item(**call(table, item={"SessionId": name, "Written": "nothing"}))
    yield table, lambda: from_item(services.dynamodb.get_item(**call(table, key={"SessionId": name}))["Item"])["Written"]


def test_a_transaction_asks_whether_the_lease_still_stands(services, make, clock, name):
    """After it was taken over, and after it was given back, nothing is written."""
    with resource(services, name) as (table, written):

        def write(held):
            update = call(table, key={"SessionId": name}, values={"v": held.token}, UpdateExpression="SET Written = :v")
            transact(services.dynamodb, [{"Update": update}, held.still()])

        with make().hold(name) as old:
            write(old)
            clock.ms += LEASE_MS + SKEW_MS + 1
            with make().hold(name) as new:
                with pytest.raises(ClientError):
                    write(old)
                write(new)
            with pytest.raises(ClientError):
                write(new)
        assert written() == new.token


def test_a_resource_refuses_lower_tokens(services, make, clock, name):
    """The fence for a single write, without the table of locks."""
    with resource(services, name) as (table, written):

        def write(held):
            request = {"UpdateExpression": "SET Written = :fence, Fence = :fence", "ConditionExpression": FENCE}
            services.dynamodb.update_item(**call(table, key={"SessionId": name}, values={"fence": held.token}, **request))

        with make().hold(name) as old:
            write(old)
            clock.ms += LEASE_MS + SKEW_MS + 1
            with make().hold(name) as new:
                write(new)
                with pytest.raises(ClientError):
                    write(old)
        assert written() == new.token


def test_tokens_rise_also_when_the_table_forgets(services, make, clock, name):
    """DynamoDB deletes what is over; a fence elsewhere remembers."""
    with make().hold(name) as before:
        pass
    services.dynamodb.delete_item(**call(services.settings.table_name("locks"), key={"Resource": name}))
    clock.ms += 86_400_000
    with make().hold(name) as after:
        assert after.token > before.token


def test_a_store_that_is_away_costs_the_lease_and_no_more(services, make, clock, name):
    """The lease runs out by itself; who held it leaves in peace."""

    class Away:
        """Works once."""

        def __init__(self):
            self.asked = 0

        def update_item(self, **request):
            self.asked += 1
            if self.asked > 1:
                raise StoreUnavailable
            return services.dynamodb.update_item(**request)

    with make(Away()).hold(name) as held:
        assert not held.lost
    with pytest.raises(LockTaken), make().hold(name):
        pytest.fail("it was not given back")
    clock.ms += LEASE_MS + SKEW_MS + 1
    with make().hold(name) as again:
        assert again.token > held.token


def _let_go(stopped):
    until(lambda: stopped.status() == psutil.STATUS_STOPPED, 30, "it does not stop")
    stopped.resume()


def contend(settings, times, fenced):
    """Let them contend; the one that stopped goes on when others have written. Gives all that they told."""
    lines, stopped, since = [], None, 0
    env = {**os.environ, **env_of(settings)}
    command = [sys.executable, "-m", "tests.integration.lock_child", str(times), fenced]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        try:
            for line in child.stdout:
                deed, *more = line.split()
                lines.append((deed, *more))
                if deed == "stopped":
                    stopped = psutil.Process(int(more[1]))
                elif deed == "wrote" and stopped is not None:
                    since += 1
                    if since == 3:
                        _let_go(stopped)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)  # or the end of this block would wait for them
            raise
    return lines


def test_never_two_holders_whose_writes_both_land(settings, services):
    """Sixteen contend; one is killed with the lease in hand, one stopped past its lease and resumed in mid-write."""
    times = 2
    table = settings.table_name("sessions")
    services.dynamodb.put_item(**call(table, item={**KEY, "Total": 0, "Tokens": []}))
    lines = contend(settings, times, "fenced")
    deeds = [deed for deed, *_ in lines]
    left = from_item(services.dynamodb.get_item(**call(table, key=KEY, ConsistentRead=True))["Item"])
    assert (deeds.count("killed"), deeds.count("stopped"), deeds.count("ended")) == (1, 1, CONTENDERS)
    assert [more[1] for deed, *more in lines if deed == "refused"] == ["True"]
    assert left["Total"] == len(left["Tokens"]) == deeds.count("wrote") == (CONTENDERS - 1) * times - 1
    assert left["Tokens"] == sorted(set(left["Tokens"]))
