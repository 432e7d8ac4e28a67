"""What is sent is signed by Standard Webhooks, and the documentation's receiver agrees."""

import time

import pytest

from chatapp.outbound.signing import Signer
from config.settings import DEV_OUTBOUND_SECRET, Settings, SettingsError
from tests.fakes import FakeClock
from tests.outbound_kit import documented_verify

OLD, NEW, OTHER = (f"whsec_{letter * 40}" for letter in "abc")
BODY = '{"text":"olá 👋 \\u00e9"}'.encode()

verify = documented_verify()


def signer(*secrets, at=None):
    clock = FakeClock()
    clock.ms = round(1000 * (time.time() if at is None else at))
    return Signer(secrets, clock)


def test_the_vector_of_the_specifications_own_libraries_holds():
    """Id, time, body, secret and signature as the reference implementations test them."""
    headers = signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", at=1614265330).headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_a_secret_is_changed_receivers_may_know_either():
    """All secrets sign."""
    headers = signer(NEW, OLD).headers("s/d1", BODY)
    verify(OLD, headers, BODY)
    verify(NEW, headers, BODY)
    with pytest.raises(ValueError, match="not signed"):
        verify(OTHER, headers, BODY)


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (BODY.replace(b"ol", b"0l"), {}),
        (BODY + b" ", {}),
        (BODY, {"webhook-id": "s/d2"}),
        (BODY, {"webhook-timestamp": -1}),
        (BODY, {"webhook-signature": ""}),
        (BODY, {"webhook-signature": "v1,"}),
        (BODY, {"webhook-signature": "v1,é"}),
    ],
)
def test_what_was_changed_on_the_way_is_refused(body, changed):
    """One byte of the body, the id, the time; a signature that is none."""
    headers = signer(OLD).headers("s/d1", BODY)
    verify(OLD, headers, BODY)
    if "webhook-timestamp" in changed:  # seconds from the right one
        changed = {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + changed["webhook-timestamp"])}
    with pytest.raises(ValueError, match="not signed"):
        verify(OLD, headers | changed, body)


@pytest.mark.parametrize("off", [-301, 302])
def test_an_old_message_is_refused(off):
    """What was recorded cannot be sent again later."""
    headers = signer(OLD, at=time.time() + off).headers("s/d1", BODY)
    with pytest.raises(ValueError, match="too old"):
        verify(OLD, headers, BODY)


def test_an_id_cannot_shift_the_parts():
    """The spec's separator is not in it."""
    with pytest.raises(ValueError, match="dot"):
        signer(OLD).headers("a.b", BODY)


def test_outside_production_the_known_secret_signs_and_in_production_nothing_does():
    """Nobody is to trust what everybody can sign."""
    assert Settings(env="development").delivery_secrets == (DEV_OUTBOUND_SECRET,)
    assert Settings(outbound_webhook_secrets=f"{NEW},{OLD}").delivery_secrets == (NEW, OLD)
    with pytest.raises(SettingsError) as refused:
        Settings(env="production", outbound_webhook_secrets=DEV_OUTBOUND_SECRET)
    assert any("OUTBOUND_WEBHOOK_SECRETS" in problem for problem in refused.value.problems)
    assert Settings.model_construct(env="production", outbound_webhook_secrets=()).delivery_secrets == ()
    assert signer(*()).ready is False
