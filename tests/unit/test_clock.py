"""Time that all processes share: anchored to what DynamoDB says."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.clock import AnchoredClock

TRUE = 1_800_000_000_000


class Machine(AnchoredClock):
    """A machine whose clock is off by so many milliseconds."""

    def __init__(self, off):
        super().__init__()
        self.off = off
        self.true = TRUE

    def machine(self):
        return self.true + self.off

    def ask(self, takes=20, served_after=10):
        """Ask DynamoDB something: its Date is cut to the second."""
        asked_at = self.machine()
        date = datetime.fromtimestamp((self.true + served_after) // 1000, UTC)
        self.true += takes
        self.anchor(date, asked_at=asked_at)


@pytest.mark.parametrize("off", [-3_600_000, -60_000, -1_500, 0, 1_500, 60_000, 3_600_000])
def test_one_answer_brings_a_machine_within_about_a_second(off):
    """Date has whole seconds."""
    clock = Machine(off)
    clock.ask()
    assert abs(clock.now() - clock.true) <= 1_020


@given(st.integers(-(10**7), 10**7), st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 3_000)), min_size=1, max_size=50))
def test_it_never_leaves_the_range_that_the_last_answer_allows(off, answers):
    """However long answers take."""
    clock = Machine(off)
    for idle, takes in answers:
        clock.true += idle
        clock.ask(takes=takes, served_after=takes // 2)
        assert -1_000 - takes <= clock.now() - clock.true <= 1_000 + takes


def test_a_machine_that_is_right_is_left_alone():
    """The range of every answer holds an offset of nothing."""
    clock = Machine(0)
    for _ in range(200):
        clock.true += 137
        clock.ask()
        assert clock.now() == clock.true


def test_a_machine_that_is_corrected_by_much_says_so(caplog):
    """Once, and not again for what follows from it."""
    clock = Machine(60_000)
    clock.ask()
    clock.ask()
    assert [r.getMessage() for r in caplog.records] == [caplog.records[0].getMessage()]
    assert "off by" in caplog.records[0].getMessage()


def test_an_answer_that_was_long_on_its_way_says_little():
    """It must not move a clock that is right."""
    clock = Machine(0)
    clock.ask(takes=120_000, served_after=1)
    assert clock.now() == clock.true
