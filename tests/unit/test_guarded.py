"""Which provider is asked, and what is told when none can answer: over scripted providers, without a network."""

import pytest

from chatapp import errors
from chatapp.llm.guarded import GuardedLLM, Provider
from chatapp.model import Finish, FinishReason, Message, ModelOptions, ModelRequest, Pending, TextDelta
from tests.fakes import FakeClock

REQUEST = ModelRequest((Message("user", "hi"),), ModelOptions("asked-for"), "u", "job")
DONE = Finish(FinishReason.STOP, "m", None)


class Scripted:
    """Yields and raises what it is told to; a number lets so many seconds pass."""

    def __init__(self, clock, *script):
        self._clock, self._script = clock, script
        self.asked, self.closed = [], 0

    def stream(self, request, seconds):
        self.asked.append((request.options.model, seconds))
        try:
            for step in self._script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, int):
                    self._clock.sleep(step)
                else:
                    yield step
        finally:
            self.closed += 1


class Open:
    """A breaker that is open for so many seconds, or, at 0, lets all in."""

    def __init__(self, seconds=0):
        self.name, self._seconds = "b", seconds

    def call_generator(self, func, *args):
        if self._seconds:
            raise errors.BreakerOpen(retry_after=self._seconds)
        yield from func(*args)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def guarded(clock):
    """Make a guarded model of scripts, with a breaker for each."""

    def make(*scripts, breakers=None, seconds=120):
        models = [Scripted(clock, *script) for script in scripts]
        providers = [Provider(llm, None if n == 0 else f"fallback-{n}") for n, llm in enumerate(models)]
        chain = [Open(s) for s in breakers or [0] * len(models)]
        return GuardedLLM(providers, lambda _model: chain, clock=clock, seconds=seconds), models

    return make


def test_the_first_that_answers_is_the_only_one_asked(guarded):
    """Its fallbacks cost nothing."""
    llm, (first, second) = guarded((TextDelta("a"), DONE), ())
    assert list(llm.stream(REQUEST)) == [TextDelta("a"), DONE]
    assert (first.asked[0][0], second.asked) == ("asked-for", [])


@pytest.mark.parametrize(
    "error",
    [errors.ProviderUnavailable(), errors.ProviderRateLimited(retry_after=30), errors.ProviderMisconfigured()],
    ids=lambda e: e.code,
)
def test_the_next_one_answers_with_its_own_model(guarded, error):
    """Down, too busy, or not ours: all three are mended by asking somebody else."""
    llm, (first, second) = guarded((error,), (TextDelta("a"), DONE))
    assert list(llm.stream(REQUEST)) == [TextDelta("a"), DONE]
    assert second.asked[0][0] == "fallback-1"
    assert first.closed == 1


@pytest.mark.parametrize("error", [errors.ModelRequestInvalid(), errors.ContextTooLong(), errors.ContentRefused()])
def test_what_is_wrong_with_the_request_is_told_at_once(guarded, error):
    """The next provider would say the same."""
    llm, (_, second) = guarded((Pending(), error), (DONE,))
    with pytest.raises(type(error)) as caught:
        list(llm.stream(REQUEST))
    assert caught.value is error
    assert second.asked == []


def test_after_the_first_word_an_error_is_an_error(guarded):
    """Two models' words are never mixed."""
    llm, (_, second) = guarded((TextDelta("a"), errors.ProviderUnavailable("cut")), (DONE,))
    stream = llm.stream(REQUEST)
    assert next(stream) == TextDelta("a")
    with pytest.raises(errors.ProviderUnavailable, match="cut"):
        next(stream)
    assert second.asked == []


def test_signs_of_life_are_no_answer(guarded):
    """They are handed on, so that the reader can look whether to go on, and the next one may still be asked."""
    llm, _ = guarded((Pending(), errors.ProviderUnavailable()), (Pending(), DONE))
    assert list(llm.stream(REQUEST)) == [Pending(), Pending(), DONE]


def test_who_only_shows_life_is_given_up_in_time(guarded):
    """A first word that never comes is an error: after its share of the time the next one is asked."""
    llm, (first, second) = guarded((Pending(), 30, Pending(), 31, Pending(), TextDelta("late")), (DONE,))
    assert list(llm.stream(REQUEST))[-1] == DONE
    assert first.asked[0][1] == 60
    assert second.asked[0][1] == pytest.approx(59)


