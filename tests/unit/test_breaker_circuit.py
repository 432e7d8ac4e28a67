"""The rules of a circuit breaker, by the thousand, without Redis and without waiting."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from chatapp.live.circuit import CLOSED, HALF_OPEN, OPEN, Circuit, Rules

RULES = Rules(errors=5, window_ms=10_000, probe_ms=6_000)
OPEN_MS = 15_000
START = 1_800_000_000_000


@dataclass
class Told:
    """A circuit and the time."""

    circuit: Circuit
    now: int = START

    def take(self, step, after=0, **told):
        self.now += after
        return self.circuit.take(step, self.now, open_ms=told.pop("open_ms", OPEN_MS), **told)


def told(rules=RULES):
    return Told(Circuit(rules))


def opened():
    """A circuit that six errors have just opened."""
    one = told()
    for _ in range(6):
        one.take("failed")
    return one


def test_five_errors_are_borne_and_the_sixth_opens():
    """`More than 5 errors` is six."""
    one = told()
    assert [one.take("failed", after=10).state for _ in range(6)] == [CLOSED] * 5 + [OPEN]


def test_errors_that_are_far_apart_never_open():
    """Only those within the window count together: six in ten seconds, not six in a day."""
    one = told()
    assert {one.take("failed", after=2_000).state for _ in range(100)} == {CLOSED}


def test_a_success_between_errors_changes_nothing():
    """It is a rate that opens it; a provider that fails every second call is broken, too."""
    one = told()
    for _ in range(5):
        one.take("failed")
        one.take("enter", token="t")
        one.take("succeeded", token="t")
    assert one.take("failed").state == OPEN


def test_while_open_nobody_is_let_in_and_all_are_told_how_long():
    """Until the time is over, to the millisecond."""
    one = opened()
    assert one.take("enter", token="a", after=1_000)[2:4] == (14_000, False)
    assert one.take("enter", token="a", after=13_999)[2:4] == (1, False)
    assert one.take("enter", token="a", after=1).granted


def test_half_open_lets_one_probe_in_and_nobody_else():
    """Who comes meanwhile is told when the probe would be given up."""
    one = opened()
    one.now += OPEN_MS
    assert one.take("enter", token="a").granted
    assert one.take("enter", token="b") == (HALF_OPEN, one.circuit.changed, 6_000, False, 0)


def test_a_probe_that_succeeds_closes():
    """And the errors begin at none."""
    one = opened()
    one.take("enter", token="a", after=OPEN_MS)
    assert one.take("succeeded", token="a").state == CLOSED
    assert [one.take("failed", generation=one.now + 9).state for _ in range(5)] == [CLOSED] * 5


def test_a_probe_that_fails_opens_again_at_once():
    """One error is enough then."""
    one = opened()
    one.take("enter", token="a", after=OPEN_MS)
    assert one.take("failed", token="a")[:3] == (OPEN, one.now, OPEN_MS)


def test_a_probe_without_a_verdict_gives_its_place_back():
    """A cancel says nothing about the provider: the next caller is the probe."""
    one = opened()
    one.take("enter", token="a", after=OPEN_MS)
    assert one.take("released", token="a").state == HALF_OPEN
    assert one.take("enter", token="b").granted


def test_a_probe_that_is_not_renewed_is_given_up():
    """Its process died. What it may say later is not heard."""
    one = opened()
    one.take("enter", token="a", after=OPEN_MS)
    assert not one.take("enter", token="b", after=5_999).granted
    assert one.take("enter", token="b", after=1).granted
    for step in ("failed", "succeeded", "released", "renewed"):
        assert one.take(step, token="a").state == HALF_OPEN
    assert one.take("enter", token="c").wait_ms == 6_000


def test_a_probe_that_is_renewed_is_not_given_up():
    """However long the provider takes."""
    one = opened()
    one.take("enter", token="a", after=OPEN_MS)
    for _ in range(100):
        one.take("renewed", token="a", after=2_000)
        assert not one.take("enter", token="b").granted


def test_late_errors_are_ignored():
    """Calls that began before the breaker opened and closed again say nothing about the provider as it is now."""
    one = opened()
    before = START - 60_000
    one.take("enter", token="a", after=OPEN_MS)
    closed = one.take("succeeded", token="a")
    assert {one.take("failed", generation=before).errors for _ in range(50)} == {0}
    assert one.take("failed", generation=closed.generation).errors == 1


def test_errors_while_it_is_open_do_not_keep_it_open():
    """Those who were under way when it opened fail one after the other."""
    one = opened()
    until = one.circuit.open_until
    for _ in range(20):
        one.take("failed", after=100)
    assert one.circuit.open_until == until


steps = st.tuples(
    st.sampled_from(["look", "enter", "failed", "failed", "failed", "succeeded", "released", "renewed"]),
    st.integers(0, 4_000),
    st.sampled_from(["", "a", "b", "c"]),
    st.booleans(),
)


@given(st.lists(steps, max_size=120))
def test_at_most_one_probe_and_nobody_while_open(sequence):
    """Whatever happens in whatever order: the probe's place is held by one, and never before the time is over."""
    one = told(Rules(errors=2, window_ms=3_000, probe_ms=2_000))
    holder, held_until, generation = "", 0, 0
    for step, after, token, late in sequence:
        was = one.circuit.state(one.now + after)
        answer = one.take(
            step, after=after, token=token or ("x" if step == "enter" else ""), generation=0 if late else generation
        )
        generation = answer.generation
        assert (answer.wait_ms > 0) >= (answer.state == OPEN)
        if step == "enter" and answer.granted:
            assert was == HALF_OPEN
            assert not holder or one.now >= held_until
            holder, held_until = token or "x", one.now + 2_000
        elif token and token == holder and step in ("failed", "succeeded", "released"):
            holder = ""
        elif token and token == holder and step == "renewed":
            held_until = one.now + 2_000
        if answer.state != HALF_OPEN:
            holder = ""


@given(st.lists(st.tuples(st.integers(0, 6_000), st.booleans()), max_size=60))
def test_it_opens_exactly_when_too_many_errors_fall_into_one_window(errors):
    """Against a count by hand, from closed to the first opening."""
    one, counted, now = told(), [], START
    opened_at = None
    for after, counts in errors:
        now += after
        answer = one.take("failed", after=after, generation=0 if counts else -1)
        counted += [now] if counts else []
        if sum(at > now - 10_000 for at in counted) > 5:
            opened_at = now
            break
        assert answer.state == CLOSED
    assert (one.circuit.state(now) == OPEN) == (opened_at is not None)
