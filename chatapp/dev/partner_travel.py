"""The scripted travel API, in the shapes of Amadeus' self-service APIs. Pure: parameters in, (status, JSON) out.

The shapes follow https://developers.amadeus.com: Authorization, Airport & City Search v1, Flight Offers Search v2.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from chatapp.dev.partner_places import BY_CODE, CITIES, City, folded, kilometres

CLIENT_ID = "scripted"
CLIENT_SECRET = "scripted"  # noqa: S105  the twin's own, of no worth
TOKEN_SECONDS = 1_799

CARRIERS = {"LA": "LATAM AIRLINES", "G3": "GOL LINHAS AEREAS", "AD": "AZUL LINHAS AEREAS", "TP": "TAP PORTUGAL", "AA": "AMERICAN"}
_REAIS = {"BRL": 1.0, "USD": 0.18, "EUR": 0.17}
OFFERS = 5
_CRUISE_KM_PER_HOUR = 800

Answered = tuple[int, dict[str, Any]]


class Tokens:
    """The access tokens that were given out."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def grant(self, form: Mapping[str, str]) -> Answered:
        """Answer the OAuth2 request of a client."""
        if form.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type", "code": 38186, "title": "Invalid parameters"}
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            description = "Client credentials are invalid"
            return 401, {
                "error": "invalid_client",
                "error_description": description,
                "code": 38187,
                "title": "Invalid parameters",
            }
        token = secrets.token_urlsafe(16)
        self._until[token] = time.monotonic() + TOKEN_SECONDS
        told = {"type": "amadeusOAuth2Token", "client_id": CLIENT_ID, "token_type": "Bearer", "state": "approved", "scope": ""}
        return 200, {**told, "access_token": token, "expires_in": TOKEN_SECONDS}

    def revoke(self) -> None:
        """Forget all of them."""
        self._until.clear()

    def known(self, authorization: str) -> bool:
        """Say whether a request's Authorization header holds a token that is valid."""
        return self._until.get(authorization.removeprefix("Bearer "), 0) > time.monotonic()


def unauthorized() -> Answered:
    """Refuse a token."""
    return _error(401, 38190, "Invalid access token", "The access token provided in the Authorization header is invalid")


def locations(params: Mapping[str, str]) -> Answered:
    """Find cities and airports whose name or code begins with the keyword."""
    keyword, kinds = folded(params.get("keyword", "")), set(params.get("subType", "").split(","))
    if not keyword or not kinds <= {"CITY", "AIRPORT"}:
        return _error(400, 32171, "MANDATORY DATA MISSING", "keyword and subType (CITY, AIRPORT) are needed")
    if not keyword.isascii():
        return _error(400, 477, "INVALID FORMAT", "invalid characters in keyword", "keyword")
    found = []
    for city in CITIES:
        near = city.name.upper().startswith(keyword) or city.code == keyword
        if "CITY" in kinds and near:
            found.append(_location("CITY", city, city.code, city.name))
        if "AIRPORT" in kinds:
            found += [
                _location("AIRPORT", city, code, name)
                for code, name in city.airports.items()
                if near or code == keyword or name.upper().startswith(keyword)
            ]
    return 200, {"meta": {"count": len(found)}, "data": found}


@dataclass(frozen=True)
class _Trip:
    origin: City
    destination: City
    day: date
    adults: int
    children: int
    currency: str


class _Refused(Exception):
    """The question makes no sense: the parameter that is wrong."""


def offers(params: Mapping[str, str], today: date | None = None) -> Answered:
    """Offer flights; the same question always has the same offers."""
    try:
        trip, most = _trip(params)
    except _Refused as refused:
        return _error(400, 477, "INVALID FORMAT", "invalid query parameter format", str(refused))
    if trip.day < (today or datetime.now(UTC).date()):
        return _error(400, 425, "INVALID DATE", "Date/Time is in the past", "departureDate")
    made = [_offer(n, trip) for n in range(1, min(most, OFFERS) + 1)]
    carriers = sorted({offer["validatingAirlineCodes"][0] for offer in made})
    return 200, {"meta": {"count": len(made)}, "data": made, "dictionaries": {"carriers": {c: CARRIERS[c] for c in carriers}}}


