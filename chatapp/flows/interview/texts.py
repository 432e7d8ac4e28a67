"""What the interview says beside its questions, in both languages. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from chatapp.flows.interview.origin import label
from chatapp.flows.interview.profile import Key, Language, Passengers, Profile
from chatapp.flows.interview.state import KEYS, Destination, InterviewState

Texts = Mapping[Language, str]

MONTHS: Mapping[Language, tuple[str, ...]] = {
    "pt": tuple("janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro".split()),
    "en": tuple("January February March April May June July August September October November December".split()),
}

ANY_MONTH: Texts = {"pt": "qualquer mês", "en": "any month"}
WELCOME: Texts = {
    "pt": "Olá! Vou fazer algumas perguntas para encontrar o seu destino ideal. Você pode responder várias de uma vez.",
    "en": "Hello! I will ask a few questions to find the right destination for you. You may answer several at once.",
}
NOTED: Texts = {"pt": "Anotado: {answers}.", "en": "Noted: {answers}."}
AGAIN: Texts = {"pt": "Não encontrei uma resposta nessa mensagem.", "en": "I found no answer in that message."}
NO_ANSWERS: Texts = {
    "pt": "Por aqui só consigo planejar a sua viagem, então vou seguir com a entrevista.",
    "en": "All I can do here is plan your journey, so let me go on with the interview.",
}
IN_REAIS: Texts = {
    "pt": "Conto o orçamento em reais e não converti {currency}. Diga o valor em R$.",
    "en": "I count the budget in reais and did not convert {currency}. Please tell the amount in R$.",
}
UNKNOWN_CITY: Texts = {
    "pt": "Não encontrei um aeroporto em {city}. Tente uma cidade maior por perto.",
    "en": "I found no airport in {city}. Please try a larger city nearby.",
}
WHICH_CITY: Texts = {"pt": "Qual delas você quer dizer: {choices}?", "en": "Which one do you mean: {choices}?"}
RECOMMENDED: Texts = {"pt": "Minha recomendação é {name} ({iata}). {reason}", "en": "I recommend {name} ({iata}). {reason}"}
STILL: Texts = {"pt": "A minha recomendação continua: {name} ({iata}).", "en": "My recommendation stands: {name} ({iata})."}
PRICE: Texts = {
    "pt": "Encontrei voos a partir de {price} para todos, em {date}.",
    "en": "I found flights from {price} for all of you, on {date}.",
}
OVER_BUDGET: Texts = {"pt": "Isso passa do seu orçamento.", "en": "That is over your budget."}
NO_PRICE: Texts = {
    "pt": "Não consegui consultar o preço dos voos agora.",
    "en": "I could not look up the price of flights just now.",
}
NO_OTHER: Texts = {
    "pt": "Não encontrei outro destino que combine com essas respostas.",
    "en": "I found no other destination for these answers.",
}
AND_NOW: Texts = {
    "pt": "Se quiser, mude alguma resposta ou peça outro destino.",
    "en": "If you like, change an answer or ask for another destination.",
}
SUMMARY: Texts = {
    "pt": "Entrevista: {answered} de {available} respostas",
    "en": "Interview: {answered} of {available} answers",
}


def noted(before: Profile, after: Profile, language: Language) -> str:
    """Repeat the answers that are new or changed; empty when there are none."""
    return repeated([key for key in KEYS if getattr(before, key) != getattr(after, key)], after, language)


def repeated(keys: Iterable[Key], profile: Profile, language: Language) -> str:
    """Repeat these answers; empty when there are none."""
    answers = [shown(key, profile, language) for key in keys]
    return NOTED[language].format(answers="; ".join(answers)) if answers else ""


def shown(key: Key, profile: Profile, language: Language) -> str:
    """Show one answer."""
    value = getattr(profile, key)
    match key:
        case "origin":
            return f"saindo de {label(value)}" if language == "pt" else f"leaving from {label(value)}"
        case "budget":
            return money(value, "BRL", language)
        case "passengers":
            return travellers(value, language)
        case "months":
            return ANY_MONTH[language] if len(value) == 12 else ", ".join(MONTHS[language][month - 1] for month in value)
        case "purpose":
            return str(value)
        case "activities" | "hobbies":
            return ", ".join(value)


def money(amount: float, currency: str, language: Language) -> str:
    """Write an amount as the language does, e.g. `R$ 1.234,50`."""
    sign = "R$" if currency == "BRL" else currency
    number = f"{amount:,.2f}".removesuffix(".00")
    return f"{sign} {number.translate(str.maketrans(',.', '.,')) if language == 'pt' else number}"


def travellers(who: Passengers, language: Language) -> str:
    """Count adults and children, e.g. `2 adultos e 1 criança`."""
    words: tuple[tuple[str, str], tuple[str, str]] = (
        (("adulto", "adultos"), ("criança", "crianças")) if language == "pt" else (("adult", "adults"), ("child", "children"))
    )
    counted = [f"{n} {word[n != 1]}" for n, word in ((who.adults, words[0]), (who.children, words[1])) if n]
    return (" e " if language == "pt" else " and ").join(counted)


def priced(found: Destination, language: Language) -> str:
    """Say what the flight costs, and whether that is too much; or that nobody knows."""
    if found.price is None or found.currency is None or found.departure_date is None:
        return NO_PRICE[language]
    year, month, day = found.departure_date.split("-")
    date = f"{day}/{month}/{year}" if language == "pt" else found.departure_date
    said = PRICE[language].format(price=money(found.price, found.currency, language), date=date)
    return f"{said} {OVER_BUDGET[language]}" if found.over_budget else said


def summary(state: InterviewState, language: Language) -> str:
    """Say in a line how far the interview is: what lists of sessions show."""
    found, profile = state.recommended_destination, state.profile_data
    if found is not None and profile.origin is not None:
        return f"{label(profile.origin)} → {found.name} ({found.iata})"
    told: dict[str, Any] = {"answered": len(state.answered), "available": len(KEYS)}
    return SUMMARY[language].format(**told)
