"""OpenAPI 3.1, made from the routes, the descriptions next to the views and the models that check requests and shape answers."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from werkzeug.routing import Rule

from chatapp.api.answers import AcceptedView, BegunView, Problem, ReceivedView
from chatapp.api.flow_answers import StateView
from chatapp.api.operations import Operation, of_endpoint
from chatapp.errors import ChatappError, Forbidden, InvalidRequest, Unauthenticated
from chatapp.incoming.signature import HEADER
from chatapp.problems import MEDIA_TYPE
from chatapp.requests import ChatRequest, TextPart
from config.settings import Settings

TICKET = "ticket"
SIGNATURE = "`sha256=` and the HMAC-SHA256 of the body's raw bytes under one of WEBHOOK_SECRETS, in lower-case hex."
_REF = "#/components/schemas/{model}"
_VARIABLE = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_PATTERNS = {"session_id": "^[0-9a-f]{32}$", "action_id": "^a[0-9a-z-]{1,40}$", "job_id": r"^[0-9a-f]{32}\.[1-9][0-9]{0,8}$"}
_ANSWER_HEADERS: dict[Any, tuple[str, ...]] = {
    AcceptedView: ("Location", "Idempotency-Replayed", "RateLimit", "RateLimit-Policy"),
    BegunView: ("Location", "Idempotency-Replayed", "RateLimit", "RateLimit-Policy"),
    StateView: ("ETag",),
    ReceivedView: ("Idempotency-Replayed", "RateLimit", "RateLimit-Policy"),
}
"""Of an answer that says that something was made, by the model of its body."""
VERSION = "0.1.0"
TAGS = ("chat", "jobs", "events", "live", "sessions", "states", "actions", "webhooks", "operating", "health", "pages")
ABOUT = """Post a message, get `202` at once; the answer streams over the WebSocket and is kept in the job.
The socket is described by [/asyncapi.json](/asyncapi.json) (AsyncAPI 3.0) and [/docs/websocket](/docs/websocket).

Errors are problem documents (RFC 9457); `code` is stable. Unknown fields are refused. Times are RFC 3339 UTC."""


def document(app: Flask, settings: Settings) -> dict[str, Any]:
    """Describe every route of the app."""
    described = [(rule, of_endpoint(app, rule.endpoint)) for rule in app.url_map.iter_rules()]
    paths: dict[str, dict[str, Any]] = {}
    for rule, operation in sorted(described, key=lambda d: d[0].rule):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(path_of(rule), {})[method.lower()] = _operation(rule, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "chatapp", "version": VERSION, "description": ABOUT},
        "externalDocs": {"description": "The WebSocket (AsyncAPI: /asyncapi.json)", "url": "/docs/websocket"},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name} for name in TAGS],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "signature": {"type": "apiKey", "in": "header", "name": HEADER, "description": SIGNATURE},
                "ticket": {"type": "apiKey", "in": "query", "name": TICKET, "description": "Once; from `POST /ws/ticket`."},
            },
            "schemas": _schemas([operation for _, operation in described], settings),
        },
    }


def path_of(rule: Rule) -> str:
    """Write a route's path as OpenAPI does."""
    return _VARIABLE.sub(r"{\1}", rule.rule)


def _operation(rule: Rule, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": rule.endpoint.rpartition(".")[2],
        "summary": operation.summary,
        "tags": [rule.endpoint.partition(".")[0]],
        "parameters": list(_parameters(rule, operation)),
        "responses": _responses(operation),
    }
    if operation.body:
        described["requestBody"] = {
            "required": True,
            "content": {media: {"schema": _ref(operation.body)} for media in operation.media},
        }
    if (security := _security(operation)) is not None:
        described["security"] = security
    return described


def _security(operation: Operation) -> list[dict[str, list[str]]] | None:
    """Say who may call, where that is not just anybody with a token."""
    if operation.signed:
        return [{"signature": []}]
    if operation.public:
        return []
    if operation.ticket:
        return [{"bearer": []}, {"ticket": []}]
    return [{"bearer": [operation.scope]}] if operation.scope else None


def _parameters(rule: Rule, operation: Operation) -> Iterator[dict[str, Any]]:
    for name in sorted(rule.arguments):
        schema = {"type": "string"} | ({"pattern": _PATTERNS[name]} if name in _PATTERNS else {})
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    if operation.query:
        for name, schema in operation.query.model_json_schema()["properties"].items():
            if name == TICKET:  # a security scheme, not a parameter
                continue
            yield {"name": name, "in": "query", "description": schema.pop("description", ""), "schema": schema}
    for name in operation.headers:
        yield {"name": name, "in": "header", "schema": {"type": "string", "minLength": 1, "maxLength": 255}}


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, body in operation.answers.items():
        responses[str(status)] = {"description": HTTPStatus(status).phrase}
        if body is not None:
            responses[str(status)]["content"] = _content(body)
        if (status in (201, 202) or body is StateView) and (names := _ANSWER_HEADERS.get(body)):
            responses[str(status)]["headers"] = {name: {"schema": {"type": "string"}} for name in names}
    for status, errors in _by_status(operation).items():
        codes = "; ".join(f"`{error.code}`: {error.title}" for error in errors)
        responses[str(status)] = {"description": codes, "content": {MEDIA_TYPE: {"schema": _ref(Problem)}}}
    responses["default"] = {"description": "Any other error", "content": {MEDIA_TYPE: {"schema": _ref(Problem)}}}
    return responses


def _by_status(operation: Operation) -> dict[int, list[type[ChatappError]]]:
    errors = list(operation.errors)
    if not operation.public:
        errors.append(Unauthenticated)
    if operation.scope:
        errors.append(Forbidden)
    if operation.body or operation.query:
        errors.append(InvalidRequest)
    grouped: dict[int, list[type[ChatappError]]] = {}
    for error in errors:
        grouped.setdefault(error.http_status, []).append(error)
    return grouped


def _content(body: type[BaseModel] | str) -> dict[str, Any]:
    if isinstance(body, str):
        return {body: {}}
    return {"application/json": {"schema": _ref(body)}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _schemas(operations: list[Operation], settings: Settings) -> dict[str, Any]:
    asked = {operation.body for operation in operations if operation.body} | {TextPart}
    given = {body for operation in operations for body in operation.answers.values() if isinstance(body, type)} | {Problem}
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in asked]
    outputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "serialization") for model in given]
    _, schema = models_json_schema(sorted(inputs + outputs, key=lambda m: m[0].__name__), ref_template=_REF)
    schemas: dict[str, Any] = schema["$defs"]
    add_limits(schemas[ChatRequest.__name__]["properties"], settings)
    return schemas


def add_limits(chat: dict[str, Any], settings: Settings) -> None:
    """Say the limits that are settings."""
    chat["message"]["oneOf"][0]["maxLength"] = settings.max_message_chars
    chat["model"] = {
        "type": ["string", "null"],
        "enum": [*settings.models, None],
        "default": None,
        "description": "Default: the first.",
    }
    chat["max_output_tokens"]["description"] += f" At most {settings.max_output_tokens}."
