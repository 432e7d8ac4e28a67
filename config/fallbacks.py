"""The providers that stand in for the first one, as LLM_FALLBACKS names them."""

import json
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import NoDecode


class Fallback(BaseModel):
    """A provider that is asked when those before it cannot answer. Without `api_key` it gets none, and never OPENAI_API_KEY."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str
    model: str = Field(min_length=1)
    api_key: SecretStr | None = None

    @field_validator("base_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError("must be an http:// or https:// address, without a user, password or query in it")
        return value

    def __str__(self) -> str:
        return f"{self.model} at {self.base_url}"


def _read(value: object) -> object:
    """Read the JSON list. No error repeats what was given: it may be a key."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(Fallback.model_validate(entry) for entry in json.loads(value))
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in wrong["loc"] if part in Fallback.model_fields) or "an entry"
        raise ValueError(f"{where}: {wrong['msg']}") from None
    except (ValueError, TypeError, RecursionError):
        raise ValueError('must be a JSON list of {"base_url", "model", "api_key"}') from None


Fallbacks = Annotated[tuple[Fallback, ...], NoDecode, BeforeValidator(_read)]
