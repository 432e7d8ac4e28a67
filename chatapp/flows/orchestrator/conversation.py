"""One message of the conversation: a yes, a no, or something for a sub-flow.

A yes is taken for the question that the nurse has seen: one that was sent before the question was asked is no answer to it. Nor
is one that follows a template: what that asked may be what it answers, so the question is asked again.

An attempt that dies after it confirmed or cancelled an action leaves the state as it was. The next one reads the same message
over the same state: it asks for the same yes or no again, which changes nothing, and tells what came of it.
"""

from chatapp.effects import EffectStatus
from chatapp.flows.orchestrator.answering import TAKEN, Answering
from chatapp.flows.orchestrator.intents import says_nothing
from chatapp.flows.orchestrator.open_flows import begin, present, redraft, remind, resume
from chatapp.flows.orchestrator.settling import confirmed, described, drop_failed, settle, settle_suspended, tell
from chatapp.flows.orchestrator.state import Frame
from chatapp.flows.orchestrator.sub_flows import SUB_FLOWS, draft_of, sub_flow
from chatapp.flows.orchestrator.subflow import TooLong


def hear(answering: Answering) -> None:
    """Take the message. Raises: StoreUnavailable."""
    try:
        settle_suspended(answering)
        drop_failed(answering)
        _answer(answering)
    except TooLong as error:
        answering.say(answering.texts.too_long, count=error.count, most=error.most)
        remind(answering)
    if answering.state.active_flow is None and answering.state.suspended:
        resume(answering)


def _answer(answering: Answering) -> None:
    frame, said = answering.state.active_flow, answering.said
    if frame is None:
        _take(answering, None)
    elif not (said.wants("confirm") or said.wants("deny")):
        answering.set(active_flow=settle(answering, frame))
        _take(answering, answering.state.active_flow)
    elif not answering.seen(frame):
        answering.say(answering.texts.unseen)
        present(answering, frame, anew=False)
    elif answering.overtaken(frame):
        answering.say(answering.texts.overtaken)
        present(answering, frame, anew=True)
    elif frame.action_id is not None:
        _decide(answering, frame, frame.action_id)
    else:
        _take(answering, frame)


def _decide(answering: Answering, frame: Frame, action_id: str) -> None:
    """Take the yes or no to a proposed action, and say the truth of what came back."""
    yes, texts = answering.said.wants("confirm"), answering.texts
    action = answering.confirm(action_id) if yes else answering.cancel(action_id)
    status = answering.status(action)
    answering.set(active_flow=None)
    if action is not None and status in TAKEN:
        if not yes:
            answering.say(texts.too_late_to_cancel)
        confirmed(answering, frame, action)
    elif status is EffectStatus.CANCELLED:
        text = texts.cancelled_elsewhere if yes else texts.cancelled
        answering.say(text, what=described(answering, frame, action))
    else:
        answering.say(texts.expired, what=described(answering, frame, action))
        if yes:
            present(answering, frame.model_copy(update={"action_id": None}), anew=True)


def _take(answering: Answering, frame: Frame | None) -> None:
    """Take anything but a yes or no to a proposed action. `frame`: the sub-flow that is talked about."""
    said, texts = answering.said, answering.texts
    if said.wants("help"):
        answering.say(texts.help)
        remind(answering)
    elif frame is not None and (draft := sub_flow(frame).hears(draft_of(frame), said)) is not None:
        redraft(answering, frame, draft)
    elif wanted := [name for name in SUB_FLOWS if name in said.intents]:
        begin(answering, wanted)
    elif frame is not None and said.wants("deny"):
        answering.say(texts.cancelled, what=texts.titles[frame.flow])
        answering.set(active_flow=None)
    elif frame is None and said.wants("confirm"):
        _yes_to_nothing(answering)
    elif frame is None and said.wants("deny"):
        _no_to_nothing(answering)
    else:
        if not said.wants("confirm"):
            answering.say(texts.hello if says_nothing(said.text) else texts.not_understood)
        remind(answering)


def _yes_to_nothing(answering: Answering) -> None:
    """Take a yes with no sub-flow open: for an action that is staged all the same, or for the last template."""
    recent, template = list(answering.recent.values()), answering.state.last_template
    staged = next((action for action in recent if answering.status(action) is EffectStatus.STAGED), None)
    if staged is not None and (action := answering.confirm(staged.id.id)) is not None:
        tell(answering, action)
    elif template is not None and template.opens is not None and template.opens in SUB_FLOWS:
        answering.set(last_template=None)
        begin(answering, [template.opens])
    elif taken := [action for action in recent if action.status in TAKEN]:
        last = max(taken, key=lambda action: action.confirmed_at or 0)
        answering.say(answering.texts.confirmed_before, what=last.description)
    else:
        answering.say(answering.texts.nothing_to_confirm)


def _no_to_nothing(answering: Answering) -> None:
    template = answering.state.last_template
    answering.say(answering.texts.template_declined if template and template.opens else answering.texts.nothing_to_cancel)
    answering.set(last_template=None)
