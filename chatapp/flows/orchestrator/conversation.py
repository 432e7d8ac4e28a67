"""One message of the conversation: what it does to the sub-flows that are open, what is answered, what is proposed.

One sub-flow is talked about (`ActiveFlow`); those that it interrupted are `Suspended` and come back, the last one first. What a
sub-flow proposes is staged as an action with the end of the turn. A yes is taken for the question that the nurse has seen: one
that was sent before the question was asked is not an answer to it.

An attempt that dies after it confirmed or cancelled an action leaves the state as it was. The next one reads the same message
over the same state: it asks for the same yes or no again, which changes nothing, and tells what came of it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.errors import NotFound
from chatapp.flows.orchestrator.check_in import CheckIn
from chatapp.flows.orchestrator.finish import Finish
from chatapp.flows.orchestrator.intents import says_nothing
from chatapp.flows.orchestrator.note import TakeNote
from chatapp.flows.orchestrator.state import Frame, OrchestratorState
from chatapp.flows.orchestrator.subflow import Draft, Said, SubFlow, TooLong
from chatapp.flows.port import Propose
from chatapp.model import Turn
from chatapp.ports import SessionActions

SUB_FLOWS: Mapping[str, SubFlow[Any]] = {sub.name: sub for sub in (CheckIn(), TakeNote(), Finish())}
"""The sub-flows by name. A message that wants several begins them in this order's reverse: the first is talked about first."""

TAKEN = (EffectStatus.CONFIRMED, EffectStatus.EXECUTING, EffectStatus.EXECUTED, EffectStatus.FAILED, EffectStatus.UNKNOWN)
"""The states of an action that has got its yes."""


