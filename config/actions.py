"""Where confirmed actions are carried out, as ACTION_URLS names it."""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator
from pydantic_settings import NoDecode


class ActionTarget(BaseModel):
    """The URL that carries out an action; `status_url`, where it has one, tells later what became of a call."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    status_url: str | None = None

    @field_validator("url", "status_url")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("must be an http:// or https:// address, without a user or password in it")
        return value

    def __str__(self) -> str:
        return self.url


def _read(value: object) -> object:
    """Read the JSON object. A plain text stands for a target without a `status_url`."""
    try:
        given: Any = json.loads(value) if isinstance(value, str) else value
        return {str(name): _target(target) for name, target in given.items()}
    except ValidationError as error:
        raise ValueError(error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")) from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ValueError('must be a JSON object of {"action": "https://…"} or {"action": {"url", "status_url"}}') from None


def _target(given: object) -> ActionTarget:
    if isinstance(given, ActionTarget):
        return given
    return ActionTarget.model_validate({"url": given} if isinstance(given, str) else given)


ActionTargets = Annotated[Mapping[str, ActionTarget], NoDecode, BeforeValidator(_read)]

OF_AWS = frozenset({"LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"})
"""What AWS sets for its own functions: no actions of ours."""


def from_lambdas(given: Mapping[str, str | None]) -> tuple[dict[str, ActionTarget], list[str]]:
    """Read the targets named by variables of the form LAMBDA_<ACTION>=<url>: LAMBDA_CLINICAL_NOTE is the action `clinical_note`.

    Returns: the targets by action, and a line for each variable that is wrong.
    """
    targets, problems = {}, []
    for variable, value in given.items():
        action = variable.upper().removeprefix("LAMBDA_").lower()
        if not value or not action or variable.upper() in OF_AWS or not variable.upper().startswith("LAMBDA_"):
            continue
        try:
            targets[action] = ActionTarget(url=value)
        except ValidationError as error:
            message = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
            problems.append(f"{variable.upper()}: {message}")
    return targets, problems
