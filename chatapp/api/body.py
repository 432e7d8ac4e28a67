"""Raw bytes become a checked model, or a problem that says what is wrong and where.

Flask's own `get_json` takes duplicate keys, NaN, lone surrogates and UTF-16, and answers 500 to deep nesting. The parser here
(jiter, the one inside pydantic) refuses all of them: it reads UTF-8 only, and at most 200 levels.
"""

from typing import Any, TypeVar

import jiter
from flask import Request, request
from gunicorn.http.errors import NoMoreData, ParseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from chatapp.api.context import services
from chatapp.errors import InvalidRequest, Malformed, TooLarge, UnsupportedMedia
from chatapp.requests import MAX_POINTER_CHARS, Nothing, json_pointer

Model = TypeVar("Model", bound=BaseModel)

JSON = "application/json"

MAX_ERRORS = 20
"""Problems listed at most: a body of ten thousand wrong keys is answered shortly."""


def read_body(model: type[Model], *, media: tuple[str, ...] = (JSON,)) -> Model:
    """Read the request's JSON body, sent as one of these media types.

    Raises: UnsupportedMedia, TooLarge (before the body is read, or while), Malformed, InvalidRequest.
    """
    _check_media_type(request, media)
    return _parse(model, read_bytes())


def read_no_body() -> None:
    """Refuse a body that says anything. None at all is fine, and so is `{}`, which some clients cannot help to send.

    Raises: as `read_body`.
    """
    if data := read_bytes():
        _check_media_type(request, (JSON,))
        _parse(Nothing, data)


def parse_body(model: type[Model], data: bytes) -> Model:
    """Read a body whose bytes somebody has looked at before. Raises: as `read_body`."""
    _check_media_type(request, (JSON,))
    return _parse(model, data)


def read_bytes() -> bytes:
    """Read the body as it came. Raises: TooLarge, Malformed."""
    try:
        data = request.get_data(cache=False)
    except (ParseException, NoMoreData) as error:  # gunicorn reads a chunked body while it is asked for it
        raise Malformed("The body's chunks cannot be read") from error
    if len(data) > services().settings.max_body_bytes:
        raise TooLarge
    if request.content_length is not None and len(data) != request.content_length:
        raise Malformed("The body ended before its Content-Length")
    return data


def _parse(model: type[Model], data: bytes) -> Model:
    try:
        value = jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise Malformed(f"The body is not JSON: {str(error)[:MAX_POINTER_CHARS]}") from error
    return _validate(model, value, "pointer", strict=True)


def read_query(model: type[Model]) -> Model:
    """Read the query's parameters. Each may come once.

    Raises: InvalidRequest.
    """
    given = request.args.to_dict(flat=False)
    if doubled := [name for name, values in given.items() if len(values) > 1]:
        raise InvalidRequest(
            errors=[{"parameter": name[:MAX_POINTER_CHARS], "detail": "is given more than once"} for name in doubled]
        )
    return _validate(model, {name: values[0] for name, values in given.items()}, "parameter", strict=False)


def _check_media_type(of: Request, media: tuple[str, ...]) -> None:
    if of.mimetype not in media or of.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMedia(f"Send Content-Type: {' or '.join(media)}, in UTF-8")
    if of.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("Send the body without a Content-Encoding")


def _validate(model: type[Model], value: object, place: str, *, strict: bool) -> Model:
    try:
        return model.model_validate(value, strict=strict, context=services().settings)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidRequest(errors=[_shown(e, place) for e in found[:MAX_ERRORS]]) from error


def _shown(error: ErrorDetails, place: str) -> dict[str, Any]:
    return {
        place: json_pointer(error["loc"]) if place == "pointer" else str(error["loc"][0])[:MAX_POINTER_CHARS],
        "detail": _said(error),
    }


def _said(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return "is not a known field"
    return error["msg"].removeprefix("Value error, ")
