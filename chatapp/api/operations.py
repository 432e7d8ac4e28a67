"""The description that stands next to each view: who may call it, what it takes, what it answers.

The edge reads it to know whether a caller must be authenticated; OpenAPI is made from it. A view without one does not start.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask
from pydantic import BaseModel

from chatapp.errors import ChatappError

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One view. `answers` maps a status to the model of its body, or to a media type, or to None for no body.

    `signed`: a public one whose callers sign the body instead (chatapp/incoming/signature.py). `media`: the types that the body
    may be sent as. `ticket`: a one-time ticket in the query (`POST /ws/ticket`) is as good as a token. `scope`: what the token
    must carry.
    """

    summary: str
    answers: Mapping[int, type[BaseModel] | str | None]
    body: type[BaseModel] | None = None
    media: tuple[str, ...] = ("application/json",)
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    errors: tuple[type[ChatappError], ...] = ()
    public: bool = False
    signed: bool = False
    ticket: bool = False
    scope: str | None = None


def operation(**described: Any) -> Callable[[View], View]:
    """Describe the view that follows; the first line of its docstring is the summary."""

    def describe(view: View) -> View:
        text = (view.__doc__ or "").strip()
        view.operation = Operation(summary=text.split("\n")[0].rstrip("."), **described)  # type: ignore[attr-defined]
        return view

    return describe


def of_endpoint(app: Flask, endpoint: str) -> Operation:
    """Give the description of an endpoint's view.

    Raises: LookupError when it has none.
    """
    found = getattr(app.view_functions[endpoint], "operation", None)
    if not isinstance(found, Operation):
        raise LookupError(f"the view {endpoint!r} has no @operation: say at least who may call it")  # noqa: TRY004
    return found


def check(app: Flask) -> None:
    """Refuse an app in which some view has no description. Raises: LookupError."""
    for rule in app.url_map.iter_rules():
        of_endpoint(app, rule.endpoint)
