"""Airports and flights from Amadeus' self-service APIs, or from anything of their shape.

https://developers.amadeus.com: Airport & City Search v1, Flight Offers Search v2. What a user says goes into query parameters
only, and an endpoint takes only the parameters that are listed here.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

from chatapp.errors import ExternalRefused, ExternalUnavailable
from chatapp.ports import Clock
from chatapp.travel.token import AccessToken
from chatapp.travel.transport import JsonApi, TokenRefused

TOKEN = "/v1/security/oauth2/token"  # noqa: S105  a path
LOCATIONS = "/v1/reference-data/locations"
OFFERS = "/v2/shopping/flight-offers"

CALL_SECONDS = 7.0
MAX_CHARS = 100
"""Of a parameter's value. No city's name is longer."""

_AIRPORTS = {"keyword"}
_FLIGHTS = {
    "originLocationCode",
    "destinationLocationCode",
    "departureDate",
    "returnDate",
    "adults",
    "children",
    "max",
    "currencyCode",
    "nonStop",
}


class Amadeus:
    """The endpoints `airports` and `flights` of the port `External`. Each returns the API's JSON, its results in `data`."""

    def __init__(self, base_url: str, *, client_id: str, client_secret: str, clock: Clock) -> None:
        self._api = JsonApi(base_url, name="The travel API", seconds=CALL_SECONDS)
        self._form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        self._token = AccessToken(lambda: self._api.post(TOKEN, self._form), clock, wait_seconds=CALL_SECONDS + 1)

    def airports(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Find cities and airports whose name or code begins with `keyword`. Accents do not matter: Amadeus knows none.

        Raises: ExternalRefused, ExternalUnavailable.
        """
        query = _query(params, _AIRPORTS)
        keyword = _without_accents(query.get("keyword", ""))
        if not keyword:
            raise ExternalRefused("There is nothing to look for")
        return self._get(LOCATIONS, {"subType": "CITY,AIRPORT", "keyword": keyword})

    def flights(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Find flight offers, by the parameters of Amadeus' own names. Raises: ExternalRefused, ExternalUnavailable."""
        return self._get(OFFERS, _query(params, _FLIGHTS))

    def close(self) -> None:
        """Close its connections."""
        self._api.close()

    def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        token = self._token.get()
        try:
            answer = self._api.get(path, query, token)
        except TokenRefused:
            self._token.refused(token)
            answer = self._api.get(path, query, self._token.get())
        if not isinstance(answer.get("data"), list):
            raise ExternalUnavailable("The travel API answered without `data`")
        return answer


def _query(params: Mapping[str, Any], known: set[str]) -> dict[str, str]:
    """Write parameters as Amadeus reads them. Raises: ExternalRefused."""
    query = {name: _written(value) for name, value in params.items() if value is not None}
    if wrong := [name for name, text in query.items() if name not in known or len(text) > MAX_CHARS]:
        raise ExternalRefused(f"The travel API takes no such parameter: {', '.join(sorted(wrong))}")
    return query


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
