"""What a message on our queues may look like. Everything else is poison, with a reason.

What is read here is written anew before Celery sees it: of a message off the wire only the checked values go on, so that no
header, encoding or embedded callback of a stranger's reaches Celery (which would even send the callbacks).

A message is base64 of JSON, as kombu's SQS transport writes it; its `body` is base64 of JSON again: `[args, kwargs, embed]`.
"""

import base64
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import jiter

from chatapp.effects import EffectId
from chatapp.model import JobId
from config.resources import CHAT, CHAT_TASK, EFFECT_TASK, EFFECTS

MAX_BYTES = 256 * 1024
"""Longest message that is looked at. Ours have 2 kB."""

MAX_ID_CHARS = 255


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a queue carries: one task, which takes one argument, by name, and how that is read."""

    task: str
    argument: str
    parse: Callable[[str], object | None]


WANTED: Mapping[str, Wanted] = {
    CHAT.name: Wanted(CHAT_TASK, "job_id", JobId.parse),
    EFFECTS.name: Wanted(EFFECT_TASK, "effect_id", EffectId.parse),
}
"""What may be asked for, by queue."""

NO_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class Poison(Exception):
    """A message that no worker can do anything with. `reason` is a word; `detail` holds nothing of the message's content."""

    def __init__(self, reason: str, detail: str, about: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.about = about
        """The id of the job or the effect that it names, where that can be read."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message that was understood."""

    task: str
    argument: str
    id: str
    """Of the job or the effect."""
    traceparent: str | None

    def payload(self, delivery_tag: str, delivery_info: dict[str, Any]) -> dict[str, Any]:
        """Write it as kombu's virtual transports want it, with the given delivery."""
        return {
            "body": json.dumps([[], {self.argument: self.id}, NO_EMBED]),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {
                "task": self.task,
                "id": self.id,  # Celery writes it to the log: not whatever the sender called it
                "root_id": self.id,
                "argsrepr": "-",
                "kwargsrepr": "-",
                **({"traceparent": self.traceparent} if self.traceparent else {}),
            },
            "properties": {"correlation_id": self.id, "delivery_tag": delivery_tag, "delivery_info": delivery_info},
        }


def read(raw: str, queue: str) -> Envelope:
    """Read a message of a queue off the wire. Raises: Poison, whatever the text is."""
    message, wanted = _message(raw), WANTED[queue]
    try:
        return _envelope(message, wanted)
    except Poison as poison:
        raise Poison(poison.reason, poison.detail, _named_in(message, wanted)) from poison


def _message(raw: str) -> dict[str, Any]:
    if not raw:
        raise Poison("empty", "the message is empty")
    if len(raw) > MAX_BYTES:
        raise Poison("too_large", f"the message has {len(raw)} characters")
    message = _json(_decoded(raw))
    if not isinstance(message, dict):
        raise Poison("not_an_object", "the message is JSON, but not an object")
    return message


def _envelope(message: dict[str, Any], wanted: Wanted) -> Envelope:
    headers, properties = message.get("headers"), message.get("properties")
    if not isinstance(headers, dict):
        raise Poison("wrong_headers", "the message has no headers")
    if not isinstance(properties, dict):
        raise Poison("wrong_properties", "the message has no properties")
    task, task_id, traceparent = headers.get("task"), headers.get("id"), headers.get("traceparent")
    if not isinstance(task, str) or not task:
        raise Poison("no_task", "the message names no task")
    if task != wanted.task:
        raise Poison("unknown_task", "the message names a task that this queue does not have")
    if not isinstance(task_id, str) or not 0 < len(task_id) <= MAX_ID_CHARS:
        raise Poison("no_id", "the message has no id")
    _check_headers(headers)
    named = _named(_kwargs(message, properties), wanted)
    return Envelope(task, wanted.argument, named, traceparent if isinstance(traceparent, str) else None)


def _check_headers(headers: dict[str, Any]) -> None:
    if headers.get("eta") is not None or headers.get("expires") is not None:
        raise Poison("scheduled", "the message has an eta or expires: a turn's own times are in DynamoDB")
    if headers.get("compression") is not None:
        raise Poison("compressed", "the message's body is compressed")


def _kwargs(message: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    if message.get("content-type") != "application/json":
        raise Poison("wrong_content_type", "the message's body is not JSON")
    if message.get("content-encoding") != "utf-8" or properties.get("body_encoding") != "base64":
        raise Poison("wrong_encoding", "the message's body is not base64 of UTF-8")
    body = message.get("body")
    if not isinstance(body, str):
        raise Poison("wrong_body", "the message's body is not a text")
    match _json(_decoded(body)):
        case [[], dict() as kwargs, dict() as embed]:
            if any(embed.values()):
                raise Poison("embedded_tasks", "the message carries callbacks, a chain or a chord")
            return kwargs
        case [[*_], _, _]:
            raise Poison("wrong_arguments", "the task takes arguments by name only")
        case _:
            raise Poison("wrong_body", "the message's body is not [args, kwargs, embed]")


def _named(kwargs: dict[str, Any], wanted: Wanted) -> str:
    if set(kwargs) != {wanted.argument}:
        raise Poison("wrong_arguments", f"the task takes {wanted.argument} and nothing else")
    named = _as_id(kwargs[wanted.argument], wanted)
    if named is None:
        raise Poison(f"wrong_{wanted.argument}", f"{wanted.argument} is not one")
    return named


def _named_in(message: dict[str, Any], wanted: Wanted) -> str | None:
    """Say the id of what a poisonous message is about: by its argument, else by its own id."""
    headers, properties = message.get("headers"), message.get("properties")
    named = headers.get("id") if isinstance(headers, dict) else None
    with suppress(Poison):  # its arguments cannot be read either
        named = _kwargs(message, properties if isinstance(properties, dict) else {}).get(wanted.argument, named)
    return _as_id(named, wanted)


def _as_id(value: object, wanted: Wanted) -> str | None:
    return value if isinstance(value, str) and wanted.parse(value) else None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Poison("not_base64", "the text is not base64") from error


def _json(data: bytes) -> Any:
    try:
        # At most 200 levels: the parser of Python's own library raises RecursionError, which kills a stock worker.
        return jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise Poison("not_json", "the text is not JSON in UTF-8, or is nested too deeply") from error
