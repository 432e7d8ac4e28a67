"""A model becomes an answer."""

from collections.abc import Mapping

from flask import Response
from pydantic import BaseModel


def reply(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None, *, nulls: bool = False) -> Response:
    """Answer with a model as JSON. Fields that say nothing (None) are left out, unless `nulls`."""
    return Response(body.model_dump_json(exclude_none=not nulls), status, headers, mimetype="application/json")
