"""Where to: a destination by the model, and the price of a flight by the flight search."""

import logging
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from chatapp.errors import AnswerMalformed, ExternalUnavailable
from chatapp.flows.interview import prompts
from chatapp.flows.interview.origin import folded
from chatapp.flows.interview.profile import CURRENCY, MAX_PRICE, Iata, Language, Profile, Reason, Word
from chatapp.flows.interview.state import Destination, InterviewState
from chatapp.flows.port import Asked
from chatapp.flows.structured import form_of, structured
from chatapp.model import Finish, Message, ModelRequest, Pending
from chatapp.ports import External

log = logging.getLogger(__name__)

SOONEST = timedelta(days=7)
"""Nobody leaves earlier than that."""


class Recommendation(BaseModel):
    """What the model recommends."""

    destination: Word
    iata: Iata
    reason: Reason


class _Price(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    grand_total: float = Field(ge=0, le=MAX_PRICE, allow_inf_nan=False)
    currency: str = Field(pattern=CURRENCY)


class _Offer(BaseModel):
    price: _Price


class _Offers(BaseModel):
    data: list[_Offer]


def recommend(
    asked: Asked, state: InterviewState, unwanted: tuple[str, ...], language: Language
) -> Generator[Pending, None, tuple[Destination | None, Finish]]:
    """Ask the model for a destination, and the flight search for a price. `unwanted`: destinations not to name again.

    Returns: None for the destination if the model knows only such as were rejected. Raises: AnswerMalformed, ModelError.
    """
    options = replace(asked.turn.options, instructions=prompts.recommend(language, unwanted), **prompts.OPTIONS)
    messages = (Message("user", state.profile_data.model_dump_json()),)
    request = ModelRequest(messages, options, asked.turn.user_id, str(asked.turn.job_id), form_of(Recommendation))
    found, finish = yield from structured(asked.llm, request, Recommendation)
    origin = state.profile_data.origin
    if origin is not None and (found.iata == origin.iata or folded(found.destination) == folded(origin.city)):
        raise AnswerMalformed("The model recommends the city that the journey begins in")
    destination = Destination(name=found.destination, iata=found.iata, reason=found.reason)
    if state.rejects(destination):
        return None, finish
    return _with_price(asked.external, destination, state.profile_data, asked.now), finish


def _with_price(external: External, destination: Destination, profile: Profile, now: int) -> Destination:
    """Add the price of the cheapest offer, if one can be had: a recommendation is worth something without it."""
    if profile.origin is None or profile.origin.iata is None or profile.passengers is None or not profile.months:
        return destination
    leaving = departure(profile.months, datetime.fromtimestamp(now / 1000, UTC).date()).isoformat()
    params: dict[str, Any] = {
        "originLocationCode": profile.origin.iata,
        "destinationLocationCode": destination.iata,
        "departureDate": leaving,
        "adults": profile.passengers.adults,
        "children": profile.passengers.children,
        "currencyCode": "BRL",
        "max": 5,
    }
    try:
        prices = [offer.price for offer in _Offers.model_validate(external.cached_get("flights", params)).data]
    except ExternalUnavailable as error:
        log.warning("the flight search is away, the recommendation goes out without a price: %s", error.code)
        return destination
    except ValidationError as error:
        log.warning("the flight search answered with something else, %d errors", error.error_count())
        return destination
    if not prices:
        return destination
    cheapest = min(prices, key=lambda price: price.grand_total)
    update = {"price": cheapest.grand_total, "currency": cheapest.currency, "departure_date": leaving}
    if profile.budget is not None and cheapest.currency == "BRL":
        update["over_budget"] = cheapest.grand_total > profile.budget
    return destination.model_copy(update=update)


def departure(months: list[int], today: date) -> date:
    """Choose the day that flights are searched for: the middle of the first of the months, or what is left of that month."""
    soonest = today + SOONEST
    firsts = [date(year, month, 1) for year in (today.year, today.year + 1) for month in months]
    days = [(first, max(first.replace(day=15), soonest)) for first in firsts]
    return min(day for first, day in days if day.replace(day=1) == first)
