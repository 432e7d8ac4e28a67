"""The orchestrator through the worker's own path: real tables, the real cache, the scripted model behind HTTP."""

import json

import pytest

from chatapp.effects import EffectStatus
from chatapp.flows.submit import Submission
from chatapp.live.following import OWN_LOG
from chatapp.model import JobId, ModelOptions, Status, text_part
from chatapp.services import build
from tests.conversations import nonsense


@pytest.fixture
def say(services, user):
    """Say something to the orchestrator, and answer it here. Returns: the turn as it stands then."""

    def say(message, session_id=None, by=services):
        part = text_part(message) if isinstance(message, str) else message
        flow = None if session_id else "orchestrator"
        job_id = services.submit(
            Submission(user_id=user, input=(part,), options=ModelOptions(f"model-{user}"), flow=flow, session_id=session_id)
        ).job_id
        by.answer(job_id)
        turn = services.turns.get(job_id)
        assert turn.status is Status.COMPLETED
        return turn

    return say


def actions(services, session_id):
    return {a.id.id: a for a in services.actions.of(services.sessions.get(session_id))}


def told(services, session_id):
    return [json.loads(text) for text in services.events.read(JobId(session_id, OWN_LOG))]


def test_a_shift_is_proposed_confirmed_and_kept(services, say):
    """Each yes confirms the action in the table; payloads and state come back as they were, fractions too."""
    first = say("cheguei")
    sid = first.session_id
    assert "Confirma?" in first.answer
    assert first.quick_replies == ("Sim", "Não")
    assert actions(services, sid)["a1-0"].status is EffectStatus.STAGED
    assert "Confirmado" in say("sim", sid).answer
    assert "T" in say("PA 12x8 T 36,5 dor 2", sid).answer
    assert "FC 80 bpm" in say("FC 80", sid).answer
    assert "Confirmado" in say("sim", sid).answer
    found = actions(services, sid)
    assert {i: a.status.value for i, a in found.items()} == {
        "a1-0": "confirmed",
        "a3-0": "cancelled",
        "a4-0": "confirmed",
    }
    assert found["a4-0"].confirmed_by == "message"
    assert found["a4-0"].payload["vital_signs"] == {
        "systolic_mmhg": 120,
        "diastolic_mmhg": 80,
        "heart_rate_bpm": 80,
        "temperature_celsius": 36.5,
        "pain_score_0_to_10": 2,
    }
    session = services.sessions.get(sid)
    assert session.state["Shift"]["Count"] == 1
    assert session.summary.text == "Plantão em andamento: 1 registro"
    assert [e["type"] for e in told(services, sid)].count("action_requested") == 3
    assert "1 registro" in say("encerrar plantão", sid).answer


def test_a_template_is_noted_and_answered_with_nothing(services, say):
    """A yes to it begins what it asked for."""
    first = say({"kind": "template", "name": "shift_reminder", "text": "Você já chegou?"})
    assert first.answer == ""
    assert services.sessions.get(first.session_id).state["LastTemplate"]["Name"] == "shift_reminder"
    assert "Chegada ao plantão" in say("sim", first.session_id).answer


def test_what_was_confirmed_over_http_is_told_and_kept(services, say):
    """The shift begins with the next message."""
    first = say("cheguei")
    services.actions.confirm(services.sessions.get(first.session_id), "a1-0", by="http")
    assert "Entretanto foi confirmado: Chegada" in say("bom dia", first.session_id).answer
    assert "Shift" in services.sessions.get(first.session_id).state


def test_a_yes_that_was_sent_while_a_turn_ran_does_not_answer_what_that_turn_asks(services, user, say):
    """It was sent after the turn began and before its question was out: the end of the asking turn decides."""
    sid = say("oi").session_id
    cache, sent = services.answer._external, []

    class Meanwhile:
        keep = cache.keep

        def recall(self, *key):
            yes = Submission(user_id=user, input=(text_part("sim"),), options=ModelOptions("m"), session_id=sid)
            sent.append(services.submit(yes).job_id)
            return cache.recall(*key)

    services.answer._external = Meanwhile()
    assert "Confirma?" in say("paciente dormiu bem", sid).answer
    services.answer(sent[0])
    assert "antes desta pergunta" in services.turns.get(sent[0]).answer
    assert actions(services, sid)["a2-0"].status is EffectStatus.STAGED


def test_an_intent_is_asked_for_once_and_kept(services, say):
    """The second nurse with the same words costs no model call."""
    words = f"Como funciona isto aqui, {nonsense()}?"
    first, second = say(words), say(words)
    assert first.answer == second.answer
    assert "O que você pode dizer" in first.answer
    assert first.usage.output_tokens > 0
    assert second.usage.output_tokens == 0


def test_a_turn_is_answered_while_no_model_can_be_asked(settings, say, user):
    """Nobody listens at the model's address: keywords decide, also once the breaker is open."""
    alone = build(settings.model_copy(update={"openai_base_url": "http://127.0.0.1:9/v1"}))
    first = say("A paciente do leito 4 dormiu bem", by=alone)
    assert "Nota: “A paciente do leito 4 dormiu bem”" in first.answer
    for number in range(7):
        assert "Continua em aberto" in say(f"qual é o ramal {number}?", first.session_id, by=alone).answer
    assert alone.breakers.wait(f"model-{user}") is not None
    alone.redis.close()
