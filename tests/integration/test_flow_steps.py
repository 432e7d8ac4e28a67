"""What a flow yields beside its text: stored with the end of its turn, all of it or nothing."""

import json
import threading

import pytest
from pydantic import BaseModel

from chatapp.effects import OUTBOUND, EffectId, EffectStatus, Kind
from chatapp.errors import AnswerMalformed
from chatapp.flows import turn as turn_flow
from chatapp.flows.port import Asked, Change, Flow, Offer, Propose, Summarize, done, put, say
from chatapp.flows.structured import form_of, structured
from chatapp.flows.submit import Submission
from chatapp.live.following import OWN_LOG
from chatapp.model import JobId, Message, ModelOptions, ModelRequest, Status, Summary, text_of, text_part
from chatapp.payloads import terminal_event
from chatapp.stores.dynamo import call


class Counting(Flow):
    """Counts its turns in the session's state; `meanwhile` runs before its answer ends."""

    name = "counting"
    opens = True

    def __init__(self):
        self.meanwhile = None
        self.replies = ("yes", "no")

    def run(self, asked: Asked):
        said = text_of(asked.turn.input) or "nothing"
        yield from say(f"You said {said}.")
        yield Change(lambda state: {**state, "Count": state.get("Count", 0) + 1})
        yield put(Last=said, Nested={"weight": 1.5, "list": [1, None, "x"], "yes": True})
        yield Summarize(Summary(f"last: {said}", {"weight": 1.5}))
        if "propose" in said:
            yield Propose("note", {"text": said}, f"Write down {said}")
            yield Offer(self.replies)
        if self.meanwhile:
            self.meanwhile(asked)
        yield done(asked)

    def told(self, state):
        return "counted", {"count": state["Count"]}


@pytest.fixture
def flow(services):
    services.answered_flows["counting"] = services.flows["counting"] = Counting()
    return services.flows["counting"]


@pytest.fixture
def ask(services, user, flow):
    """Submit to the flow, and answer it here. Returns: the turn as it stands then."""

    def ask(text="", **fields):
        parts = (text_part(text),) if text else ()
        fields = {"flow": "counting"} | fields if "session_id" not in fields else fields
        job_id = services.submit(Submission(user_id=user, input=parts, options=ModelOptions(f"model-{user}"), **fields)).job_id
        services.answer(job_id)
        return services.turns.get(job_id)

    return ask


def told(services, session_id):
    return [json.loads(text) for text in services.events.read(JobId(session_id, OWN_LOG))]


def change_state(services, session_id, change):
    """Write a state as somebody else would: under the next version."""
    session = services.sessions.get(session_id)
    state = change(session.state)
    services.dynamodb.update_item(
        **call(
            services.settings.table_name("sessions"),
            key={"SessionId": session_id},
            values={"state": state, "seen": session.version, "next": session.version + 1},
            UpdateExpression="SET State = :state, Version = :next",
            ConditionExpression="Version = :seen",
        )
    )


def test_state_and_summary_are_stored_with_the_end(services, ask):
    """Nested values come back as they were; the version counts the changes of the state."""
    first = ask()
    second = ask("hello", session_id=first.session_id)
    session = services.sessions.get(first.session_id)
    assert (first.answer, second.answer) == ("You said nothing.", "You said hello.")
    assert session.state == {"Count": 2, "Last": "hello", "Nested": {"weight": 1.5, "list": [1, None, "x"], "yes": True}}
    assert (session.version, session.summary) == (2, Summary("last: hello", {"weight": 1.5}))
    assert session.message_count == 3  # one answer to nothing, then a question and an answer
    assert [(e["type"], e["count"], e["version"]) for e in told(services, session.id)] == [("counted", 1, 1), ("counted", 2, 2)]


def test_what_another_writer_changed_meanwhile_is_kept(services, ask, flow):
    """The flow's change is applied again to the state as the other one made it."""
    first = ask()
    flow.meanwhile = lambda asked: change_state(
        services, asked.session.id, lambda state: {**state, "Theirs": "kept", "Count": 40}
    )
    turn = ask("again", session_id=first.session_id)
    session = services.sessions.get(first.session_id)
    assert turn.status is Status.COMPLETED
    assert (session.state["Count"], session.state["Theirs"], session.state["Last"]) == (41, "kept", "again")
    assert session.version == 3


def test_many_other_writers_lose_nothing_either(services, ask, flow):
    """They write all through the turn's end: every one of their changes and the flow's is there."""
    first = ask()
    done_writing = threading.Event()
    written = []

    def write():
        while not done_writing.is_set():
            try:
                change_state(services, first.session_id, lambda state: {**state, "Count": state["Count"] + 1})
            except services.dynamodb.exceptions.ConditionalCheckFailedException:
                continue  # the other one was faster
            except services.dynamodb.exceptions.TransactionConflictException:
                continue
            written.append(1)

    flow.meanwhile = lambda _: threads[0].is_alive() or [t.start() for t in threads]
    threads = [threading.Thread(target=write) for _ in range(2)]
    turn = ask("again", session_id=first.session_id)
    done_writing.set()
    for thread in threads:
        thread.join(20)
    assert turn.status is Status.COMPLETED
    assert services.sessions.get(first.session_id).state["Count"] == 2 + len(written)


