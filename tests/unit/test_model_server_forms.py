"""What the scripted model answers when it is asked for JSON."""

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from chatapp.dev import forms
from chatapp.dev.completion import BadRequest, prepare
from chatapp.flows.structured import form_of


class Place(BaseModel):
    """A part of a form."""

    name: Annotated[str, Field(min_length=2)]
    kind: Literal["city", "airport"]


class Trip(BaseModel):
    """A form that no function is registered for."""

    to: Place
    stops: Annotated[list[Place], Field(min_length=1)]
    days: Annotated[int, Field(ge=3)]
    price: float | None
    note: str
    sure: bool


def said(text: str, model: type[BaseModel] = Trip) -> str:
    """The answer to a structured request."""
    form = form_of(model)
    asked = {"type": "json_schema", "json_schema": {"name": form.name, "schema": form.schema, "strict": True}}
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": text}]
    return "".join(prepare({"model": "m", "messages": messages, "response_format": asked}).pieces)


def test_an_unknown_form_is_filled_with_as_little_as_fits() -> None:
    """Whatever model a flow asks for, what comes back fits it."""
    place = {"name": "xx", "kind": "city"}
    expected = {"to": place, "stops": [place], "days": 3, "price": None, "note": "", "sure": False}
    assert json.loads(said("hello [[echo=not this]] [[tokens=3]]")) == expected
    assert Trip.model_validate_json(said("hello")).days == 3


@pytest.mark.parametrize("exact", ['{"to": {"x": [1, 2], "y": 1}}', '{"a": [1]}', "[1, 2]", "garbage", '{"cut": '])
def test_a_directive_gives_the_exact_answer(exact: str) -> None:
    """`[[json=...]]` comes back letter by letter, whether it is JSON or not."""
    assert said(f"before [[json={exact}]] after") == exact


def test_a_registered_form_sees_the_conversation_without_directives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function gets every message; the directives of the last one are not a part of it."""
    seen: list[Any] = []

    def fill(messages: forms.Messages) -> dict[str, int]:
        seen.extend(messages)
        return {"days": 4}

    monkeypatch.setitem(forms.FORMS, "Trip", fill)
    assert said("four days [[delay=0]] please") == '{"days": 4}'
    assert seen == [{"role": "system", "content": "s"}, {"role": "user", "content": "four days  please"}]


def test_text_is_not_json() -> None:
    """Without a form the directive says nothing."""
    completion = prepare({"model": "m", "messages": [{"role": "user", "content": '[[json={"a": 1}]] hello'}]})
    assert "".join(completion.pieces).startswith("Hello!")


@pytest.mark.parametrize(
    "told", [{"type": "json_object"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "x"}}, "json", 1]
)
def test_a_form_that_is_none_is_refused(told: object) -> None:
    """Only named schemas are answered: anything else is a mistake in the request."""
    with pytest.raises(BadRequest, match="json_schema"):
        prepare({"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": told})
