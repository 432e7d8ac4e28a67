"""The flow of docs/writing-a-flow.md, as it is printed there, over real services."""

import re
import sys

import pytest

from chatapp.effects import EffectStatus
from chatapp.model import Status
from chatapp.services import build
from tests.stack import ROOT


@pytest.fixture(scope="module")
def code():
    """What the page shows."""
    (found,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/writing-a-flow.md").read_text(), re.DOTALL)
    return found


@pytest.fixture
def services(settings, code, tmp_path, monkeypatch):
    """Services of a process that was told of the flow by FLOWS."""
    (tmp_path / "bakery.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    made = build(settings.model_copy(update={"flows": ("chat", "bakery:Desk")}))
    yield made
    made.redis.close()
    sys.modules.pop("bakery", None)


@pytest.fixture
def ask(services, submit):
    """Ask the flow, and have it answered here. Returns: the turn as it stands then."""

    def ask(text, **fields):
        job_id = submit(text, **fields).job_id
        services.answer(job_id)
        turn = services.turns.get(job_id)
        assert turn.status is Status.COMPLETED
        return turn

    return ask


def test_it_is_about_forty_lines(code):
    """As the page promises."""
    assert len(code.splitlines()) <= 50
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith(("from", '"""'))]) <= 40


def test_the_flow_of_the_documentation_works(services, ask):
    """It streams from the model, keeps its state, proposes an action and takes the yes."""
    first = ask("Do you bake on Sundays?", flow="desk")
    assert len(first.answer) > 40
    second = ask("And on Mondays? [[echo=Mondays too.]]", session_id=first.session_id)
    assert second.answer == "Mondays too."
    asked = ["Do you bake on Sundays?", "And on Mondays? [[echo=Mondays too.]]"]
    assert services.sessions.get(first.session_id).state == {"questions": asked}

    third = ask("I want a ticket", session_id=first.session_id)
    (action,) = services.effects.actions(first.session_id)
    assert third.quick_replies == ("yes", "no")
    assert (action.name, action.payload, action.status) == ("open_ticket", {"questions": asked}, EffectStatus.STAGED)

    assert ask("yes", session_id=first.session_id).answer == "Your ticket is on its way."
    (action,) = services.effects.actions(first.session_id)
    assert action.status is EffectStatus.CONFIRMED
    assert services.sessions.get(first.session_id).state == {"questions": asked}


def test_the_state_is_checked_by_the_flows_model(services):
    """`state_model` is what the page says it is."""
    flow = services.flows["desk"]
    assert flow.state_model.model_validate({"questions": ["a"]}).questions == ["a"]
    with pytest.raises(ValueError, match="questions"):
        flow.state_model.model_validate({"questions": "a"})
