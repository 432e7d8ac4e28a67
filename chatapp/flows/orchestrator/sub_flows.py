"""The sub-flows there are, and what belongs to one that is open."""

from collections.abc import Mapping
from typing import Any

from chatapp.flows.orchestrator.check_in import CheckIn
from chatapp.flows.orchestrator.finish import Finish
from chatapp.flows.orchestrator.note import TakeNote
from chatapp.flows.orchestrator.state import Frame
from chatapp.flows.orchestrator.subflow import Draft, SubFlow

SUB_FLOWS: Mapping[str, SubFlow[Any]] = {sub.name: sub for sub in (CheckIn(), TakeNote(), Finish())}
"""The sub-flows by name. Of several that one message wants, the first of these is talked about first."""


def sub_flow(frame: Frame) -> SubFlow[Any]:
    """Give the sub-flow that is open in a frame. Raises: KeyError."""
    return SUB_FLOWS[frame.flow]


def draft_of(frame: Frame) -> Draft:
    """Read what was gathered in a frame. Raises: KeyError, ValidationError."""
    draft: Draft = sub_flow(frame).draft.model_validate(frame.draft)
    return draft
