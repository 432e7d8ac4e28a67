"""The texts of what is delivered."""

import pytest

from chatapp.effects import OUTBOUND, Effect, EffectId, EffectStatus
from chatapp.model import Session
from chatapp.outbound.messages import SENTENCES, action_message


def told(language, status, description):
    """Tell what became of an action of that description."""
    session = Session.begin(user_id="u", flow="f", now=0, life_ms=1, state={"Language": language})
    action = Effect(
        id=EffectId.action(session.id, 1, 0), user_id="u", name="check_in", status=status, payload={}, description=description,
        created_at=0, expires_at=1,
    )  # fmt: skip
    delivery = Effect(
        id=EffectId.action(session.id, 1, 1), user_id="u", name="x", status=EffectStatus.CONFIRMED, payload={}, target=OUTBOUND,
        created_at=0, expires_at=1,
    )  # fmt: skip
    text: str = action_message(action, session, delivery, "en")["data"]["text"]
    return text


@pytest.mark.parametrize(
    ("language", "status", "text"),
    [
        ("pt", EffectStatus.EXECUTED, "Pronto, registrado: {Chegada}"),
        ("en", EffectStatus.EXECUTED, "Done, registered: {Chegada}"),
        ("pt", EffectStatus.CANCELLED, "Certo, cancelado: {Chegada}"),
    ],
)
def test_an_outcome_says_which_action_it_is_of(language, status, text):
    """By the description; braces in it are only text."""
    assert told(language, status, "{Chegada}") == text


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("status", SENTENCES["en"])
def test_an_outcome_is_one_short_line(language, status):
    """Whatever is written in the action, and for every outcome."""
    text = told(language, EffectStatus(status), "FC 80\n" + "a" * 3_000)
    assert "FC 80 aaa" in text
    assert text.endswith("…")
    assert "\n" not in text
    assert len(text) < 200


def test_an_action_without_a_description_is_named():
    """Flows may give none."""
    assert told("en", EffectStatus.FAILED, " ") == "I could not register this: check_in"
