"""How the scripted model reads a traveller's message: by rules, for Portuguese and English. Enough for a demonstration."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatapp.dev import interview_months, interview_numbers
from chatapp.dev.interview_places import CITIES, CODES
from chatapp.dev.interview_replies import reply
from chatapp.flows.interview.origin import folded

Form = dict[str, Any]

_CITY_NAMES = "|".join(sorted(map(re.escape, CITIES), key=len, reverse=True))
_LEAVING = re.compile(
    rf"\b(?:SAINDO|SAIO|SAIR|PARTINDO|PARTO|MORO|SOU|ORIGEM|FROM|LEAVING|LEAVE|LIVE|ORIGIN)\b\W*(?:(?:DE|DO|EM|FROM|IN|E|IS)\b\W*)?({_CITY_NAMES})\b"
)
_CITY_CHANGED = re.compile(rf"\b(?:CIDADE|CITY|ORIGEM|ORIGIN)\W+(?:PARA|TO)\W+({_CITY_NAMES})\b")
_RATHER_FROM = re.compile(
    rf"\b(?:OU MELHOR|QUER DIZER|OR RATHER|I MEAN|NO WAIT)\b\W*(?:(?:DE|DO|EM|FROM|IN)\b\W*)?({_CITY_NAMES})\b"
)
_GOING = re.compile(r"\b(?:PARA|PRA|TO|CONHECER|VISITAR|VISIT|SEE)\W+(?:O |A |THE )?$")
_SOMEWHERE = re.compile(
    r"\b(?i:(?:saindo|saio|sair|partindo|parto|moro|leaving|leave|live)\s+(?:de|do|da|em|from|in)|from)\s+"
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
    r"^(OI|OLA|HI|HELLO|HEY|BOM DIA|BOA TARDE|BOA NOITE|TUDO BEM|GOOD (?:MORNING|AFTERNOON|EVENING)|OK|HMM+|NAO SEI|SEI LA|TALVEZ"
    r"|SIM|NAO|YES|NO|I DO ?N[O']?T KNOW|MAYBE|WHATEVER YOU SAY|OBRIGAD[OA]|VALEU|THANKS?|THANK YOU|LEGAL|GOSTEI|COOL|GREAT)\W*$"
)
_NO_PLACE = re.compile(
    r"\b(?:NENHUM[A]?|NADA|TANTO FAZ|NOTHING|NONE|ANYTHING|WHATEVER|QUER(?:O|EMOS|IA)|GOST\w+|ADOR\w+|WANT|LIKE|LOVE|E|AND)\b"
)
"""What no name of a city has, in a message that may be one."""
_ADDING = re.compile(r"\bTAMBEM\b|\bADICION|\bACRESCENT|\bINCLU|\bALSO\b|\bAS WELL\b|\bADD\b|\bTOO\b")
_DENYING = re.compile(
    r"\b(?:NAO(?: (?:QUERO|QUEREMOS|GOSTO|E))?|SEM|NEM|NO|NOT|WITHOUT|(?:DO ?N[O']?T|NOT) (?:WANT|LIKE))"
    r" (?:(?:DE|IR|A|AO|O|OS|AS|THE|ANY|TO|MAIS|MORE|NO|NA) )*$"
)
"""What stands before a word that is not wanted."""
_CORRECTING = re.compile(r"NA VERDADE|ALIAS|CORRIG|MUD[AEO]|TROC|ACTUALLY|CHANGE|INSTEAD|MAKE IT|RATHER")
_ANOTHER = re.compile(r"OUTR[OA] (?:DESTINO|SUGESTAO|LUGAR|OPCAO)|ANOTHER|SOMEWHERE ELSE|OTHER (?:DESTINATION|PLACE)")
_PORTUGUESE = re.compile(
    r"[ãõçáéíóúâê]|\b(de|do|da|em|e|quero|sou|somos|moro|para|mil|reais|meses?|adultos?|não|sim|saindo|praia|férias|oi)\b"
)
_ENGLISH = re.compile(
    r"\b(the|and|from|to|we|are|i|my|in|is|adults?|want|budget|month|holidays?|beach|hello|yes|leaving|it"
    r"|what|you|how|why|who|where|when|can|with|for|please)\b"
)


def read(messages: Sequence[Mapping[str, str]]) -> Form:
    """Fill in the form `Answers` from the user's last message; the instructions end with the context."""
    text = messages[-1]["content"].strip()
    context = json.loads(messages[0]["content"].partition("Context: ")[2])
    form: Form = dict.fromkeys(
        "origin_city origin_iata budget budget_currency adults children months activities purpose hobbies".split()
    )
    plain, language = folded(text), _language(text)
    form |= interview_numbers.counted(plain, context, english=language == "en")
    form |= _origin(text, context) | _months(text, context) | _wishes(text, context)
    if (
        not {key for key, value in form.items() if value is not None} - {context["last_question"]}
        and "?" not in text
        and not _NOTHING.match(plain)
    ):
        form |= _whole(text, context)
    found = any(value is not None for value in form.values())
    another = bool(_ANOTHER.search(plain))
    asks = "?" in text and not found and not another
    replied = reply(plain, english=(context["language"] or language) == "en") if asks and re.search("[A-Z]", plain) else None
    return form | {"wants_another": another, "asks_question": asks, "reply": replied, "language": language}


