"""AsyncAPI 3.0 of the WebSocket, made from the models that read the client's frames and those that describe the server's.

As AsyncAPI 3 has it, actions are those of the application described, the server: it *receives* what clients send.
"""

from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from flask import json
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from chatapp.api.openapi import VERSION, add_limits
from chatapp.api.socket_messages import ANSWERS, REFUSED, UNASKED, every_message, message_id, type_of
from chatapp.close_codes import CLOSE_CODES
from chatapp.frames import Chat
from chatapp.requests import TextPart
from chatapp.server_frames import Connected
from config.settings import Settings

EXAMPLES = files("chatapp.api").joinpath("static/docs/frames.json")
"""One frame or more of each message, as a run of the whole thing recorded them (tests/integration/test_ws_contract.py)."""

ABOUT = """Follow conversations live, and speak over the same socket. Messages may be posted over HTTP as well: the HTTP interface
is described by [/openapi.json](/openapi.json). [/docs/websocket](/docs/websocket) tells the protocol in full, with a transcript.

Frames are JSON objects in text frames. Clients ignore types and fields that they do not know; the server refuses unknown fields.

**Actions are the server's**: what it *receives* is sent by clients, what it *sends* is for them."""
WHO = """Say who you are in one of three ways: the header `Authorization: Bearer <token>`; the query parameter `ticket` (from
`POST /ws/ticket`, 30 s, once); or a first frame `auth` within {auth_seconds:g} s, for which `security` has no word."""


def document(settings: Settings) -> dict[str, Any]:
    """Describe the socket as it is with these settings."""
    address = urlsplit(settings.public_ws_url)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "chatapp WebSocket", "version": VERSION, "description": ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "websocket": {
                "host": address.netloc,
                "protocol": address.scheme,
                "protocolVersion": "13",
                "description": WHO.format(auth_seconds=settings.ws_auth_seconds),
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _SECURITY],
            }
        },
        "channels": {"socket": _channel(address.path or "/", settings)},
        "operations": dict(_operations()),
        "components": {
            "messages": {message_id(model): _message(model) for model in every_message()},
            "schemas": _schemas(settings),
            "securitySchemes": _SECURITY,
        },
    }


_SECURITY: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "ticket": {"type": "httpApiKey", "in": "query", "name": "ticket", "description": "From `POST /ws/ticket`: 30 s, once."},
}
_QUERY: dict[str, Any] = {
    "type": "object",
    "properties": {"ticket": {"type": "string", "description": "Instead of a token: browsers can send no header."}},
}
_HEADERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "Authorization": {"type": "string", "pattern": "^[Bb]earer .+"},
        "Origin": {"type": "string", "description": "Sent by browsers; another than those of CORS_ORIGINS is closed with 4507."},
    },
}


def limits(settings: Settings) -> dict[str, float]:
    """Say what a socket may do. Bytes, seconds, counts; who does more is refused or closed (docs/websocket.md)."""
    return {
        "frame_bytes": settings.ws_max_payload,
        "frames_per_second": settings.ws_frames_per_second,
        "auth_seconds": settings.ws_auth_seconds,
        "ping_seconds": settings.ws_ping_seconds,
        "sockets_per_user": settings.ws_max_sockets,
        "subscriptions_per_socket": settings.ws_max_subscriptions,
        "waiting_events": settings.ws_send_queue,
        "waiting_bytes": settings.ws_send_bytes,
        "message_characters": settings.max_message_chars,
    }


def _channel(path: str, settings: Settings) -> dict[str, Any]:
    codes = "\n".join(f"| {c.code} | {c.meaning} | {c.reconnect.replace('_', ' ')} |" for c in CLOSE_CODES)
    return {
        "address": path,
        "description": f"One socket of a client.\n\n| close code | meaning | come again? |\n|---|---|---|\n{codes}",
        "messages": {message_id(model): {"$ref": f"#/components/messages/{message_id(model)}"} for model in every_message()},
        "bindings": {"ws": {"method": "GET", "query": _QUERY, "headers": _HEADERS, "bindingVersion": "0.1.0"}},
        "x-close-codes": [asdict(code) for code in CLOSE_CODES],
        "x-limits": limits(settings),
    }


def _operations() -> list[tuple[str, dict[str, Any]]]:
    channel = {"$ref": "#/channels/socket"}
    asked = [
        (
            message_id(model),
            {
                "action": "receive",
                "channel": channel,
                "summary": _summary(model),
                "messages": [_of_channel(model)],
                "reply": {"channel": channel, "messages": [_of_channel(m) for m in answers + REFUSED]},
            },
        )
        for model, answers in ANSWERS.items()
    ]
    unasked = [
        (name, {"action": "send", "channel": channel, "summary": summary, "messages": [_of_channel(m) for m in models]})
        for name, (models, summary) in UNASKED.items()
    ]
    return asked + unasked


def _message(model: type[BaseModel]) -> dict[str, Any]:
    described = {
        "name": type_of(model),
        "title": model.__name__,
        "summary": _summary(model),
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "examples": [{"payload": example} for example in _examples().get(message_id(model), ())],
    }
    if model in ANSWERS or model in REFUSED or any(model in answers for answers in ANSWERS.values()):
        described["correlationId"] = {"location": "$message.payload#/id"}
    return described


def _of_channel(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/channels/socket/messages/{message_id(model)}"}


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().rstrip(".")


@cache
def _examples() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = json.loads(EXAMPLES.read_text())
    return found


def _schemas(settings: Settings) -> dict[str, Any]:
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in every_message()] + [
        (TextPart, "validation")
    ]
    _, schema = models_json_schema(inputs, ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = schema["$defs"]
    add_limits(schemas[Chat.__name__]["properties"], settings)
    schemas[Connected.__name__]["properties"]["max_payload"]["description"] += f" Here {settings.ws_max_payload}."
    return schemas
