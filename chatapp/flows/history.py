"""What the model is told of the conversation so far. Pure."""

from collections.abc import Sequence

from chatapp.model import Message, Status, Turn, Usage, text_of

BYTES_PER_TOKEN = 4
"""A rough measure, good enough to bound a prompt: no tokenizer of one vendor shapes it."""


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def estimated_usage(turn: Turn, answer: str, history: Sequence[Message] = ()) -> Usage:
    """Estimate what an attempt cost whose provider did not say."""
    asked = [turn.options.instructions or "", *(m.text for m in history), text_of(turn.input)]
    return Usage(sum(map(estimate_tokens, asked)), estimate_tokens(answer), estimated=True)


def heard(turn: Turn) -> list[tuple[str, str]]:
    """Say what a turn brings into the conversation before its answer, as (role, text).

    A template was sent to the user by somebody on our side. A turn without input was begun by the flow.
    """
    templates = [("assistant", p["text"]) for p in turn.input if p.get("kind") == "template" and p.get("text")]
    text = text_of(turn.input)
    return [*templates, ("user", text)] if text else templates


def messages_of(turn: Turn) -> tuple[Message, ...]:
    """Say what an ended turn adds to the history: nothing if it failed, or was cancelled before it said anything."""
    if turn.status is Status.COMPLETED or (turn.status is Status.CANCELLED and turn.answer):
        said = [Message(role, text) for role, text in heard(turn)]
        return (*said, Message("assistant", turn.answer)) if turn.answer else tuple(said)
    return ()


def history_of(turns: Sequence[Turn], retried: int | None = None) -> tuple[Message, ...]:
    """Join earlier turns, in order; one that a later turn took up again (`retry_of`) is skipped, and so is `retried`."""
    superseded = {retried, *(t.retry_of for t in turns)}
    return tuple(m for t in turns if t.number not in superseded for m in messages_of(t))


def trim(messages: Sequence[Message], tokens: int) -> tuple[Message, ...]:
    """Keep the latest exchanges that fit into `tokens`: all, or from a user's message on."""
    kept, left = [], tokens
    for message in reversed(messages):
        left -= estimate_tokens(message.text)
        if left < 0:
            break
        kept.append(message)
    while len(kept) < len(messages) and kept and kept[-1].role != "user":
        kept.pop()
    return tuple(reversed(kept))
