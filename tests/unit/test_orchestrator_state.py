"""The orchestrator's state: its stored form, and changes that leave another writer's alone."""

import dataclasses
import string

from hypothesis import given
from hypothesis import strategies as st

from chatapp.flows.orchestrator.state import Frame, OrchestratorState, Record, Shift, merged
from chatapp.flows.orchestrator.texts import EN, PT

JSON = st.recursive(
    st.integers(0, 3) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ABC"), inner),
    max_leaves=8,
)
STATES = st.dictionaries(st.sampled_from("ABC"), JSON)


def test_the_stored_form_reads_back():
    """Under capitalised names, without what is not there."""
    shift = Shift(started_at=1, action_id="a1-0", count=1, records=(Record(action_id="a2-0", text="x"),))
    state = OrchestratorState(language="pt", active_flow=Frame(flow="clinical_note", draft={"text": "y"}), shift=shift)
    assert state.stored() == {
        "Language": "pt",
        "ActiveFlow": {"Flow": "clinical_note", "Draft": {"text": "y"}},
        "Shift": {"StartedAt": 1, "ActionId": "a1-0", "Count": 1, "Records": [{"ActionId": "a2-0", "Text": "x"}]},
    }
    assert OrchestratorState.model_validate(state.stored()) == state


def test_unknown_names_are_kept():
    """A later version or an operator wrote them."""
    assert OrchestratorState.model_validate({"Ward": {"beds": 3}}).stored() == {"Ward": {"beds": 3}}


@given(STATES, STATES)
def test_without_another_writer_the_merged_state_is_mine(base, mine):
    """Removed names are removed."""
    assert merged(base, mine, base) == mine


@given(STATES, STATES)
def test_without_a_change_of_mine_the_others_state_stays(base, now):
    """Whatever it is."""
    assert merged(base, base, now) == now


@given(STATES, STATES, STATES)
def test_what_i_did_not_touch_stays_and_what_only_i_touched_is_mine(base, mine, now):
    """For every name at the top."""
    new = merged(base, mine, now)
    for name in "ABC":
        if base.get(name, ...) == mine.get(name, ...):
            assert new.get(name, ...) == now.get(name, ...)
        elif base.get(name, ...) == now.get(name, ...):
            assert new.get(name, ...) == mine.get(name, ...)


def test_what_both_added_to_a_list_stays():
    """Theirs first."""
    base, mine, now = {"L": [1]}, {"L": [1, 2]}, {"L": [1, 3]}
    assert merged(base, mine, now) == {"L": [1, 3, 2]}


def test_both_languages_say_everything_with_the_same_blanks():
    """A blank that is filled in one language and missing in the other would lose what is to be written."""

    def blanks(text):
        return sorted({name for _, name, _, _ in string.Formatter().parse(text) if name})

    for field in dataclasses.fields(PT):
        pt, en = (_by_key(getattr(texts, field.name)) for texts in (PT, EN))
        assert {key: blanks(text) for key, text in pt.items()} == {key: blanks(text) for key, text in en.items()}
        assert all((*pt.values(), *en.values()))


def _by_key(texts):
    """One text, several, or several by name: as a dict."""
    if isinstance(texts, str):
        return {"": texts}
    return dict(texts) if isinstance(texts, dict) else dict(enumerate(texts))