def _trip(params: Mapping[str, str]) -> tuple[_Trip, int]:
    def number(name: str, unset: str, least: int, most: int) -> int:
        text = params.get(name, unset)
        if not text.isdecimal() or not least <= int(text) <= most:
            raise _Refused(name)
        return int(text)

    def city(name: str) -> City:
        if (found := BY_CODE.get(params.get(name, ""))) is None:
            raise _Refused(name)
        return found

    adults, children = number("adults", "", 1, 9), number("children", "0", 0, 8)
    origin, destination = city("originLocationCode"), city("destinationLocationCode")
    currency = params.get("currencyCode", "EUR")
    if origin is destination:
        raise _Refused("destinationLocationCode")
    if adults + children > 9:
        raise _Refused("children")
    if currency not in _REAIS:
        raise _Refused("currencyCode")
    try:
        day = date.fromisoformat(params.get("departureDate", ""))
    except ValueError as error:
        raise _Refused("departureDate") from error
    return _Trip(origin, destination, day, adults, children, currency), number("max", "250", 1, 250)


def _offer(number: int, trip: _Trip) -> dict[str, Any]:
    origin, destination, day = trip.origin, trip.destination, trip.day
    way = kilometres(origin, destination)
    draw = _draw(origin.code, destination.code, day.isoformat(), str(number))
    start = datetime(day.year, day.month, day.day, 6 + 3 * (number - 1), draw % 12 * 5, tzinfo=UTC)
    flown = timedelta(minutes=round((way / _CRUISE_KM_PER_HOUR + 0.7) * 60))
    adult = (180 + 0.42 * way) * (0.85 + 0.1 * number + draw % 100 / 400) * _REAIS[trip.currency]
    fares = [("ADULT", adult)] * trip.adults + [("CHILD", adult * 0.75)] * trip.children
    carrier = sorted(CARRIERS)[draw % len(CARRIERS)]
    segment = {
        "id": str(number),
        "departure": {"iataCode": next(iter(origin.airports)), "at": start.strftime("%Y-%m-%dT%H:%M:%S")},
        "arrival": {"iataCode": next(iter(destination.airports)), "at": (start + flown).strftime("%Y-%m-%dT%H:%M:%S")},
        "carrierCode": carrier,
        "number": str(1000 + draw % 9000),
        "duration": _duration(flown),
        "numberOfStops": 0,
    }
    return {
        "type": "flight-offer",
        "id": str(number),
        "source": "GDS",
        "oneWay": True,
        "numberOfBookableSeats": 9,
        "itineraries": [{"duration": _duration(flown), "segments": [segment]}],
        "price": _price(sum(fare for _, fare in fares), trip.currency),
        "validatingAirlineCodes": [carrier],
        "travelerPricings": [
            {"travelerId": str(n), "fareOption": "STANDARD", "travelerType": kind, "price": _price(fare, trip.currency)}
            for n, (kind, fare) in enumerate(fares, 1)
        ],
    }


def _location(kind: str, city: City, code: str, name: str) -> dict[str, Any]:
    return {
        "type": "location",
        "subType": kind,
        "name": name.upper(),
        "detailedName": f"{city.name}/{city.country_code}{f': {name}' if kind == 'AIRPORT' else ''}".upper(),
        "id": f"{kind[0]}{code}",
        "timeZoneOffset": city.offset,
        "iataCode": code,
        "geoCode": {"latitude": city.latitude, "longitude": city.longitude},
        "address": {
            "cityName": city.name.upper(),
            "cityCode": city.code,
            "countryName": city.country.upper(),
            "countryCode": city.country_code,
        },
    }


def _price(amount: float, currency: str) -> dict[str, str]:
    total = f"{amount:.2f}"
    return {"currency": currency, "total": total, "base": f"{amount * 0.88:.2f}", "grandTotal": total}


def _duration(time_flown: timedelta) -> str:
    hours, minutes = divmod(round(time_flown.total_seconds() / 60), 60)
    return f"PT{hours}H{minutes}M"


def _draw(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("|".join(words).encode()).digest()[:4])


def _error(status: int, code: int, title: str, detail: str, parameter: str | None = None) -> Answered:
    error: dict[str, Any] = {"status": status, "code": code, "title": title, "detail": detail}
    return status, {"errors": [error | ({"source": {"parameter": parameter}} if parameter else {})]}
