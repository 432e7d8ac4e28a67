"""What the scripted model answers when it is asked for JSON: one function for each form, by the form's name. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from chatapp.dev import intents, interview_forms, interview_places

Messages: TypeAlias = Sequence[Mapping[str, str]]
"""The request's messages, `{"role", "content"}`; the last one of the user's is without its directives."""

Form: TypeAlias = Callable[[Messages], Mapping[str, Any]]

FORMS: dict[str, Form] = {
    "Answers": interview_forms.read,
    "Recommendation": interview_places.recommend,
    "Intent": intents.intent,
}
"""The forms by name, which is that of the pydantic model which the flow asks for."""


def fill(name: str, schema: Mapping[str, Any], messages: Messages) -> str:
    """Answer a structured request as JSON: by the form's own function, else with as little as the schema allows."""
    form = FORMS.get(name)
    return json.dumps(form(messages) if form is not None else minimal(schema), ensure_ascii=False)


def minimal(schema: Mapping[str, Any]) -> Any:
    """Make the least value that a JSON Schema of the strict kind allows: null where it may be, else empty."""
    return _minimal(schema, schema.get("$defs", {}))


def _minimal(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    value: Any = None
    match schema:
        case {"$ref": reference}:
            value = _minimal(known[reference.rpartition("/")[2]], known)
        case {"const": value} | {"enum": [value, *_]}:
            pass
        case {"anyOf": choices}:
            value = None if {"type": "null"} in choices else _minimal(choices[0], known)
        case {"type": "object"}:
            value = {name: _minimal(field, known) for name, field in schema.get("properties", {}).items()}
        case {"type": "array"}:
            value = [_minimal(schema["items"], known)] * schema.get("minItems", 0)
        case {"type": "string"}:
            value = "x" * schema.get("minLength", 0)
        case {"type": "integer" | "number"}:
            value = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        case {"type": "boolean"}:
            value = False
    return value