def _origin(text: str, context: Form) -> Form:
    plain, asked = folded(text), context["last_question"] == "origin"
    for choice in context["choices"]:
        city, _, code = choice.rstrip(")").rpartition(" (")
        if folded(choice) in plain or folded(city) == plain or re.search(rf"\b{code}\b", text):
            return {"origin_city": city, "origin_iata": code}
    code = next((word for word in re.findall(r"\b[A-Z]{3}\b", text) if word in CODES), None)
    if code and (asked or re.search(r"\b(SAINDO|SAIO|FROM|LEAVING)\b", plain)):
        return {"origin_iata": code}
    match = _RATHER_FROM.search(plain) or _LEAVING.search(plain) or _CITY_CHANGED.search(plain)
    if match is None and (asked or _CORRECTING.search(plain)):
        named = re.finditer(rf"\b({_CITY_NAMES})\b", plain)
        match = next((city for city in named if not _GOING.search(plain[: city.start()])), None)
    if match is None:
        return _somewhere(text)
    name, known = CITIES[match[1]]
    return {"origin_city": name, "origin_iata": known}


def _somewhere(text: str) -> Form:
    match = _SOMEWHERE.search(text)
    return {"origin_city": match["city"]} if match and folded(match["city"]).split()[0] not in interview_months.NUMBERS else {}


def _months(text: str, context: Form) -> Form:
    whole = folded(text)
    found = interview_months.read(text, re.sub(rf"\b({_CITY_NAMES})\b", "", whole), context)
    if context["last_question"] == "months" and not found and "?" not in text and not interview_numbers.is_counted(whole):
        found = [int(number) for number in re.findall(r"-?\d+", whole)][:12]
    return {"months": _added(found, "months", whole, context)} if found else {}


def _added(found: list[Any], key: str, plain: str, context: Form) -> list[Any]:
    """Put what is known before what a message adds to it."""
    known = context["known"].get(key) or [] if _ADDING.search(plain) else []
    return list(dict.fromkeys([*known, *found]))


def _wishes(text: str, context: Form) -> Form:
    asked, known, correcting = context["last_question"], context["known"], bool(_CORRECTING.search(folded(text)))
    plain, found = folded(text), Form()
    if hobbies := _HOBBIES.search(plain):
        found["hobbies"] = _entries(text[hobbies.start(1) : hobbies.end(1)])
        text, plain = text[: hobbies.start()] + text[hobbies.end() :], plain[: hobbies.start()] + plain[hobbies.end() :]
    adding = _ADDING.search(plain) is not None
    for key, words in (("activities", _ACTIVITIES), ("purpose", _PURPOSE)):
        matches = list(words.finditer(plain))
        denied = [m for m in matches if _DENYING.search(plain[: m.start()])]
        may = asked == key or (asked != "hobbies" and (key not in known or correcting or adding or denied))
        named = [text[m.start() : m.end()].lower() for m in matches if m not in denied] if may else []
        if denied and known.get(key) and key == "activities":
            unwanted = {m[0] for m in denied}
            named = [*(entry for entry in known[key] if folded(entry) not in unwanted), *named]
        if named:
            found[key] = _added(named, key, plain, context) if key == "activities" else named[0]
    return found


def _whole(text: str, context: Form) -> Form:
    """Take a message that says nothing of anything else as the answer to the last question."""
    match context["last_question"]:
        case "origin" if len(text.split()) <= 5 and not _is_no_city(folded(text)):
            return {"origin_city": _FILLER.sub("", text).strip(" .!")}
        case "activities" | "hobbies" as key if not _ANOTHER.search(folded(text)):
            return {key: _entries(text)}
        case "purpose" if not _PURPOSE.search(folded(text)) and len(text.split()) <= 6:
            return {"purpose": _unlabelled(text).strip(" .!").lower()}
    return {}


def _is_no_city(plain: str) -> bool:
    """Whether a text that may be the name of an unknown city says something else."""
    patterns = (rf"\d|\b({_CITY_NAMES})\b", _NO_PLACE, _ACTIVITIES, _PURPOSE, _ANOTHER)
    said = any(re.search(pattern, plain) for pattern in patterns)
    return said or interview_months.are_named(plain) or interview_numbers.is_counted(plain)


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


def _language(text: str) -> str | None:
    portuguese, english = _hits(_PORTUGUESE.finditer(text.lower())), _hits(_ENGLISH.finditer(text.lower()))
    if portuguese == english:
        return None
    return "pt" if portuguese > english else "en"


def _hits(found: Iterable[Any]) -> int:
    return sum(1 for _ in found)
