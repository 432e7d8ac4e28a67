"""The profile that the interview fills in, and what a model says it read in a message."""

import hashlib
import re
import unicodedata
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Language: TypeAlias = Literal["pt", "en"]
Key: TypeAlias = Literal["origin", "budget", "passengers", "months", "activities", "purpose", "hobbies"]

MAX_TEXT_CHARS = 80
MAX_ENTRIES = 10
MAX_TRAVELLERS = 9
"""Most that one flight search takes (Amadeus, Flight Offers Search)."""
MAX_BUDGET = 10_000_000
MAX_PRICE = 1e9
MAX_REASON_CHARS = 600
MAX_REPLY_CHARS = 400
CURRENCY = r"^[A-Z]{3}$"
IATA = re.compile(r"[A-Z]{3}")


def clean(text: str, most: int = MAX_TEXT_CHARS) -> str:
    """Bring a text of the user's or the model's into one line of printable characters, and cut it."""
    printable = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    return " ".join(printable.split())[:most].rstrip()


def _word(text: str) -> str:
    if not (cleaned := clean(text)):
        raise ValueError("must not be blank")
    return cleaned


def _entries(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(word for text in texts if (word := clean(text))))[:MAX_ENTRIES]


def _iata(code: str) -> str:
    if not IATA.fullmatch(code := code.strip().upper()):
        raise ValueError("must be an IATA code: three letters")
    return code


def _reason(text: str) -> str:
    return clean(text, MAX_REASON_CHARS)


def _in_order(months: list[int]) -> list[int]:
    return sorted(set(months))


# Checked by functions and not by the schema: what models call a strict schema knows no lengths.
Words: TypeAlias = Annotated[list[str], AfterValidator(_entries), Field(min_length=1)]
Word: TypeAlias = Annotated[str, AfterValidator(_word)]
Iata: TypeAlias = Annotated[str, AfterValidator(_iata)]
Reason: TypeAlias = Annotated[str, AfterValidator(_reason)]


class Checked(BaseModel):
    """A value that is right or refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Origin(Checked):
    """Where the journey begins. `iata`: of the city or of one of its airports; None where nobody could tell."""

    city: Word
    iata: Iata | None = None


class Passengers(Checked):
    """Who travels."""

    adults: int = Field(ge=1, le=MAX_TRAVELLERS)
    children: int = Field(0, ge=0, le=MAX_TRAVELLERS)

    @model_validator(mode="after")
    def _few_enough(self) -> Self:
        if self.adults + self.children > MAX_TRAVELLERS:
            raise ValueError(f"must be at most {MAX_TRAVELLERS} together")
        return self


class Profile(Checked):
    """What is known of the traveller; None: not yet. `budget` in reais for the whole journey, `months` from 1 to 12."""

    origin: Origin | None = None
    budget: int | None = Field(None, gt=0, le=MAX_BUDGET)
    passengers: Passengers | None = None
    months: Annotated[list[Annotated[int, Field(ge=1, le=12)]], Field(min_length=1), AfterValidator(_in_order)] | None = None
    activities: Words | None = None
    purpose: Word | None = None
    hobbies: Words | None = None

    @property
    def fingerprint(self) -> str:
        """What tells this profile from others."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def with_answers(self, answers: dict[Key, Any]) -> Self:
        """Make the profile with these answers, and the rest as it is. Raises: ValidationError."""
        return self.model_validate({**self.model_dump(), **answers})


class Answers(BaseModel):
    """What one message says, as the model read it; None: the message does not say it. It may say what cannot be."""

    origin_city: str | None = None
    origin_iata: str | None = None
    budget: float | None = None
    budget_currency: str | None = None
    adults: int | None = None
    children: int | None = None
    months: list[int] | None = None
    activities: list[str] | None = None
    purpose: str | None = None
    hobbies: list[str] | None = None
    asks_question: bool = False
    reply: str | None = None
    wants_another: bool = False
    language: Language | None = None
