"""What a gateway sends. Only the fields named here mean anything; every other one is kept with the turn, and never trusted."""

import hashlib
import json
import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from chatapp.model import Part, text_part
from chatapp.requests import OneLine, Text

MAX_KEPT_BYTES = 8_192
"""Of a sender's other fields, as JSON. What does not fit is left out, and counted."""

_PUNCTUATION = re.compile(r"[ .()\u00a0-]")
_E164 = re.compile(r"(?:\+|00)?([1-9][0-9]{6,14})")


def e164(number: str) -> str:
    """Write a phone number in the one form of ITU-T E.164, e.g. `+5511999999999`.

    The usual punctuation and `00` for `+` are understood, and digits alone, as WhatsApp writes them: they must begin with the
    country's code. Raises: ValueError, which does not repeat the number.
    """
    match = _E164.fullmatch(_PUNCTUATION.sub("", number))
    if match is None:
        raise ValueError("is not an international phone number, as +5511999999999")
    return f"+{match[1]}"


Phone = Annotated[
    str,
    Field(max_length=40),
    AfterValidator(e164),
    WithJsonSchema({"type": "string", "maxLength": 40, "description": "International, e.g. `+5511999999999`."}),
]
Name = Annotated[str, Field(max_length=255), OneLine]


class Incoming(BaseModel):
    """A webhook's body, whichever it is."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    kind: ClassVar[str]
    """Part of what is remembered of a message: it must not change with a version."""
    wants_reply: ClassVar[bool]
    """Whether the end of the turn is to be delivered to the phone."""

    phone: Phone = Field(alias="phoneNumber")

    @property
    def id(self) -> str | None:
        """The sender's own name for this one message; it is signed with the body, which a header is not."""
        raise NotImplementedError

    def parts(self) -> tuple[Part, ...]:
        """Give the turn's input: what was said, and the sender's other fields."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Hash what the message says. Two with one id must have the same; what else a sender adds to a repetition may differ."""
        said = self.model_dump(mode="json", include=set(type(self).model_fields), exclude_none=True)
        return hashlib.sha256(json.dumps([self.kind, said], sort_keys=True).encode()).hexdigest()

    def _others(self) -> tuple[Part, ...]:
        """Give the fields that we do not know, as JSON text: readers of an input skip a part of this kind."""
        kept: dict[str, Any] = {}
        room, given = MAX_KEPT_BYTES, self.model_extra or {}
        for name, value in given.items():
            size = _size_as_json({name: value})
            if size is not None and size <= room:
                kept[name], room = value, room - size
        dropped = {"dropped": len(given) - len(kept)} if len(kept) < len(given) else {}
        return ({"kind": "webhook", "fields": json.dumps(kept, ensure_ascii=False), **dropped},) if given else ()


def _size_as_json(value: dict[str, Any]) -> int | None:
    """Say how many bytes a value takes as JSON. Returns: None for what JSON cannot write, such as 1e999."""
    try:
        return len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except ValueError:
        return None


class IngestedMessage(Incoming):
    """A message that somebody wrote to your number."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"message_id": "wamid.1", "phoneNumber": "+5511999999999", "text": "cheguei"}]}
    )
    kind = "ingest"
    wants_reply = True

    message_id: Name = Field(description="The gateway's id of the message: the same one is never answered twice.")
    text: Text

    @property
    def id(self) -> str | None:
        """The gateway's id of the message."""
        return self.message_id

    def parts(self) -> tuple[Part, ...]:
        """Give the text, and the sender's other fields."""
        return (text_part(self.text), *self._others())


class TemplateFired(Incoming):
    """A template message that was sent to somebody by another system: the conversation is to know of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"message_id": "wamid.2", "phoneNumber": "+5511999999999", "template": "shift_starts", "text": "Chegou?"}
            ]
        }
    )
    kind = "template"
    wants_reply = False

    template: Name = Field(description="The template's name.")
    text: Text | None = Field(None, description="What the person has read.")
    message_id: Name | None = Field(None, description="The id of this one sending, not of the template.")
    template_id: Name | None = Field(None, description="The same, where no `message_id` is known.")

    @property
    def id(self) -> str | None:
        """The id of the sending, if the sender told one."""
        return self.message_id or self.template_id

    def parts(self) -> tuple[Part, ...]:
        """Give the template, and the sender's other fields."""
        text = {} if self.text is None else {"text": self.text}
        return ({"kind": "template", "name": self.template, **text}, *self._others())
