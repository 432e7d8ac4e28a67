"""Changing a session's state from outside, by a JSON merge patch (RFC 7396). Its flow says what the state may hold."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from pydantic import ValidationError

from chatapp.errors import InvalidRequest, SessionContended, VersionMismatch
from chatapp.flows.extra import json_bytes, tell_state
from chatapp.flows.port import Flow
from chatapp.model import MAX_STATE_BYTES, Session, State
from chatapp.ports import SessionEvents
from chatapp.requests import json_pointer

TRIES = 10
"""How often a patch that is meant for any version is applied anew, because another writer was faster."""

MAX_ERRORS = 20
MAX_DEPTH = 30
"""Levels of lists and objects in a state: DynamoDB holds 32."""

NUL = "\x00"
MAX_NAME_CHARS = 255
MAX_INTEGER = 10**38
SMALLEST, LARGEST = 1e-128, 1e125
"""DynamoDB's numbers: 38 digits, from 1E-130 to just under 1E+126."""

Wrong: TypeAlias = tuple[tuple[int | str, ...], str]
"""A place in a state, and what is wrong there."""


class StateWritable(Protocol):
    """Sessions whose state can be written."""

    def change_state(self, session: Session, state: State) -> tuple[bool, Session]:
        """Write a state if the version is still that of `session`. Returns: (whether it was written, the session then).

        Raises: NotFound, StoreUnavailable.
        """
        ...


class Patching:
    """Applies merge patches to the states of sessions."""

    def __init__(self, *, sessions: StateWritable, flows: Mapping[str, Flow], events: SessionEvents) -> None:
        self._sessions = sessions
        self._flows = flows
        self._events = events

    def __call__(self, session: Session, patch: Mapping[str, Any], *, versions: Collection[int] | None) -> Session:
        """Apply a patch. `versions`: those that it is meant for; None for any, and then it is applied to what is there.

        A patch that changes nothing writes nothing. Returns: the session as it is then. Raises: VersionMismatch,
        InvalidRequest, NotFound, SessionContended, StoreUnavailable.
        """
        flow = self._flows.get(session.flow, Flow())
        for _ in range(TRIES):
            if versions is not None and session.version not in versions:
                raise VersionMismatch(f"The state's version is {session.version}", version=session.version)
            state = accepted(merged(session.state, patch), flow)
            if _canonical(state) == _canonical(session.state):
                return session
            written, now = self._sessions.change_state(session, state)
            if written:
                tell_state(self._events, flow, session, state)
                return now
            session = now
        raise SessionContended(retry_after=1)


def merged(target: Any, patch: Any) -> Any:
    """Apply a merge patch (RFC 7396 section 2): null removes, objects are merged, anything else replaces. Pure."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def accepted(state: State, flow: Flow) -> State:
    """Say what is to be stored of a state: as its flow's model writes it, if it has one. Raises: InvalidRequest."""
    _refuse(_unstorable(state, ()))
    if flow.state_model is not None:
        try:
            model = flow.state_model.model_validate_json(json.dumps(state), strict=True)
        except ValidationError as error:
            _refuse([(e["loc"], e["msg"].removeprefix("Value error, ")) for e in error.errors(include_url=False)])
            raise
        state = model.model_dump(mode="json", by_alias=True)
    if (size := json_bytes(state)) > MAX_STATE_BYTES:
        _refuse([((), f"would make a state of {size} bytes; it may have {MAX_STATE_BYTES}")])
    return state


def _refuse(wrong: Sequence[Wrong]) -> None:
    if wrong:
        raise InvalidRequest(errors=[{"pointer": json_pointer(loc), "detail": detail} for loc, detail in wrong[:MAX_ERRORS]])


def _unstorable(value: Any, place: tuple[int | str, ...]) -> list[Wrong]:
    """List what DynamoDB does not hold as JSON has it: the places, and why."""
    if not isinstance(value, dict | list):
        wrong = _wrong_scalar(value)
        return [(place, wrong)] if wrong else []
    if len(place) >= MAX_DEPTH:
        return [(place[:1], f"must have at most {MAX_DEPTH} levels")]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [wrong for step, held in inner for wrong in (_wrong_name(step, place) or _unstorable(held, (*place, step)))]


def _wrong_name(name: int | str, place: tuple[int | str, ...]) -> list[Wrong]:
    if isinstance(name, int) or (0 < len(name) <= MAX_NAME_CHARS and NUL not in name):
        return []
    return [(place, f"names must have 1 to {MAX_NAME_CHARS} characters, without NUL")]


def _wrong_scalar(value: Any) -> str | None:
    match value:
        case str() if NUL in value:
            return "must not hold the character NUL"
        case int() if abs(value) >= MAX_INTEGER:
            return "must have at most 38 digits"
        case float() if value and not SMALLEST <= abs(value) <= LARGEST:
            return f"must be 0 or from {SMALLEST:g} to {LARGEST:g}"
    return None


def _canonical(state: State) -> str:
    return json.dumps(state, sort_keys=True)
