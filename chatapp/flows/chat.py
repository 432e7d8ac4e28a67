"""The flow that answers freely: the conversation goes to the model, the model's pieces go to the user."""

from collections.abc import Generator

from chatapp.flows.port import Asked, Flow, Step
from chatapp.model import Message, ModelRequest, text_of


class Chat(Flow):
    """Answers with whatever the model says."""

    name = "chat"

    def run(self, asked: Asked) -> Generator[Step, None, None]:
        """Yield the model's answer to the turn, with the history before it."""
        turn = asked.turn
        messages = (*asked.history, Message("user", text_of(turn.input)))
        yield from asked.llm.stream(ModelRequest(messages, turn.options, turn.user_id, str(turn.job_id)))
