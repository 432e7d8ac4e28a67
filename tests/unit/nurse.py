"""A nurse who talks to the orchestrator, all in memory: the flow's steps are stored as a worker and the tables would."""

from dataclasses import dataclass, field, replace
from typing import Any

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.errors import NotFound
from chatapp.flows.orchestrator.flow import Orchestrator
from chatapp.flows.port import Asked, Change, Offer, Outcome, Propose, Summarize
from chatapp.model import Finish, FinishReason, ModelOptions, Session, TextDelta, Turn, Usage, new_session_id, text_part

HOUR_MS = 3_600_000
START = 1_795_244_520_000  # 2026-11-21T07:02:00Z


class Model:
    """A model that gives `answers` in turn; an exception among them is raised."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[Any] = []

    def stream(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else '{"intent": "other", "language": "unknown"}'
        if isinstance(answer, Exception):
            raise answer
        yield TextDelta(answer)
        yield Finish(FinishReason.STOP, "m", Usage(10, 5))


class Memo:
    """An API cache in a dict; no API."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def cached_get(self, endpoint, params):
        raise NotImplementedError

    def recall(self, endpoint, params):
        return self.kept.get(f"{endpoint} {sorted(params.items())}")

    def keep(self, endpoint, params, value):
        self.kept[f"{endpoint} {sorted(params.items())}"] = value


@dataclass
class Nurse:
    """Her session, what was proposed in it, and the clock."""

    contact: str | None = "+5511999999999"
    language: str = "en"
    now: int = START
    state: dict[str, Any] = field(default_factory=dict)
    actions: dict[str, Effect] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    offers: tuple[str, ...] = ()
    summary: Any = None
    proposed: Propose | None = None
    turns: int = 0
    ends: dict[int, int] = field(default_factory=dict)
    meanwhile: Any = None

    def __post_init__(self) -> None:
        self.session_id = new_session_id()
        self.model, self.external = Model(), Memo()

    def says(self, *parts: Any, seconds: int = 60, sent_at: int | None = None, crashes: bool = False, takes_ms: int = 0) -> str:
        """Say something, `seconds` after the last time; the answer takes `takes_ms`.

        `crashes`: the attempt dies before its end is stored, another follows.
        """
        self.now += seconds * 1000
        self.turns += 1
        said = tuple(text_part(p) if isinstance(p, str) else p for p in parts)
        turn = Turn(
            session_id=self.session_id, number=self.turns, user_id="ana", flow="orchestrator", input=said,
            options=ModelOptions("m"), created_at=self.now if sent_at is None else sent_at, expires_at=0, attempt=1,
        )  # fmt: skip
        if crashes:
            self._attempt(turn)
            turn = replace(turn, attempt=2)
        text, outcome = self._attempt(turn)
        self.ends[turn.number] = self.now + takes_ms
        return self._store(turn, text, outcome)

    def result(self) -> dict[str, Any]:
        """Say what the session came to."""
        return dict(Orchestrator().result(self._session()))

    def _session(self) -> Session:
        return Session(
            id=self.session_id, user_id="ana", flow="orchestrator", created_at=0, updated_at=0, expires_at=0,
            state=self.state, contact=self.contact, summary=self.summary,
        )  # fmt: skip

    def _attempt(self, turn: Turn) -> tuple[str, Outcome]:
        asked = Asked(turn, self._session(), (), self.model, self, self.external, self.now, self.language, self.ends.get)
        text, outcome, last = "", Outcome(), None
        for step in Orchestrator().run(asked):
            last = step
            if isinstance(step, TextDelta):
                text += step.text
            elif isinstance(step, Change | Propose | Offer | Summarize):
                outcome.take(step)
        assert isinstance(last, Finish)
        return text, outcome

    def _store(self, turn: Turn, text: str, outcome: Outcome) -> str:
        if self.meanwhile:
            self.state = self.meanwhile(self.state)
        new = outcome.state_after(self.state)
        self.state = dict(self.state if new is None else new)
        self.offers, self.summary = outcome.quick_replies, outcome.summary or self.summary
        self.proposed = outcome.proposals[0] if outcome.proposals else None
        assert len(outcome.proposals) <= 1
        for number, proposal in enumerate(outcome.proposals):
            id_ = EffectId.action(self.session_id, turn.number, number)
            self.actions[id_.id] = Effect(
                id=id_, user_id="ana", name=proposal.name, status=EffectStatus.STAGED, payload=proposal.payload,
                description=proposal.description, created_at=self.now, expires_at=self.now + HOUR_MS,
            )  # fmt: skip
        return text

    # --- the port SessionActions

    def recent(self) -> list[Effect]:
        return sorted(self.actions.values(), key=lambda e: -e.created_at)

    def staged(self) -> list[Effect]:
        return [e for e in self.recent() if e.status_at(self.now) is EffectStatus.STAGED]

    def confirm(self, action_id: str) -> Effect:
        return self._move(action_id, EffectStatus.CONFIRMED)

    def cancel(self, action_id: str) -> Effect:
        return self._move(action_id, EffectStatus.CANCELLED)

    def becomes(self, action_id: str, status: EffectStatus) -> None:
        """Change an action by another way."""
        self.actions[action_id] = replace(self.actions[action_id], status=status)

    def _move(self, action_id: str, status: EffectStatus) -> Effect:
        if action_id not in self.actions:
            raise NotFound
        found = self.actions[action_id]
        if found.status_at(self.now) is EffectStatus.STAGED:
            self.calls.append(f"{status.value} {action_id}")
            confirmed_at = self.now if status is EffectStatus.CONFIRMED else None
            found = self.actions[action_id] = replace(found, status=status, confirmed_at=confirmed_at)
        return found
