"""Structured answers: a model is asked for JSON that fits a pydantic model."""

from collections.abc import Generator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from chatapp.errors import AnswerMalformed
from chatapp.model import AnswerForm, Finish, FinishReason, ModelRequest, Pending, TextDelta
from chatapp.ports import LLM

M = TypeVar("M", bound=BaseModel)

MAX_CHARS = 64 * 1024


def form_of(model: type[BaseModel]) -> AnswerForm:
    """Make the form of a model's structured answer, under the model's name.

    Providers ask for a strict schema: every field required, no others allowed (OpenAI, "Structured model outputs"). A field that
    may be missing is declared as `X | None`.
    """
    return AnswerForm(model.__name__, _strict(model.model_json_schema()))


def structured(llm: LLM, request: ModelRequest, model: type[M]) -> Generator[Pending, None, tuple[M, Finish]]:
    """Ask for an answer that fits `model`; `request.answer` is `form_of(model)`. Used with `yield from`.

    Yields: Pending for every sign of life. Returns: the answer, and the finish with its usage. Raises: AnswerMalformed,
    ModelError.
    """
    text, finish = "", None
    for piece in llm.stream(request):
        if isinstance(piece, TextDelta):
            text += piece.text
            if len(text) > MAX_CHARS:
                raise AnswerMalformed("The model's structured answer is too long")
        elif isinstance(piece, Finish):
            finish = piece
        yield Pending()
    if finish is None or finish.reason is not FinishReason.STOP:
        raise AnswerMalformed("The model's structured answer is not whole")
    try:
        return model.model_validate_json(text), finish
    except ValidationError as error:
        raise AnswerMalformed("The model's structured answer does not fit its schema") from error


def _strict(schema: Any) -> Any:
    """Require every field and allow no other, at every depth. Defaults are left out: strict schemas know none."""
    if isinstance(schema, list):
        return [_strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {
        name: _strict(value) for name, value in schema.items() if name not in ("default", "title") or isinstance(value, dict)
    }
    if schema.get("type") == "object" and "properties" in schema:
        strict |= {"required": list(schema["properties"]), "additionalProperties": False}
    return strict
