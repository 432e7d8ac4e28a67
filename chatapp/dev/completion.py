"""One chat completion: the request as read, and the bytes that answer it. Pure.

The shapes are those of https://platform.openai.com/docs/api-reference/chat (object, streaming).
"""

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from chatapp.dev import answers, forms
from chatapp.dev.script import Script, ScriptError, read

DONE = b"data: [DONE]\n\n"
GARBAGE = b'data: {"choices": [{"delta": {"content": <html>502 Bad Gateway\n\n'


class BadRequest(ValueError):
    """The body is no chat completion request; the text says why."""


@dataclass(frozen=True)
class Completion:
    """What will be answered. `pieces` are the tokens; joined they are the text."""

    model: str
    stream: bool
    include_usage: bool
    script: Script
    pieces: list[str]
    finish_reason: str
    prompt_tokens: int
    conversation: tuple[str, ...]
    """What tells this conversation and message from others: the key that `[[fail=n]]` counts by."""
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        """Make one event of the stream."""
        return _event(self._chunk([{"index": 0, "delta": delta, "finish_reason": finish_reason}]))

    def chunks(self) -> list[bytes]:
        """Make the events of all pieces, at the price of one."""
        before, after = self.chunk({"content": "\x00"}).split(rb'"\u0000"')
        encoded = {piece: b"%b%b%b" % (before, json.dumps(piece).encode(), after) for piece in set(self.pieces)}
        return [encoded[piece] for piece in self.pieces]

    def end(self) -> bytes:
        """Make the events that end the stream."""
        usage = _event(self._chunk([], usage=self.usage())) if self.include_usage else b""
        return self.chunk({}, self.finish_reason) + usage + DONE

    def usage(self) -> dict[str, Any]:
        """Count what was read and said."""
        said = len(self.pieces)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": said,
            "total_tokens": self.prompt_tokens + said,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }

    def whole(self) -> dict[str, Any]:
        """Make the answer that is not streamed."""
        message = {"role": "assistant", "content": "".join(self.pieces)}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return {**self._chunk([choice]), "object": "chat.completion", "usage": self.usage()}

    def _chunk(self, choices: list[dict[str, Any]], **more: object) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **more,
        }


def prepare(body: object) -> Completion:
    """Read a request's JSON and decide on the answer.

    Raises: BadRequest.
    """
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadRequest("you must provide a model parameter")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise BadRequest("messages must be a list of at least one message")
    said = [_text(m) for m in messages if m.get("role") == "user"]
    if not said:
        raise BadRequest("messages must hold a user message")
    try:
        script, text = read(said[-1])
    except ScriptError as error:
        raise BadRequest(str(error)) from error
    form = _form(body.get("response_format"))
    pieces = _pieces(script, text, said[:-1]) if form is None else _json(script, form, text, messages)
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    cut_short = isinstance(most, int) and most < len(pieces)
    return Completion(
        model=body["model"],
        stream=body.get("stream") is True,
        include_usage=(body.get("stream_options") or {}).get("include_usage") is True,
        script=script,
        pieces=pieces[:most] if cut_short else pieces,
        finish_reason="length" if cut_short else "stop",
        prompt_tokens=sum(len(answers.tokens_of(_text(m))) + 4 for m in messages),
        conversation=(str(body.get("user", "")), said[0], said[-1]),
    )


def _form(told: object) -> tuple[str, dict[str, Any]] | None:
    """Read `response_format`. Returns: the form's name and schema, None for an answer in text."""
    if told is None or told == {"type": "text"}:
        return None
    form = told.get("json_schema") if isinstance(told, dict) and told.get("type") == "json_schema" else None
    if not isinstance(form, dict) or not isinstance(form.get("name"), str) or not isinstance(form.get("schema"), dict):
        raise BadRequest("response_format must be of type json_schema, with a name and a schema")
    return form["name"], form["schema"]


def _json(script: Script, form: tuple[str, dict[str, Any]], text: str, messages: list[dict[str, Any]]) -> list[str]:
    if script.json is not None:
        return answers.tokens_of(script.json)
    read = [{"role": str(m.get("role")), "content": _text(m)} for m in messages]
    last = max(n for n, m in enumerate(read) if m["role"] == "user")
    read[last] = {**read[last], "content": text}
    return answers.tokens_of(forms.fill(*form, read))


def _pieces(script: Script, text: str, earlier: list[str]) -> list[str]:
    if script.echo is not None:
        return answers.tokens_of(script.echo)
    if script.tokens is not None:
        return answers.tokens_of(answers.filler(script.tokens))
    return answers.tokens_of(answers.answer(text, [read_leniently(e) for e in earlier]))


def read_leniently(text: str) -> str:
    """Say an earlier message without its directives, whatever they were."""
    try:
        return read(text)[1] or text
    except ScriptError:
        return text


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
    return ""


def _event(body: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(body, separators=(",", ":")).encode()
