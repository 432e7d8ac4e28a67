"""Which city a traveller means: looked up by the airport API, for an IATA code that flights can be searched with."""

import logging
import re
import unicodedata
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from chatapp.errors import ExternalRefused, ExternalUnavailable
from chatapp.flows.interview.profile import IATA, Answers, Origin, clean
from chatapp.flows.interview.state import MAX_CHOICES, InterviewState
from chatapp.ports import External

log = logging.getLogger(__name__)

_SMALL_WORDS = re.compile(r" (?:De|Do|Da|Dos|Das|Del)(?= )")


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no such city."""

    city: str


@dataclass(frozen=True, slots=True)
class Several:
    """More than one city may be meant."""

    choices: tuple[Origin, ...]


Found: TypeAlias = Origin | Several | Unknown | None
"""None: the message names no city."""


class _Foreign(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")


class _Address(_Foreign):
    city_name: str
    country_code: str = ""


class _Location(_Foreign):
    iata_code: str
    sub_type: str = ""
    address: _Address


class _Locations(_Foreign):
    data: list[_Location]


def find(external: External, answers: Answers, state: InterviewState) -> Found:
    """Find the city that a message names: among those the user was to choose from, else by the airport API.

    When that cannot be asked, the interview goes on with what the user said, and the model's code if it is one.
    """
    city, code = clean(answers.origin_city or ""), (answers.origin_iata or "").strip().upper()
    code = code if IATA.fullmatch(code) else ""
    if not city and not code:
        return None
    for choice in state.origin_choices:
        if code == choice.iata or (not code and folded(city) in (folded(choice.city), folded(label(choice)))):
            return choice
    try:
        found = _look_up(external, city or code) or (_look_up(external, code) if city and code else [])
    except ExternalRefused:
        return Unknown(city or code)  # no name that can be looked for
    except ExternalUnavailable as error:
        log.warning("the airport look-up is away, the interview goes on with what the user said: %s", error.code)
        return _unchecked(city, code)
    except ValidationError as error:
        log.warning("the airport look-up answered with something else, %d errors", error.error_count())
        return _unchecked(city, code)
    return _choose(found, city, code)


def _look_up(external: External, keyword: str) -> list[_Location]:
    return _Locations.model_validate(external.cached_get("airports", {"keyword": folded(keyword)})).data


def label(origin: Origin) -> str:
    """Write a city as it is offered."""
    return f"{origin.city} ({origin.iata})" if origin.iata else origin.city


def folded(text: str) -> str:
    """Write a name as airport tables do: capitals without accents."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).upper()


def _unchecked(city: str, code: str) -> Origin:
    return Origin(city=city or code, iata=code or None)


def _choose(found: list[_Location], city: str, code: str) -> Found:
    by_city: dict[tuple[str, str], list[_Location]] = {}
    for place in found:
        if IATA.fullmatch(place.iata_code) and clean(place.address.city_name):
            by_city.setdefault((folded(place.address.city_name), place.address.country_code), []).append(place)
            if place.iata_code == code:
                return Origin(city=city or _name(place, city), iata=code)
    exact = {key: places for key, places in by_city.items() if key[0] == folded(city)}
    begins = {key: places for key, places in by_city.items() if key[0].startswith(folded(city))}  # else an airport's name does
    candidates = list((exact or begins or by_city).values())[:MAX_CHOICES]
    if not candidates:
        return Unknown(city or code)
    origins = [_of_city(places, city, country=len(exact) > 1) for places in candidates]
    return origins[0] if len(origins) == 1 else Several(tuple(origins))


def _of_city(places: list[_Location], city: str, *, country: bool) -> Origin:
    """Take the code of the city itself, which stands for all its airports, else that of its first airport."""
    place = next((p for p in places if p.sub_type.upper() == "CITY"), places[0])
    name = _name(place, city)
    return Origin(city=f"{name}, {clean(place.address.country_code)}" if country else name, iata=place.iata_code)


def _name(place: _Location, city: str) -> str:
    """Write the name as the user did, if that is the name: tables have no accents."""
    name = clean(place.address.city_name)
    return city if folded(city) == folded(name) else _SMALL_WORDS.sub(lambda word: word[0].lower(), name.title())
