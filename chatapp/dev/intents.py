"""What the scripted model answers when the orchestrator asks what a message wants. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from chatapp.flows.orchestrator.intents import by_keyword, obvious
from chatapp.flows.orchestrator.language import detect


def intent(messages: Sequence[Mapping[str, str]]) -> Mapping[str, Any]:
    """Answer as a model that knows the flow's own words."""
    said = [message["content"] for message in messages if message["role"] == "user"][-1]
    return {"intent": obvious(said) or by_keyword(said), "language": detect(said) or "unknown"}