class Conversation:
    """Hears one message. Afterwards `state`, `lines` (the answer), `proposal` and `offers` say what came of it."""

    def __init__(self, state: OrchestratorState, said: Said, actions: SessionActions, turn: Turn) -> None:
        self.state = state
        self.lines: list[str] = []
        self.proposal: Propose | None = None
        self.offers: tuple[str, ...] = ()
        self._said = said
        self._texts = said.texts
        self._actions = actions
        self._turn = turn

    def hear(self) -> None:
        """Take the message. Raises: StoreUnavailable."""
        try:
            self._settle_suspended()
            self._answer()
        except TooLong as error:
            self.lines.append(self._texts.too_long.format(count=error.count, most=error.most))
            self.remind()
        if self.state.active_flow is None and self.state.suspended:
            self._resume()

    def remind(self) -> None:
        """Say what is still open, and ask for it again."""
        frame = self.state.active_flow
        if frame is not None:
            self.lines.append(self._texts.still_open.format(title=self._texts.titles[frame.flow]))
            self._present(frame, anew=False)

    # --- a yes, a no, and everything else

    def _answer(self) -> None:
        frame, said = self.state.active_flow, self._said
        if frame is not None and (said.wants("confirm") or said.wants("deny")):
            if said.sent_at < frame.asked_at:
                self.lines.append(self._texts.unseen)
                self._present(frame, anew=False)
            elif frame.action_id is not None:
                self._decide(frame, frame.action_id)
            else:
                self._take(frame)
            return
        if frame is not None and frame.action_id is not None:
            frame = self._settle(frame, frame.action_id)
            self._set(active_flow=frame)
        self._take(frame)

    def _decide(self, frame: Frame, action_id: str) -> None:
        """Take the yes or no to a proposed action, and say the truth of what came back."""
        yes = self._said.wants("confirm")
        action = self._ask(self._actions.confirm if yes else self._actions.cancel, action_id)
        status = action.status_at(self._said.now) if action is not None else EffectStatus.EXPIRED
        if action is not None and status in TAKEN:
            if not yes:
                self.lines.append(self._texts.too_late_to_cancel)
            self._confirmed(frame, action, status)
            self._set(active_flow=None)
        elif status is EffectStatus.CANCELLED:
            text = self._texts.cancelled_elsewhere if yes else self._texts.cancelled
            self.lines.append(text.format(what=self._described(frame, action)))
            self._set(active_flow=None)
        else:
            self.lines.append(self._texts.expired.format(what=self._described(frame, action)))
            self._set(active_flow=frame.model_copy(update={"action_id": None}) if yes else None)
            if self.state.active_flow is not None:
                self._present(self.state.active_flow, anew=True)

    def _take(self, frame: Frame | None) -> None:
        said = self._said
        if said.wants("help"):
            self.lines.append(self._texts.help)
            self.remind()
        elif frame is not None and (draft := self._sub(frame).hears(self._draft(frame), said)) is not None:
            self._redraft(frame, draft)
        elif wanted := [name for name in SUB_FLOWS if name in said.intents]:
            self._begin(wanted)
        elif frame is not None and said.wants("deny"):
            self.lines.append(self._texts.cancelled.format(what=self._texts.titles[frame.flow]))
            self._set(active_flow=None)
        elif frame is None and said.wants("confirm"):
            self._yes_to_nothing()
        elif frame is None and said.wants("deny"):
            self._no_to_nothing()
        else:
            if not said.wants("confirm"):
                self.lines.append(self._texts.hello if says_nothing(said.text) else self._texts.not_understood)
            self.remind()

    def _yes_to_nothing(self) -> None:
        """Take a yes with no sub-flow open: for an action that is staged all the same, or for the last template."""
        staged = [a for a in self._recent.values() if a.status_at(self._said.now) is EffectStatus.STAGED]
        template = self.state.last_template
        if staged and (action := self._ask(self._actions.confirm, staged[0].id.id)) is not None:
            self._tell(action, action.status_at(self._said.now))
        elif template is not None and template.opens is not None and template.opens in SUB_FLOWS:
            self._set(last_template=None)
            self._begin([template.opens])
        else:
            taken = [a for a in self._recent.values() if a.status in TAKEN]
            texts = self._texts
            self.lines.append(texts.confirmed_before.format(what=taken[0].description) if taken else texts.nothing_to_confirm)

    def _no_to_nothing(self) -> None:
        template = self.state.last_template
        self.lines.append(self._texts.template_declined if template and template.opens else self._texts.nothing_to_cancel)
        self._set(last_template=None)

    # --- sub-flows: begin, change, suspend, resume

    def _begin(self, names: Sequence[str]) -> None:
        """Begin sub-flows, or go on with those that are suspended; the first name is talked about first."""
        before = self.state.active_flow
        for name in reversed(names):
            self._begin_one(SUB_FLOWS[name])
        frame = self.state.active_flow
        if frame is None:
            return
        if frame == before:
            self.remind()
            return
        self._present(frame, anew=True)
        if before is not None and self.state.active_flow is not None:
            self.lines.append(self._texts.still_open.format(title=self._texts.titles[before.flow]))

    def _begin_one(self, sub: SubFlow[Any]) -> None:
        for frame in self.state.suspended:
            if frame.flow == sub.name:
                self._raise(frame)
                return
        if refusal := sub.refuses(self.state, self._texts):
            self.lines.append(refusal)
            return
        frame = Frame(flow=sub.name, draft=sub.begins(self._said).model_dump(mode="json"))
        active = self.state.active_flow
        if active is None:
            self._set(active_flow=frame)
        elif sub.waits:
            self.lines.append(self._texts.first_this)
            self._set(suspended=(frame, *self.state.suspended))
        else:
            self._set(active_flow=frame, suspended=(*self.state.suspended, active))

    def _raise(self, frame: Frame) -> None:
        """Bring a suspended sub-flow back before its time, because the message is for it."""
        if self._sub(frame).waits and self.state.active_flow is not None:
            self.lines.append(self._texts.first_this)
            return
        draft = self._sub(frame).hears(self._draft(frame), self._said)
        changed = frame if draft is None else self._with_draft(frame, draft)
        others = tuple(f for f in self.state.suspended if f is not frame)
        active = self.state.active_flow
        self._set(active_flow=changed, suspended=others if active is None else (*others, active))

    def _redraft(self, frame: Frame, draft: Draft) -> None:
        """Take a changed draft: what was proposed of the old one is cancelled, and the new one is proposed."""
        changed = self._with_draft(frame, draft)
        self._set(active_flow=changed)
        if changed is None:
            self._begin([frame.flow])  # the old one had got its yes meanwhile: what the message says is a new one
        else:
            self._present(changed, anew=changed != frame)

    def _with_draft(self, frame: Frame, draft: Draft) -> Frame | None:
        """Put a draft into a sub-flow. Returns: None if what it proposed has got its yes and cannot be changed any more."""
        new = draft.model_dump(mode="json")
        if new == self._draft(frame).model_dump(mode="json"):
            return frame
        if frame.action_id is not None:
            action = self._ask(self._actions.cancel, frame.action_id)
            if action is not None and action.status in TAKEN:
                self._confirmed(frame, action, action.status)
                return None
        return frame.model_copy(update={"draft": new, "action_id": None})

    def _resume(self) -> None:
        *others, frame = self.state.suspended
        frame = self._current(frame)
        self._set(active_flow=frame, suspended=tuple(others))
        self.lines.append(self._texts.back_to.format(title=self._texts.titles[frame.flow]))
        self._present(frame, anew=True)

    def _current(self, frame: Frame) -> Frame:
        """Take a proposal back that the meantime has overtaken, such as a summary with fewer records than there are now."""
        action = self._recent.get(frame.action_id) if frame.action_id is not None else None
        if action is None or frame.action_id is None or self._sub(frame).refuses(self.state, self._texts):
            return frame
        payload = self._sub(frame).payload(self._draft(frame), self.state).json_object()
        if payload == dict(action.payload):
            return frame
        cancelled = self._ask(self._actions.cancel, frame.action_id)
        return frame.model_copy(update={"action_id": None}) if cancelled is None or cancelled.status not in TAKEN else frame

    def _present(self, frame: Frame, *, anew: bool) -> None:
        """Ask what a sub-flow still needs, or for the yes to what it proposes. `anew`: it is another question than before."""
        sub, draft, texts = self._sub(frame), self._draft(frame), self._texts
        if frame.action_id is None and (refusal := sub.refuses(self.state, texts)):
            self.lines.append(refusal)
            self._set(active_flow=None)
            return
        asked_at = self._said.now if anew or frame.action_id is None else frame.asked_at
        if question := sub.asks(draft, self.state, texts):
            self.lines.append(question)
            self.offers = (texts.no,)
            asked_at = self._said.now if anew else frame.asked_at
        else:
            description = sub.describes(draft, self.state, texts)
            if frame.action_id is None:
                frame = frame.model_copy(update={"action_id": self._propose(sub, draft, description)})
            self.lines.append("\n".join(filter(None, (description, sub.hint(draft, texts), texts.confirm))))
            self.offers = (texts.yes, texts.no)
        self._set(active_flow=frame.model_copy(update={"asked_at": asked_at}))

    def _propose(self, sub: SubFlow[Any], draft: Draft, description: str) -> str:
        self.proposal = Propose(sub.name, sub.payload(draft, self.state).json_object(), description)
        return EffectId.action(self._turn.session_id, self._turn.number, 0).id

    # --- actions

    @cached_property
    def _recent(self) -> dict[str, Effect]:
        """The session's actions by id, the newest first."""
        return {action.id.id: action for action in self._actions.recent()}

    def _ask(self, way: Callable[[str], Effect], action_id: str) -> Effect | None:
        """Confirm or cancel an action. Returns: it as it stands then; None if its item is gone."""
        try:
            return way(action_id)
        except NotFound:
            return None

    def _settle_suspended(self) -> None:
        kept = [f if f.action_id is None else self._settle(f, f.action_id) for f in self.state.suspended]
        self._set(suspended=tuple(frame for frame in kept if frame is not None))

    def _settle(self, frame: Frame, action_id: str) -> Frame | None:
        """Take note of what became of a proposed action by another way. Returns: what is left of the sub-flow."""
        action = self._recent.get(action_id)
        status = action.status_at(self._said.now) if action is not None else EffectStatus.EXPIRED
        if status is EffectStatus.STAGED:
            return frame
        if action is not None and status in TAKEN:
            self.state = self._sub(frame).confirmed(self._draft(frame), self.state, action_id, action.description)
            self.lines.append(self._texts.confirmed_elsewhere.format(what=action.description))
            return None
        if status is EffectStatus.CANCELLED and self._turn.attempt <= 1:
            self.lines.append(self._texts.cancelled_elsewhere.format(what=self._described(frame, action)))
            return None
        # Expired, or cancelled by an attempt of this very turn that died: it is proposed anew.
        return frame.model_copy(update={"action_id": None})

    def _confirmed(self, frame: Frame, action: Effect, status: EffectStatus) -> None:
        """Take note of a yes."""
        self.state = self._sub(frame).confirmed(self._draft(frame), self.state, action.id.id, action.description)
        self._tell(action, status)

    def _tell(self, action: Effect, status: EffectStatus) -> None:
        texts = self._texts
        told = {
            EffectStatus.EXECUTED: texts.executed,
            EffectStatus.FAILED: texts.failed,
            EffectStatus.UNKNOWN: texts.unknown,
            EffectStatus.CANCELLED: texts.cancelled_elsewhere,
            EffectStatus.STAGED: texts.expired,
            EffectStatus.EXPIRED: texts.expired,
        }
        self.lines.append(told.get(status, texts.confirmed).format(what=action.description))

    def _described(self, frame: Frame, action: Effect | None) -> str:
        return action.description if action is not None else self._texts.titles[frame.flow]

    # --- the state

    def _sub(self, frame: Frame) -> SubFlow[Any]:
        return SUB_FLOWS[frame.flow]

    def _draft(self, frame: Frame) -> Draft:
        draft: Draft = self._sub(frame).draft.model_validate(frame.draft)
        return draft

    def _set(self, **fields: Any) -> None:
        self.state = self.state.model_copy(update=fields)
