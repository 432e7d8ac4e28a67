"""What a target's answer means: for an action, for a delivery, and of an earlier call."""

import json
from email.utils import formatdate

import pytest

from chatapp.outbound import verdicts
from chatapp.outbound.client import Answer
from chatapp.outbound.failures import AddressRefused, Crowded, NotSent, Unanswered
from chatapp.ports import CallOutcome
from chatapp.stores.dynamo import from_item, to_item

NOW = 1_800_000_000_000
DONE, REFUSED, NOT_SENT, LATER, UNKNOWN = (
    CallOutcome.DONE,
    CallOutcome.REFUSED,
    CallOutcome.NOT_SENT,
    CallOutcome.RETRY_LATER,
    CallOutcome.UNKNOWN,
)


def answer(status, body=b"", **headers):
    body = json.dumps(body).encode() if isinstance(body, dict | list) else body
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("status", "action", "delivery"),
    [
        *((status, DONE, DONE) for status in (200, 201, 202, 204, 299)),
        *((status, REFUSED, LATER) for status in (300, 301, 302, 303, 304, 307, 308)),
        *((status, REFUSED, LATER) for status in (400, 401, 403, 404, 405, 409, 422, 451, 499)),
        (410, REFUSED, REFUSED),
        *((status, LATER, LATER) for status in (408, 425, 429)),
        *((status, UNKNOWN, LATER) for status in (500, 501, 502, 503, 504, 529, 599, 999)),
    ],
)
def test_every_status_has_its_meaning(status, action, delivery):
    """An action is never sent again after an answer that leaves open whether it was carried out."""
    assert verdicts.of_action(answer(status), NOW).outcome is action
    assert verdicts.of_delivery(answer(status), NOW).outcome is delivery


def test_a_503_with_a_time_says_that_nothing_was_done():
    """Without one nobody knows."""
    called = verdicts.of_action(answer(503, retry_after="30"), NOW)
    assert (called.outcome, called.retry_after) == (LATER, 30)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0),
        ("2.5", 2.5),
        ("999999999", 3600),
        (formatdate(NOW / 1000 + 90, usegmt=True), 90),
        (formatdate(NOW / 1000 - 90, usegmt=True), 0),
        ("-5", None),
        ("soon", None),
        ("²", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_the_targets_time_is_taken_within_an_hour(said, seconds):
    """Seconds or a date."""
    assert verdicts.of_delivery(answer(429, retry_after=said), NOW).retry_after == seconds


@pytest.mark.parametrize(("status", "ours"), [(401, True), (404, True), (307, True), (400, False), (409, False), (422, False)])
def test_what_is_wrong_with_our_configuration_goes_to_an_operator(status, ours):
    """A refusal of the action itself is nobody's fault."""
    assert verdicts.of_action(answer(status), NOW).dead_letter is ours


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"detail": "The shift has not begun"}, "The shift has not begun"),
        ({"message": "No such\nunit\x1b[31m"}, "No such unit [31m"),
        ({"error": {"code": 5}}, "The target answered 422"),
        ({"detail": "x" * 5_000}, "x" * 200),
        ([1], "The target answered 422"),
        (b"<h1>no</h1>", "The target answered 422"),
        (b"\xff", "The target answered 422"),
        (None, "The target answered 422"),
    ],
)
def test_a_refusals_reason_is_a_line_of_text(body, reason):
    """Control characters and the rest of the answer are left behind."""
    called = verdicts.of_action(answer(422, body), NOW)
    assert called.error == {"code": "http_422", "message": reason}


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (
            {"reference": "r1", "n": 1.5, "deep": [{"x": None, "y": True}]},
            {"reference": "r1", "n": 1.5, "deep": [{"x": None, "y": True}]},
        ),
        (b"", None),
        (b"{}", None),
        (b"OK", None),
        ([1, 2], None),
        ({"x": "y" * 4_096}, None),
        (b'{"x": 1e300}', None),
        (b'{"x": 1e-300}', None),
        (b'{"x": ' + b"9" * 60 + b"}", None),
        (b'{"x": NaN}', None),
        (b'{"x": ' + b"[" * 40 + b"]" * 40 + b"}", None),
        (b'{"x": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", None),
        (b'{"x": "\\ud800"}', None),
        ({"x": {"": 1}}, None),
    ],
)
def test_a_small_object_is_kept_as_the_result_if_it_can_be_stored(body, result):
    """It was carried out all the same."""
    called = verdicts.of_action(answer(200, body), NOW)
    assert (called.outcome, called.result) == (DONE, result)
    assert from_item(to_item({"Result": called.result})).get("Result") == result


@pytest.mark.parametrize(
    ("of", "outcome"),
    [
        (answer(200, {"status": "executed", "result": {"reference": "r"}}), DONE),
        (answer(200, {"status": "failed"}), REFUSED),
        (answer(200, {"status": "not_found"}), NOT_SENT),
        (answer(404, {"detail": "no such key"}), NOT_SENT),
        (answer(404, b"<h1>404</h1>"), LATER),
        (answer(404, b""), LATER),
        (answer(200, {"status": "executing"}), LATER),
        (answer(200, {"status": ["executed"]}), LATER),
        (answer(200, b"executed"), LATER),
        (answer(200, None), LATER),
        (answer(500, {"status": "executed"}), LATER),
        (answer(302, {"status": "executed"}), LATER),
    ],
)
def test_only_what_was_meant_so_tells_of_an_earlier_call(of, outcome):
    """An action that is thought never to have arrived is given up, and asked for anew: a proxy's 404 must not say that."""
    called = verdicts.of_status(of)
    assert called.outcome is outcome
    assert called.result == ({"reference": "r"} if outcome is DONE else None)


@pytest.mark.parametrize(
    ("failure", "outcome", "code"),
    [
        (NotSent("x"), NOT_SENT, "unreachable"),
        (AddressRefused("x"), REFUSED, "address_refused"),
        (Crowded("x"), LATER, "target_busy"),
        (Unanswered("x"), UNKNOWN, "no_answer"),
    ],
)
def test_failures_tell_what_was_sent_from_what_was_not(failure, outcome, code):
    """The most important difference for who may act once only."""
    called = verdicts.of_failure(failure)
    assert (called.outcome, called.error["code"]) == (outcome, code)
