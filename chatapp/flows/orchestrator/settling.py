"""What came of a proposed action: told to the nurse, and kept in the state if there was a yes."""

from chatapp.effects import Effect, EffectStatus
from chatapp.flows.orchestrator.answering import TAKEN, Answering
from chatapp.flows.orchestrator.finish import Finish
from chatapp.flows.orchestrator.note import TakeNote, counted
from chatapp.flows.orchestrator.state import Frame, Shift
from chatapp.flows.orchestrator.sub_flows import draft_of, sub_flow

UNDER_WAY = (EffectStatus.CONFIRMED, EffectStatus.EXECUTING)
"""Confirmed, and nobody can say yet what comes of it."""


def settle(answering: Answering, frame: Frame) -> Frame | None:
    """Take note of what became of a sub-flow's action by another way. Returns: what is left of the sub-flow, None for nothing."""
    if frame.action_id is None:
        return frame
    action = answering.recent.get(frame.action_id)
    status = answering.status(action)
    if status is EffectStatus.STAGED:
        return frame
    if action is not None and status in TAKEN:
        _keep(answering, frame, action)
        if status in UNDER_WAY:
            answering.say(answering.texts.confirmed_elsewhere, what=action.description)
        else:
            tell(answering, action)
        return None
    if status is EffectStatus.CANCELLED and answering.turn.attempt <= 1:
        answering.say(answering.texts.cancelled_elsewhere, what=described(answering, frame, action))
        return None
    # Expired, or cancelled by an attempt of this very turn that died: it is proposed anew.
    return frame.model_copy(update={"action_id": None})


def settle_suspended(answering: Answering) -> None:
    """Do so for all that are suspended."""
    left = [settle(answering, frame) for frame in answering.state.suspended]
    answering.set(suspended=tuple(frame for frame in left if frame is not None))


def drop_failed(answering: Answering) -> None:
    """Take the records that could not be written out of a shift that is about to be summed up, and tell."""
    shift = answering.state.shift
    if shift is None or not _sums_up(answering):
        return
    status = {record.action_id: answering.recent.get(record.action_id) for record in shift.records}
    failed = [record for record in shift.records if (a := status[record.action_id]) and a.status is EffectStatus.FAILED]
    for record in failed:
        answering.say(answering.texts.failed, what=record.text)
    left = tuple(record for record in shift.records if record not in failed)
    answering.set(shift=shift.model_copy(update={"records": left, "count": max(0, shift.count - len(failed))}))


def _sums_up(answering: Answering) -> bool:
    """Whether the end of the shift is asked for, or open and not proposed: what was proposed stays as it was read."""
    active = answering.state.active_flow
    if active is not None and active.flow == Finish.name and active.action_id is not None:
        return False
    frames = (*answering.state.suspended, *([active] if active else []))
    return answering.said.wants(Finish.name) or any(frame.flow == Finish.name for frame in frames)


def confirmed(answering: Answering, frame: Frame, action: Effect) -> None:
    """Take note of a yes, and tell how the action stands."""
    _keep(answering, frame, action)
    tell(answering, action)


def tell(answering: Answering, action: Effect) -> None:
    """Tell the truth about an action that was asked to be confirmed."""
    texts = answering.texts
    told = {
        EffectStatus.EXECUTED: texts.executed,
        EffectStatus.FAILED: texts.failed,
        EffectStatus.UNKNOWN: texts.unknown,
        EffectStatus.CANCELLED: texts.cancelled_elsewhere,
        EffectStatus.EXPIRED: texts.expired,
    }
    answering.say(told.get(answering.status(action), texts.confirmed), what=action.description)


def described(answering: Answering, frame: Frame, action: Effect | None) -> str:
    """Name what was proposed; only by its kind if its item is gone."""
    return action.description if action is not None else answering.texts.titles[frame.flow]


def _keep(answering: Answering, frame: Frame, action: Effect) -> None:
    before = answering.state.shift
    answering.state = sub_flow(frame).confirmed(draft_of(frame), answering.state, action.id.id, action.description)
    if before is None and answering.state.shift is not None:
        _count_earlier(answering, answering.state.shift)


def _count_earlier(answering: Answering, shift: Shift) -> None:
    """Count the notes that got their yes while the arrival still waited for its own."""
    for action in reversed(answering.recent.values()):
        since = action.confirmed_at is not None and action.confirmed_at >= shift.started_at
        if action.name == TakeNote.name and action.status in TAKEN and since:
            answering.state = counted(answering.state, action.id.id, action.description)
