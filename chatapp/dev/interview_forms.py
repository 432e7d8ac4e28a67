"""How the scripted model reads a traveller's message: by rules, for Portuguese and English. Enough for a demonstration."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatapp.dev.interview_places import CITIES, CODES
from chatapp.flows.interview.origin import folded
from chatapp.flows.interview.texts import MONTHS

Form = dict[str, Any]

_NUMBERS = {
    word: number
    for number, words in enumerate(("ZERO", "UM UMA ONE", "DOIS DUAS TWO", "TRES THREE", "QUATRO FOUR", "CINCO FIVE", "SEIS SIX"))
    for word in words.split()
}
_COUNT = rf"(-?\d+|{'|'.join(_NUMBERS)})"
_ADULTS = re.compile(rf"\b{_COUNT} (?:ADULT|PESSOA|PEOPLE|PERSON)|(?:SOMOS|WE ARE|WE'RE|VAMOS EM) {_COUNT}\b")
_CHILDREN = re.compile(rf"\b{_COUNT} (?:CRIANCA|FILH|KID|CHILD)")
_ALONE = re.compile(r"\b(SO EU|SOZINH[OA]|JUST ME|ALONE|MYSELF)\b")
_COUPLE = re.compile(r"\b(CASAL|COUPLE|EU E (?:MINHA|MEU) |ME AND MY )")
_MONEY = re.compile(r"(-)?\s*(?:R\$|BRL)?\s*(-)?\s*(\d[\d.,]*)\s*(MIL\b|K\b|THOUSAND)?")
_MONEY_CUE = re.compile(r"R\$|BRL|REAIS|\bMIL\b|\d ?K\b|THOUSAND|ORCAMENTO|BUDGET|GASTAR|SPEND")
_MONTH = {folded(name): n % 12 + 1 for names in MONTHS.values() for n, name in enumerate(names)}
_A_MONTH = rf"({'|'.join(sorted(_MONTH, key=len, reverse=True))})"
_RANGE = re.compile(rf"\b{_A_MONTH}\s*(?:A|ATE|TO|UNTIL|THROUGH|-)\s*{_A_MONTH}\b")
_ANY_MONTH = re.compile(r"QUALQUER MES|TODOS OS MESES|ANO TODO|ANY MONTH|ALL YEAR")
_CITY_NAMES = "|".join(sorted(map(re.escape, CITIES), key=len, reverse=True))
_LEAVING = re.compile(
    rf"\b(?:SAINDO|SAIO|SAIR|PARTINDO|PARTO|MORO|SOU|ORIGEM|FROM|LEAVING|LEAVE|LIVE|ORIGIN)\b\W*(?:(?:DE|DO|EM|FROM|IN|E|IS)\b\W*)?({_CITY_NAMES})\b"
)
_SOMEWHERE = re.compile(
    r"\b(?i:saindo|saio|sair|partindo|parto|moro|leaving|leave|live)\s+(?i:de|do|da|em|from|in)\s+"
    r"(?P<city>[^\W\d_a-zß-ÿ][\w'’-]*(?:\s+(?:d[aeo]s?\s+)?[^\W\d_a-zß-ÿ][\w'’-]*)*)"
)
"""A city that is not known here, by its capitals: whether there is one of that name is not for who reads to say."""
_ACTIVITIES = re.compile(
    r"\b(PRAIAS?|TRILHAS?|MUSEUS?|GASTRONOMIA|SURFE?|MERGULHO|MONTANHAS?|NEVE|COMPRAS|NATUREZA|VIDA NOTURNA|ESQUI"
    r"|BEACH(?:ES)?|HIKING|MUSEUMS?|FOOD|SURFING|DIVING|MOUNTAINS?|SNOW|SHOPPING|NATURE|NIGHTLIFE|SKIING)\b"
)
_PURPOSE = re.compile(
    r"\b(FERIAS|LUA DE MEL|TRABALHO|NEGOCIOS|ANIVERSARIO|DESCANSO|LAZER"
    r"|VACATION|HOLIDAYS?|HONEYMOON|WORK|BUSINESS|BIRTHDAY|LEISURE)\b"
)
_HOBBIES = re.compile(r"\b(?:HOBB(?:Y|IES)|PASSATEMPOS?)\b\s*(?:SAO|E|ARE|IS|:)?\s*([^.;]+)")
_FILLER = re.compile(
    r"^(?:EU |I )?"
    r"(?:(?:AM )?(?:QUERO|QUEREMOS|GOSTO(?: MUITO)?|GOSTARIA|ADORO|VOU|SAIO|SAINDO|MORO|SOU"
    r"|WANT|LIKE|LOVE|WOULD LIKE|LEAVE|LEAVING|LIVE|LIVING|COMING)\s+)?"
    r"(?:(?:DE|EM|TO|FROM|IN|A|O|AS|OS|THE)\s+)?",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^\W*(?:(?:MY|OUR|THE|MEUS?|MINHAS?|O|A|OS|AS)\s+)?"
    r"(?:HOBB(?:Y|IES)|PASSATEMPOS?|ATIVIDADES?|ACTIVIT(?:Y|IES)|MOTIVO|PURPOSE)\s*(?:[:=-]|(?:SAO|E|ARE|IS)\b)\s*"
)
"""What somebody writes before an answer to tell which it is."""
_LISTS = re.compile(r"\s*(?:,|;|/|\bE\b|\bAND\b|\bOU\b|\bOR\b)\s*")
_NOTHING = re.compile(
    r"^(OI|OLA|HI|HELLO|OK|HMM+|NAO SEI|SEI LA|TALVEZ|SIM|NAO|YES|NO|I DO ?N[O']?T KNOW|MAYBE|WHATEVER YOU SAY)\W*$"
)
_CORRECTING = re.compile(r"NA VERDADE|ALIAS|CORRIG|MUD[AEO]|TROC|ACTUALLY|CHANGE|INSTEAD|MAKE IT|RATHER")
_ANOTHER = re.compile(r"OUTR[OA] (?:DESTINO|SUGESTAO|LUGAR|OPCAO)|ANOTHER|SOMEWHERE ELSE|OTHER (?:DESTINATION|PLACE)")
_PORTUGUESE = re.compile(
    r"[ãõçáéíóúâê]|\b(de|do|da|em|e|quero|sou|somos|moro|para|mil|reais|meses?|adultos?|não|sim|saindo|praia|férias|oi)\b"
)
_ENGLISH = re.compile(r"\b(the|and|from|to|we|are|i|my|in|is|adults?|want|budget|month|holidays?|beach|hello|yes|leaving|it)\b")


def read(messages: Sequence[Mapping[str, str]]) -> Form:
    """Fill in the form `Answers` from the user's last message; the instructions end with the context."""
    text = messages[-1]["content"].strip()
    context = json.loads(messages[0]["content"].partition("Context: ")[2])
    form: Form = dict.fromkeys(
        ("origin_city", "origin_iata", "budget", "adults", "children", "months", "activities", "purpose", "hobbies")
    )
    form |= _origin(text, context) | _counted(text, context) | _months(text, context) | _wishes(text, context)
    if (
        not {key for key, value in form.items() if value is not None} - {context["last_question"]}
        and "?" not in text
        and not _NOTHING.match(folded(text))
    ):
        form |= _whole(text, context)
    found = any(value is not None for value in form.values())
    form["wants_another"] = bool(_ANOTHER.search(folded(text)))
    return form | {"asks_question": "?" in text and not found and not form["wants_another"], "language": _language(text)}


