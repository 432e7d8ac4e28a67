"""The scripted model's geography: cities that it knows by name, and destinations that it recommends."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatapp.flows.interview.origin import folded

CITIES = {
    folded(name): (name, code)
    for name, code in {
        "São Paulo": "SAO", "Rio de Janeiro": "RIO", "Belo Horizonte": "BHZ", "Brasília": "BSB", "Salvador": "SSA",
        "Recife": "REC", "Fortaleza": "FOR", "Curitiba": "CWB", "Porto Alegre": "POA", "Florianópolis": "FLN", "Manaus": "MAO",
        "Belém": "BEL", "Natal": "NAT", "Goiânia": "GYN", "Vitória": "VIX", "Campinas": "VCP", "Lisboa": "LIS", "Lisbon": "LIS",
        "Porto": "OPO", "Buenos Aires": "BUE", "Santiago": "SCL", "New York": "NYC", "London": "LON", "Paris": "PAR",
        "Madrid": "MAD", "Miami": "MIA", "Toronto": "YTO", "Berlin": "BER",
        "Maceió": "MCZ", "João Pessoa": "JPA", "Aracaju": "AJU",
        "Porto Seguro": "BPS", "São Luís": "SLZ", "Foz do Iguaçu": "IGU", "Cuiabá": "CGB", "Campo Grande": "CGR",
        "Nova York": "NYC", "Nova Iorque": "NYC", "Londres": "LON", "Berlim": "BER", "Madri": "MAD", "Roma": "ROM", "Rome": "ROM",
        "Barcelona": "BCN", "Orlando": "ORL", "Los Angeles": "LAX", "San Francisco": "SFO", "Montevidéu": "MVD", "Lima": "LIM",
    }.items()
} | {
    nickname: (name, code)
    for nickname, name, code in (
        ("RIO", "Rio de Janeiro", "RIO"), ("SAMPA", "São Paulo", "SAO"),
        ("BH", "Belo Horizonte", "BHZ"), ("FLORIPA", "Florianópolis", "FLN"),
    )
}  # fmt: skip
CODES = {code for _, code in CITIES.values()} | {"GRU", "CGH", "GIG", "SDU", "CNF", "JFK", "LHR", "EZE"}


@dataclass(frozen=True)
class Place:
    """A destination: its names, what it is good for (folded beginnings of words), the least budget for one traveller (reais)."""

    pt: str
    en: str
    code: str
    good_for: str
    least: int


PLACES = (
    Place("Florianópolis", "Florianópolis", "FLN", "PRAIA BEACH SURF TRILHA FAMILIA FAMILY FERIAS", 400),
    Place("Foz do Iguaçu", "Foz do Iguaçu", "IGU", "TRILHA HIKING NATUREZA NATURE FOTOGRAF PHOTO AVENTURA CACHOEIRA", 500),
    Place("Salvador", "Salvador", "SSA", "PRAIA BEACH HISTORIA HISTORY GASTRONOMIA FOOD COMIDA MUSICA MUSIC", 500),
    Place(
        "Buenos Aires", "Buenos Aires", "BUE", "MUSEU MUSEUM GASTRONOMIA FOOD NIGHT NOTURNA COMPRAS SHOPPING WORK TRABALHO", 1_200
    ),
    Place("Fernando de Noronha", "Fernando de Noronha", "FEN", "MERGULH DIVING LUA HONEYMOON PRAIA BEACH NATUREZA NATURE", 3_000),
    Place("Bariloche", "Bariloche", "BRC", "NEVE SNOW ESQUI SKI MONTANHA MOUNTAIN TRILHA HIKING", 2_500),
    Place("Lisboa", "Lisbon", "LIS", "MUSEU MUSEUM HISTORIA HISTORY GASTRONOMIA FOOD LEITURA READING", 4_000),
)


def recommend(messages: Any) -> Mapping[str, Any]:
    """Fill in the form `Recommendation`: the place that suits most of what the profile names."""
    profile = json.loads(messages[-1]["content"])
    context = json.loads(messages[0]["content"].partition("Context: ")[2])
    origin = profile["origin"] or {"city": "", "iata": ""}
    wanted = [*(profile["activities"] or ()), profile["purpose"] or "", *(profile["hobbies"] or ())]
    words = {word for text in wanted for word in folded(text).split()}
    people = sum((profile["passengers"] or {"adults": 1}).values())
    not_again = {folded(name) for name in context["not_again"]}

    def suits(place: Place) -> tuple[bool, bool, int]:
        affordable = place.least * people <= (profile["budget"] or 0)
        fits = sum(word.startswith(good) for word in words for good in place.good_for.split())
        return folded(place.pt) not in not_again and folded(place.en) not in not_again, affordable, fits

    elsewhere = [p for p in PLACES if p.code != origin["iata"] and folded(origin["city"]) not in (folded(p.pt), folded(p.en))]
    place = max(elsewhere, key=suits)
    language = context["language"]
    named = ", ".join(wanted[:2])
    reason = {
        "pt": f"Combina com o que você procura ({named}).",
        "en": f"It suits what you are looking for ({named}).",
    }[language]
    return {"destination": getattr(place, language), "iata": place.code, "reason": reason}