def test_all_tries_together_have_one_deadline(guarded):
    """Each gets an equal share of what is left; when nothing is left nobody is asked."""
    down = errors.ProviderUnavailable("down")
    llm, models = guarded((10, down), (80, down), (40, down), (DONE,), seconds=120)
    with pytest.raises(errors.ProviderUnavailable, match="down"):
        list(llm.stream(REQUEST))
    assert [m.asked[0][1] if m.asked else None for m in models] == [30, pytest.approx(110 / 3), 15, None]


def test_an_open_breaker_is_passed_over_without_a_request(guarded):
    """The next one answers."""
    llm, (first, _) = guarded((DONE,), (TextDelta("b"), DONE), breakers=[12, 0])
    assert list(llm.stream(REQUEST)) == [TextDelta("b"), DONE]
    assert first.asked == []


def test_when_all_are_open_nobody_is_asked_and_the_soonest_is_told(guarded):
    """`retry_after` is when the first of them half-opens."""
    llm, models = guarded((DONE,), (DONE,), (DONE,), breakers=[12, 5, 9])
    with pytest.raises(errors.BreakerOpen) as caught:
        list(llm.stream(REQUEST))
    assert caught.value.retry_after == 5
    assert [m.asked for m in models] == [[], [], []]


@pytest.mark.parametrize(
    ("first", "second", "told", "retry_after"),
    [
        (errors.ProviderUnavailable(), errors.ProviderRateLimited(retry_after=30), errors.ProviderUnavailable, None),
        (errors.ProviderRateLimited(retry_after=30), errors.ProviderRateLimited(retry_after=7), errors.ProviderRateLimited, 7),
        (errors.ProviderUnavailable(), errors.ProviderMisconfigured(), errors.ProviderUnavailable, None),
        (errors.ProviderMisconfigured(), errors.ProviderRateLimited(retry_after=7), errors.ProviderRateLimited, 7),
        (errors.ProviderMisconfigured("a"), errors.ProviderMisconfigured("b"), errors.ProviderMisconfigured, None),
        (errors.ProviderUnavailable(), errors.ModelRequestInvalid(), errors.ProviderUnavailable, None),
    ],
)
def test_of_several_failures_the_one_that_may_pass_is_told(guarded, first, second, told, retry_after):
    """A turn is not given up as long as one of the providers may answer it later; the soonest says when."""
    llm, _ = guarded((first,), (second,))
    with pytest.raises(errors.ModelError) as caught:
        list(llm.stream(REQUEST))
    assert type(caught.value) is told
    assert caught.value.retry_after == retry_after


def test_a_provider_that_was_asked_counts_more_than_one_that_was_not(guarded):
    """BreakerOpen means that nobody was asked; the open one may still be the first to be back."""
    llm, _ = guarded((DONE,), (errors.ProviderRateLimited(retry_after=30),), breakers=[12, 0])
    with pytest.raises(errors.ProviderRateLimited) as caught:
        list(llm.stream(REQUEST))
    assert caught.value.retry_after == 12


def test_a_stop_is_no_failure(guarded):
    """What is thrown in passes unchanged, closes the provider's stream, and asks nobody else."""
    for stop in (errors.CancelRequested(), errors.HandBack(), errors.AttemptTimedOut(), KeyError("ours")):
        llm, (first, second) = guarded((Pending(), TextDelta("a"), DONE), (DONE,))
        stream = llm.stream(REQUEST)
        next(stream)
        with pytest.raises(type(stop)) as caught:
            stream.throw(stop)
        assert caught.value is stop
        assert (first.closed, second.asked) == (1, [])


def test_closing_closes_the_providers_stream(guarded):
    """At once, whether before or after the first word."""
    for words in (1, 2):
        llm, (first,) = guarded((Pending(), TextDelta("a"), DONE))
        stream = llm.stream(REQUEST)
        for _ in range(words):
            next(stream)
        stream.close()
        assert first.closed == 1


def test_a_misconfigured_provider_is_an_error_in_the_log(guarded, caplog):
    """Its fallback hides it from users, not from the operator."""
    llm, _ = guarded((errors.ProviderMisconfigured(),), (DONE,))
    list(llm.stream(REQUEST))
    assert [r.levelname for r in caplog.records] == ["ERROR"]
