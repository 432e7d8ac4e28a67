"""Merge patches: the rule of RFC 7396, what a state may hold, and who wins when two write."""

import json
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, computed_field

from chatapp.errors import InvalidRequest, SessionContended, VersionMismatch
from chatapp.flows.patching import MAX_DEPTH, Patching, merged
from chatapp.flows.port import Flow
from tests.fakes import FakeClock, FakeSessionLog, FakeSessions

RFC_7396_APPENDIX_A = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396_APPENDIX_A)
def test_the_examples_of_the_standard(target, patch, result):
    """Each of RFC 7396, appendix A."""
    before = json.dumps(target)
    assert merged(target, patch) == result
    assert json.dumps(target) == before


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(max_size=2), VALUES, max_size=4)


@given(OBJECTS, OBJECTS)
def test_a_patch_applied_twice_changes_nothing_more(target, patch):
    """A client whose answer was lost may send it again."""
    once = merged(target, patch)
    assert merged(once, patch) == once
    assert all(name not in once for name, value in patch.items() if value is None)


class Profile(BaseModel):
    """A state with a field that is made of the others."""

    model_config = ConfigDict(extra="ignore")

    budget: int | None = None
    cities: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.budget is not None


class Typed(Flow):
    """A flow with a model of its state."""

    name: ClassVar[str] = "typed"
    state_model = Profile

    def told(self, state: Any) -> tuple[str, dict[str, Any]]:
        return "profile_updated", {"profile": dict(state)}


class World:
    """Sessions, and patches to them."""

    def __init__(self) -> None:
        self.sessions = FakeSessions(FakeClock())
        self.log = FakeSessionLog()
        self.patch = Patching(sessions=self.sessions, flows={"typed": Typed(), "chat": Flow()}, events=self.log)

    def session(self, flow="chat", **state):
        return self.sessions.create(user_id="ada", flow=flow, state=state)


@pytest.fixture
def world():
    """All of it in memory."""
    return World()


def test_a_patch_raises_the_version_and_is_told(world):
    """By one; the event bears the version that was written."""
    session = world.session("typed")
    after = world.patch(session, {"budget": 7}, versions={0})
    assert (after.version, after.state) == (1, {"budget": 7, "cities": [], "complete": True})
    assert world.log.appended == [(session.id, "profile_updated", {"version": 1, "profile": dict(after.state)})]


def test_a_patch_that_changes_nothing_writes_nothing(world):
    """So that it may be sent again; but 1 is not true."""
    session = world.session(a=1)
    assert world.patch(session, {"a": 1, "b": None}, versions=None) == session
    assert world.patch(session, {"a": True}, versions=None).version == 1


def test_what_a_model_makes_of_the_rest_is_not_the_clients(world):
    """The state is stored as the flow's model writes it."""
    assert world.patch(world.session("typed"), {"complete": True, "x": 1}, versions=None).state["complete"] is False


def test_a_patch_for_another_version_is_refused(world):
    """With the version that is there."""
    session = world.patch(world.session(), {"a": 1}, versions=None)
    with pytest.raises(VersionMismatch) as refused:
        world.patch(session, {"a": 2}, versions={0, 2})
    assert refused.value.version == 1
    with pytest.raises(VersionMismatch):
        world.patch(session, {"a": 2}, versions=frozenset())


def test_a_patch_for_any_version_is_applied_to_what_others_wrote(world):
    """Neither is lost."""
    session = world.session(a=0)
    world.patch(session, {"b": 1}, versions=None)
    after = world.patch(session, {"a": 1}, versions=None)
    assert (after.state, after.version) == ({"a": 1, "b": 1}, 2)
    with pytest.raises(VersionMismatch):
        world.patch(session, {"a": 3}, versions={0})


def test_a_state_that_never_stands_still_is_given_up(world, monkeypatch):
    """Bounded: 503, come again."""
    session = world.session()
    monkeypatch.setattr(world.sessions, "change_state", lambda s, _state: (False, replace(s, version=s.version + 1)))
    with pytest.raises(SessionContended):
        world.patch(session, {"a": 1}, versions=None)


def deep(levels):
    """An object of so many levels."""
    return {"a": deep(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    ("flow", "patch", "pointer"),
    [
        ("chat", {"a": 10**38}, "/a"),
        ("chat", {"a": [0, -(10**40)]}, "/a/1"),
        ("chat", {"a": {"b": 1e126}}, "/a/b"),
        ("chat", {"a": 1e-129}, "/a"),
        ("chat", {"a": "x\x00"}, "/a"),
        ("chat", {"a": {"": 1}}, "/a"),
        ("chat", {"x" * 256: 1}, ""),
        ("chat", deep(MAX_DEPTH + 1), "/a"),
        ("chat", {"a": "é" * 40_000}, ""),
        ("typed", {"budget": "7"}, "/budget"),
        ("typed", {"budget": 1.5}, "/budget"),
        ("typed", {"cities": ["Rome", 7]}, "/cities/1"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_named(world, flow, patch, pointer):
    """With its place; nothing is written or told."""
    session = world.session(flow)
    with pytest.raises(InvalidRequest) as refused:
        world.patch(session, patch, versions=None)
    assert [error["pointer"] for error in refused.value.errors] == [pointer]
    assert (world.sessions.all[session.id], world.log.appended) == (session, [])


def test_what_just_fits_is_taken(world):
    """The deepest state, the longest number, names and texts of any script."""
    patch = {**deep(MAX_DEPTH), "n": 10**38 - 1, "f": [1e125, -1e-128, 0.0], "\U0001f600": "\x01"}
    assert world.patch(world.session(), patch, versions=None).version == 1