def _origin(text: str, context: Form) -> Form:
    plain, asked = folded(text), context["last_question"] == "origin"
    for choice in context["choices"]:
        city, _, code = choice.rstrip(")").rpartition(" (")
        if folded(choice) in plain or folded(city) == plain or re.search(rf"\b{code}\b", text):
            return {"origin_city": city, "origin_iata": code}
    code = next((word for word in re.findall(r"\b[A-Z]{3}\b", text) if word in CODES), None)
    if code and (asked or re.search(r"\b(SAINDO|SAIO|FROM|LEAVING)\b", plain)):
        return {"origin_iata": code}
    match = _LEAVING.search(plain) or (re.search(rf"\b({_CITY_NAMES})\b", plain) if asked else None)
    if match is None:
        return _somewhere(text)
    name, known = CITIES[match[1]]
    return {"origin_city": name, "origin_iata": known}


def _somewhere(text: str) -> Form:
    match = _SOMEWHERE.search(text)
    return {"origin_city": match["city"]} if match and folded(match["city"]).split()[0] not in _MONTH else {}


def _counted(text: str, context: Form) -> Form:
    plain, found = folded(text), Form()
    adults, children = _ADULTS.search(plain), _CHILDREN.search(plain)
    if _COUPLE.search(plain):
        found["adults"] = 2
    elif adults:
        found["adults"] = _number(adults[1] or adults[2])
    elif _ALONE.search(plain):
        found["adults"] = 1
    if children:
        found["children"] = _number(children[1])
    rest = plain
    for match in (adults, children):
        rest = rest.replace(match[0], " ") if match else rest
    lone = re.search(rf"\b{_COUNT}\b", rest) or re.search(r"-?\d+", rest)
    if context["last_question"] == "passengers" and not found and lone and not _MONEY_CUE.search(plain):
        found["adults"] = _number(lone[0].strip())
    if _MONEY_CUE.search(rest) or (context["last_question"] == "budget" and not adults and not children):
        found |= _budget(rest)
    return found


