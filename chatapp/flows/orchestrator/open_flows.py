"""The sub-flows that are open: begun, changed, suspended, resumed, and what the nurse is asked of them.

One is talked about (`ActiveFlow`); those that it interrupted are `Suspended` and come back, the last one first.
"""

from collections.abc import Sequence

from chatapp.flows.orchestrator.answering import TAKEN, Answering
from chatapp.flows.orchestrator.settling import confirmed
from chatapp.flows.orchestrator.state import Frame
from chatapp.flows.orchestrator.sub_flows import SUB_FLOWS, draft_of, sub_flow
from chatapp.flows.orchestrator.subflow import Draft


def begin(answering: Answering, names: Sequence[str]) -> None:
    """Begin sub-flows, or go on with those that are suspended; the first name is talked about first. Raises: TooLong."""
    before = answering.state.active_flow
    for name in reversed(names):
        suspended = next((frame for frame in answering.state.suspended if frame.flow == name), None)
        if suspended is not None:
            _bring_back(answering, suspended)
        else:
            _begin_one(answering, name)
    frame = answering.state.active_flow
    if frame is None:
        return
    if frame == before:
        remind(answering)
        return
    present(answering, frame, anew=True)
    if before is not None and answering.state.active_flow is not None:
        answering.say(answering.texts.still_open, title=answering.texts.titles[before.flow])


def redraft(answering: Answering, frame: Frame, draft: Draft) -> None:
    """Take a changed draft: what was proposed of the old one is cancelled, and the new one is proposed."""
    changed = _with_draft(answering, frame, draft)
    answering.set(active_flow=changed)
    if changed is None:
        begin(answering, [frame.flow])  # the old one had got its yes meanwhile: what the message says is a new one
    else:
        present(answering, changed, anew=changed != frame)


def resume(answering: Answering) -> None:
    """Go on with the sub-flow that was interrupted last."""
    *others, frame = answering.state.suspended
    frame = _up_to_date(answering, frame)
    answering.set(active_flow=frame, suspended=tuple(others))
    answering.say(answering.texts.back_to, title=answering.texts.titles[frame.flow])
    present(answering, frame, anew=True)


def remind(answering: Answering) -> None:
    """Say what is still open, and ask for it again."""
    frame = answering.state.active_flow
    if frame is not None:
        answering.say(answering.texts.still_open, title=answering.texts.titles[frame.flow])
        present(answering, frame, anew=False)


def present(answering: Answering, frame: Frame, *, anew: bool) -> None:
    """Ask what a sub-flow still needs, or for the yes to what it proposes. `anew`: it is another question than before."""
    sub, draft, texts = sub_flow(frame), draft_of(frame), answering.texts
    if frame.action_id is None and (refusal := sub.refuses(answering.state, texts)):
        answering.say(refusal)
        answering.set(active_flow=None)
        return
    if question := sub.asks(draft, answering.state, texts):
        answering.say(question)
        answering.offers = (texts.no,)
    else:
        description = sub.describes(draft, answering.state, texts)
        if frame.action_id is None:
            frame, anew = frame.model_copy(update={"action_id": answering.propose(frame, description)}), True
        answering.say("\n".join(filter(None, (description, sub.hint(draft, texts), texts.confirm))))
        answering.offers = (texts.yes, texts.no)
    asked = {"asked_at": answering.said.now, "asked_in": answering.turn.number} if anew else {}
    answering.set(active_flow=frame.model_copy(update={"shown_at": answering.said.now, **asked}))


def _begin_one(answering: Answering, name: str) -> None:
    sub, active, suspended = SUB_FLOWS[name], answering.state.active_flow, answering.state.suspended
    if refusal := sub.refuses(answering.state, answering.texts):
        answering.say(refusal)
        return
    frame = Frame(flow=name, draft=sub.begins(answering.said).model_dump(mode="json"))
    if active is None:
        answering.set(active_flow=frame)
    elif sub.waits:
        answering.say(answering.texts.first_this)
        answering.set(suspended=(frame, *suspended))
    else:
        answering.set(active_flow=frame, suspended=(*suspended, active))


def _bring_back(answering: Answering, frame: Frame) -> None:
    """Go on with a suspended sub-flow before its time, because the message is for it."""
    active = answering.state.active_flow
    if sub_flow(frame).waits and active is not None:
        answering.say(answering.texts.first_this)
        return
    draft = sub_flow(frame).hears(draft_of(frame), answering.said)
    changed = frame if draft is None else _with_draft(answering, frame, draft)
    others = tuple(f for f in answering.state.suspended if f is not frame)
    answering.set(active_flow=changed, suspended=others if active is None else (*others, active))


def _with_draft(answering: Answering, frame: Frame, draft: Draft) -> Frame | None:
    """Put a draft into a sub-flow. Returns: None if what it proposed has got its yes and cannot be changed any more."""
    if draft == draft_of(frame):
        return frame
    if frame.action_id is not None:
        action = answering.cancel(frame.action_id)
        if action is not None and action.status in TAKEN:
            confirmed(answering, frame, action)
            return None
    return frame.model_copy(update={"draft": draft.model_dump(mode="json"), "action_id": None})


def _up_to_date(answering: Answering, frame: Frame) -> Frame:
    """Take a proposal back that the meantime has overtaken, such as a shift with fewer records than there are now."""
    if frame.action_id is None or sub_flow(frame).refuses(answering.state, answering.texts):
        return frame
    action = answering.recent.get(frame.action_id)
    payload = sub_flow(frame).payload(draft_of(frame), answering.state).json_object()
    if action is None or payload == dict(action.payload):
        return frame
    cancelled = answering.cancel(frame.action_id)
    return frame if cancelled is not None and cancelled.status in TAKEN else frame.model_copy(update={"action_id": None})
