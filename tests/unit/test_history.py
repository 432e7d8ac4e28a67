"""What the model is told of the conversation so far."""

from hypothesis import given
from hypothesis import strategies as st

from chatapp.flows.history import estimate_tokens, history_of, trim
from chatapp.model import Message, ModelOptions, Status, Turn, text_part


def turn(number, status=Status.COMPLETED, answer="a", retry_of=None):
    return Turn(
        session_id="s",
        number=number,
        user_id="u",
        flow="chat",
        input=(text_part(f"q{number}"),),
        options=ModelOptions("m"),
        created_at=0,
        expires_at=0,
        status=status,
        answer=answer,
        retry_of=retry_of,
    )


def texts(turns):
    return [m.text for m in history_of(turns)]


def test_failed_turns_are_not_shown_to_the_model():
    """A failed turn said nothing."""
    assert texts([turn(1), turn(2, Status.FAILED, None), turn(3)]) == ["q1", "a", "q3", "a"]


def test_a_cancelled_turn_counts_only_with_partial_text():
    """What the user saw is part of the conversation."""
    assert texts([turn(1, Status.CANCELLED, None), turn(2, Status.CANCELLED, "half")]) == ["q2", "half"]


def test_a_turn_that_was_taken_up_again_is_skipped():
    """Only the retry stays."""
    assert texts([turn(1), turn(2, answer="old"), turn(3, answer="new", retry_of=2)]) == ["q1", "a", "q3", "new"]


@given(st.lists(st.text(max_size=50), max_size=20), st.integers(0, 100))
def test_what_is_kept_fits_and_begins_with_the_user(said, budget):
    """The latest exchanges are kept, whole, within the budget."""
    messages = [Message("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(said)]
    kept = trim(messages, budget)
    assert sum(estimate_tokens(m.text) for m in kept) <= budget
    assert tuple(messages[len(messages) - len(kept) :]) == kept
    assert not kept or kept[0].role == "user"