def _budget(plain: str) -> Form:
    match = next((m for m in _MONEY.finditer(plain)), None)
    if match is None:
        return {}
    digits = re.sub(r"[.,](?=\d{3}(\D|$))", "", match[3].rstrip(".,")).replace(",", ".")
    amount = float(digits) * (1_000 if match[4] else 1)
    return {"budget": -amount if match[1] or match[2] else amount}


def _months(text: str, context: Form) -> Form:
    plain, asked = re.sub(rf"\b({_CITY_NAMES})\b", "", folded(text)), context["last_question"] == "months"
    if _ANY_MONTH.search(plain):
        return {"months": list(range(1, 13))}
    found: list[int] = []
    for first, last in _RANGE.findall(plain):
        begin, end = _MONTH[first], _MONTH[last]
        found += [(begin + n - 1) % 12 + 1 for n in range((end - begin) % 12 + 1)]
    named = re.findall(rf"\b{_A_MONTH}\b", plain)
    # "may" and "march" are verbs too.
    found += [_MONTH[name] for name in named if asked or name not in ("MAY", "MARCH") or name.capitalize() in text]
    if asked and not found and not (_ADULTS.search(plain) or _CHILDREN.search(plain) or _MONEY_CUE.search(plain)):
        found = [int(number) for number in re.findall(r"-?\d+", plain)][:12]
    return {"months": found} if found else {}


def _wishes(text: str, context: Form) -> Form:
    asked, known, correcting = context["last_question"], context["known"], bool(_CORRECTING.search(folded(text)))
    plain, found = folded(text), Form()
    if hobbies := _HOBBIES.search(plain):
        found["hobbies"] = _entries(text[hobbies.start(1) : hobbies.end(1)])
        text, plain = text[: hobbies.start()] + text[hobbies.end() :], plain[: hobbies.start()] + plain[hobbies.end() :]
    for key, words in (("activities", _ACTIVITIES), ("purpose", _PURPOSE)):
        may = asked == key or (key not in known and asked != "hobbies") or (correcting and asked != "hobbies")
        named = [text[m.start() : m.end()].lower() for m in words.finditer(plain)] if may else []
        if named:
            found[key] = named if key == "activities" else named[0]
    return found


def _whole(text: str, context: Form) -> Form:
    """Take a message that says nothing of anything else as the answer to the last question."""
    match context["last_question"]:
        case "origin" if not re.search(rf"\d|\b({_CITY_NAMES})\b", folded(text)) and len(text.split()) <= 5:
            return {"origin_city": _FILLER.sub("", text).strip(" .!")}
        case "activities" | "hobbies" as key if not _ANOTHER.search(folded(text)):
            return {key: _entries(text)}
        case "purpose" if not _PURPOSE.search(folded(text)) and len(text.split()) <= 6:
            return {"purpose": _unlabelled(text).strip(" .!").lower()}
    return {}


def _unlabelled(text: str) -> str:
    label = _LABEL.match(folded(text))
    return text[label.end() :] if label else text


def _entries(text: str) -> list[str] | None:
    rest = _FILLER.sub("", _unlabelled(text))
    plain, entries, at = folded(rest), [], 0
    for match in _LISTS.finditer(plain):
        entries.append(rest[at : match.start()])
        at = match.end()
    return [entry.strip(" .!").lower() for entry in [*entries, rest[at:]] if entry.strip(" .!")] or None


def _number(word: str) -> int:
    return _NUMBERS[word] if word in _NUMBERS else int(word)


def _language(text: str) -> str | None:
    portuguese, english = _hits(_PORTUGUESE.finditer(text.lower())), _hits(_ENGLISH.finditer(text.lower()))
    if portuguese == english:
        return None
    return "pt" if portuguese > english else "en"


def _hits(found: Iterable[Any]) -> int:
    return sum(1 for _ in found)
