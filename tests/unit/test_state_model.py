"""A session's state under turns and patches that meet, on the model of tests/unit/protocol: no change is lost or doubled."""

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from chatapp.flows.chat import Chat
from chatapp.flows.extra import Extra
from chatapp.flows.port import Change
from chatapp.model import Status
from tests.unit.protocol.actors import reach
from tests.unit.protocol.exploring import explore, stepped  # noqa: F401  the last is a fixture
from tests.unit.protocol.laws import Violation
from tests.unit.protocol.machine import HOW, Protocol
from tests.unit.protocol.process import Process

MAX_PATCHES = 10


class Counting(Chat):
    """Answers as `chat` does, and writes down which attempt of which turn did."""

    def run(self, asked):
        """Yield the change before the answer."""
        number, attempt = asked.turn.number, asked.turn.attempt
        yield Change(lambda state: {**state, "Count": state.get("Count", 0) + 1, f"Turn{number}": attempt})
        yield from super().run(asked)


class Events:
    """The `SessionEvents` port."""

    def tell(self, _session_id, kind, /, **_fields):
        """Be one more place where things may happen."""
        reach("tell", kind)


@pytest.fixture(autouse=True)
def _counting(monkeypatch):
    """Have every process answer by that flow."""
    begin = Process.__init__

    def made(process, *given, **more):
        begin(process, *given, **more)
        flows = {"chat": Counting()}
        process.services.__dict__.update(flows=flows, answered_flows=flows, session_log=Events())

    monkeypatch.setattr(Process, "__init__", made)


class States(Protocol):
    """What may happen to turns, and patches of the state beside it, each of which sets a name of its own."""

    def __init__(self):
        super().__init__()
        self.patches = {}

    @rule(session=st.integers(0, 1), any_version=st.booleans(), how=HOW)
    def patch(self, session, any_version, how):
        """Patch a state, as it was read or whatever it is by then."""
        if len(self.patches) == MAX_PATCHES:
            return
        name, session_id = f"Patch{len(self.patches)}", self.world.sessions[session]
        services = (process := self.world._client()).services

        def work():
            found = services.sessions.get(session_id)
            versions = None if any_version else frozenset({found.version})
            return services.patch_state(found, {name: 1}, versions=versions)

        def done(actor):
            self.patches[name] = session_id, actor.error

        self.patches[name] = session_id, TimeoutError("it was never answered")
        self.world.start(process, f"patch {name} of {session}", work, done, how=how)

    def teardown(self):
        super().teardown()
        if self.world is not None and not self.world.broken:
            for session in self.world.all_sessions():
                self._look(session)

    def _look(self, session):
        """Compare a state with what was said to be written into it."""
        turns = [t for t in self.world.all_turns() if t.session_id == session.id]
        completed = {f"Turn{t.number}": t.attempt for t in turns if t.status is Status.COMPLETED}
        written = {name: value for name, value in session.state.items() if name.startswith("Turn")}
        if (written, session.state.get("Count", 0)) != (completed, len(completed)):
            self.world.laws.broken(f"turns came to {completed}, and the state is {session.state}")
        patched = {name for name in session.state if name.startswith("Patch")}
        if lost := {n for n, (at, error) in self.patches.items() if at == session.id and error is None} - patched:
            self.world.laws.broken(f"{lost} were answered, and the state is {session.state}")
        if session.version != len(completed) + len(patched):
            self.world.laws.broken(f"version {session.version} of {session.state}")


def test_whatever_happens_no_change_of_a_state_is_lost_or_made_twice():
    """By a turn's end, or by a patch that was answered; an attempt that did not end its turn has changed nothing."""
    explore(States, runs=100, start=77_000)


def test_the_model_finds_a_change_that_is_applied_to_an_old_state(monkeypatch):
    """Who meets another's change and writes its own over it loses that."""
    monkeypatch.setattr(Extra, "rebase", _in_name_only)
    with pytest.raises(Violation, match="and the state is"):
        explore(States, runs=1_000, start=77_000)


def _in_name_only(extra, session):
    extra._session = replace(session, state=extra._session.state)
