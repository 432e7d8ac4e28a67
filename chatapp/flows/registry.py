"""Which flows there are: those of the product by name, and those of others as `module:Class`."""

import importlib
from collections.abc import Iterable

from chatapp.flows.port import Flow
from config.settings import SettingsError

OURS = {
    "chat": "chatapp.flows.chat:Chat",
    "orchestrator": "chatapp.flows.orchestrator.flow:Orchestrator",
    "interview": "chatapp.flows.interview.flow:Interview",
}


PHONE_FLOW = "orchestrator"
"""The flow of a phone's session."""


def load(names: Iterable[str]) -> dict[str, Flow]:
    """Make the flows that FLOWS names. Returns: them by their own names. Raises: SettingsError."""
    made = [_make(entry) for entry in names]
    return {flow.name: flow for flow in made}


def _make(entry: str) -> Flow:
    module, _, name = OURS.get(entry, entry).partition(":")
    try:
        flow = getattr(importlib.import_module(module), name or "")()
    except (ImportError, AttributeError, TypeError) as error:
        raise SettingsError(
            [f"FLOWS: `{entry}` is neither a flow of ours nor a module:Class that can be imported: {error}"]
        ) from error
    if not isinstance(flow, Flow) or not isinstance(getattr(flow, "name", None), str):
        raise SettingsError([f"FLOWS: `{entry}` is no chatapp.flows.port.Flow with a name"])
    return flow
