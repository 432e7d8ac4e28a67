"""The interview without servers: the flow, what scripted model and travel API would answer, and a day that is always the same."""

# ruff: noqa: ARG002  a stand-in has the interface of the real one

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chatapp.dev import partner_travel
from chatapp.dev.completion import prepare
from chatapp.effects import Effect
from chatapp.errors import ExternalUnavailable, NotFound
from chatapp.flows.interview.flow import Interview
from chatapp.flows.port import Asked, Outcome
from chatapp.model import Finish, FinishReason, ModelOptions, ModelRequest, Pending, Piece, Session, TextDelta, Turn, text_part

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class ScriptedModel:
    """What the scripted model server would say."""

    def stream(self, request: ModelRequest) -> Generator[Piece, None, None]:
        assert request.answer is not None
        messages = [{"role": "system", "content": request.options.instructions}]
        messages += [{"role": message.role, "content": message.text} for message in request.messages]
        form = {"name": request.answer.name, "schema": request.answer.schema}
        body = {"model": "m", "messages": messages, "response_format": {"type": "json_schema", "json_schema": form}}
        for piece in prepare(body).pieces:
            yield TextDelta(piece)
        yield Finish(FinishReason.STOP, "m", None)


class ScriptedTravel:
    """What the scripted partners would say of airports and flights."""

    def cached_get(self, endpoint: str, params: Mapping[str, Any]) -> Any:
        told = {name: str(value) for name, value in params.items()}
        if endpoint == "airports":
            status, answer = partner_travel.locations(told | {"subType": "CITY,AIRPORT"})
        else:
            status, answer = partner_travel.offers(told, NOW.date())
        if status != 200:
            raise ExternalUnavailable(endpoint)
        return answer

    def recall(self, endpoint: str, params: Mapping[str, Any]) -> Any | None:
        return None

    def keep(self, endpoint: str, params: Mapping[str, Any], value: Any) -> None:
        return None


class NoActions:
    """The interview proposes none."""

    def staged(self) -> list[Effect]:
        return []

    def confirm(self, action_id: str) -> Effect:
        raise NotFound(action_id)

    def cancel(self, action_id: str) -> Effect:
        raise NotFound(action_id)


@dataclass(frozen=True)
class Said:
    """One turn: what the user said, what was answered and offered, and the state after it."""

    message: str
    answer: str
    replies: tuple[str, ...]
    state: Mapping[str, Any]


def hold(messages: tuple[str, ...], language: str | None = None, *, greeted: bool = True) -> list[Said]:
    """Hold a conversation, from the greeting on; or from the first message on, as `POST /chat` may begin one."""
    state: Mapping[str, Any] = {"Language": language} if language else {}
    held = []
    for number, message in enumerate(("", *messages) if greeted else messages, 1):
        answer, outcome = "", Outcome()
        for step in Interview().run(_asked(number, message, state)):
            if isinstance(step, TextDelta):
                answer += step.text
            elif not isinstance(step, Pending | Finish):
                outcome.take(step)
        state = outcome.state_after(state) or state
        held.append(Said(message, answer, outcome.quick_replies, state))
    return held


def _asked(number: int, message: str, state: Mapping[str, Any]) -> Asked:
    session = Session.begin(user_id="u", flow="interview", now=0, life_ms=1, state=state)
    turn = Turn(
        session_id=session.id,
        number=number,
        user_id="u",
        flow="interview",
        input=(text_part(message),) if message else (),
        options=ModelOptions("m"),
        created_at=0,
        expires_at=0,
    )
    now = round(NOW.timestamp() * 1000)
    return Asked(turn, session, (), ScriptedModel(), NoActions(), ScriptedTravel(), now)