def test_a_proposal_becomes_a_staged_action_with_the_answer(services, ask, user):
    """It is in the table, told in the session's own log, and offered as quick replies with the end."""
    turn = ask("propose it")
    action = services.effects.get(EffectId.action(turn.session_id, 1, 0))
    assert (action.status, action.name, action.payload) == (EffectStatus.STAGED, "note", {"text": "propose it"})
    assert (action.user_id, action.id.kind, action.wake_at) == (user, Kind.ACTION, None)
    requested = next(e for e in told(services, turn.session_id) if e["type"] == "action_requested")
    assert (requested["action_id"], requested["status"]) == ("a1-0", "staged")
    assert turn.quick_replies == ("yes", "no")
    assert terminal_event(turn)["text"] == "You said propose it."


def test_a_cancelled_attempt_changes_nothing(services, ask, flow):
    """The flow had yielded its changes before the cancellation was seen."""

    def cancelled(asked):
        services.endings.by_other(services.turns.get(asked.turn.job_id), Status.CANCELLED)

    flow.meanwhile = cancelled
    turn = ask("propose it")
    session = services.sessions.get(turn.session_id)
    assert turn.status is Status.CANCELLED
    assert (session.state, session.version, session.summary) == ({}, 0, None)
    assert services.effects.actions(turn.session_id) == []


@pytest.mark.parametrize("ends", ["by itself", "by somebody else"])
def test_however_a_turn_ends_its_delivery_is_owed(services, ask, flow, ends):
    """The delivery is written in the transaction of the end, and stands in the index of open work."""
    if ends == "by somebody else":
        flow.meanwhile = lambda asked: services.endings.by_other(services.turns.get(asked.turn.job_id), Status.CANCELLED)
    turn = ask("hello", callback=OUTBOUND)
    owed = services.effects.get(EffectId.reply(turn.session_id, turn.number))
    assert turn.status.ended
    assert (owed.status, owed.target, owed.payload) == (EffectStatus.CONFIRMED, OUTBOUND, {"turn": turn.number})
    assert owed.wake_at > owed.created_at
    assert services.effects.actions(turn.session_id) == []  # it is nobody's to confirm


def test_what_fits_no_item_is_a_fault_and_no_contention(services, ask, flow):
    """DynamoDB says so at once: the turn is not held until its lease is over."""
    flow.replies = ("x" * 500_000,)
    turn = ask("propose it")
    assert (turn.failures, turn.error["code"]) == (1, "turn_failed")


def test_a_turn_waits_for_a_worker_that_has_its_flow(services, ask, flow, monkeypatch):
    """Half way through a deploy that costs it nothing; later it is a fault."""
    del services.answered_flows["counting"]
    waits = ask("hello")
    assert (waits.status, waits.attempt, waits.failures) == (Status.QUEUED, 1, 0)
    monkeypatch.setattr(turn_flow, "DEPLOY_MS", 0)
    assert ask("hello").failures == 1


def test_a_state_over_the_limit_fails_the_turn_for_good(services, ask, flow):
    """It is said with a code of its own, and the state stays as it was."""
    first = ask()
    turn = ask("x" * 70_000, session_id=first.session_id)
    assert (turn.status, turn.error["code"]) == (Status.FAILED, "state_too_large")
    assert services.sessions.get(first.session_id).state["Last"] == "nothing"


def test_a_proposal_over_the_limit_fails_the_turn_for_good(ask):
    """It would fit no item beside others; nothing of the turn is stored but its end."""
    turn = ask("propose " + "x" * 70_000)
    assert (turn.status, turn.error["code"]) == (Status.FAILED, "state_too_large")


class City(BaseModel):
    """Where somebody is."""

    name: str
    iata: str | None


class Asking(Flow):
    """Answers with what the model says in a form."""

    name = "asking"

    def run(self, asked: Asked):
        messages = (Message("user", text_of(asked.turn.input)),)
        request = ModelRequest(messages, asked.turn.options, asked.turn.user_id, str(asked.turn.job_id), form_of(City))
        city, finish = yield from structured(asked.llm, request, City)
        yield from say(f"{city.name} ({city.iata})")
        yield done(asked, finish)


def test_a_structured_answer_is_asked_for_and_read(services, submit):
    """The usage of the model's answer is the turn's."""
    services.answered_flows["asking"] = services.flows["asking"] = Asking()
    job_id = submit('[[json={"name": "Lisbon", "iata": "LIS"}]]', flow="asking").job_id
    services.answer(job_id)
    turn = services.turns.get(job_id)
    assert (turn.answer, turn.status) == ("Lisbon (LIS)", Status.COMPLETED)
    assert turn.usage.output_tokens > 0


def test_an_answer_that_does_not_fit_is_tried_again(services, submit):
    """It is the attempt that failed, with a code that says why."""
    services.answered_flows["asking"] = services.flows["asking"] = Asking()
    job_id = submit('[[json={"name": 7}]]', flow="asking").job_id
    services.answer(job_id)
    turn = services.turns.get(job_id)
    assert (turn.status, turn.failures, turn.error["code"]) == (Status.QUEUED, 1, AnswerMalformed.code)


def test_a_session_keeps_its_flow(services, ask, submit):
    """A message that names none is answered by the session's own."""
    first = ask()
    job_id = submit("hi", session_id=first.session_id).job_id
    assert services.turns.get(job_id).flow == "counting"
