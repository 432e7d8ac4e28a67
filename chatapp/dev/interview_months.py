"""How the scripted model reads months: names, ranges, seasons, and those that count from today. Texts are folded. Pure."""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from chatapp.flows.interview.origin import folded
from chatapp.flows.interview.texts import MONTHS

NUMBERS = {folded(name): n % 12 + 1 for names in MONTHS.values() for n, name in enumerate(names)}
_SHORT = {name[:3]: number for name, number in NUMBERS.items()}
_A_MONTH = rf"({'|'.join(sorted(NUMBERS, key=len, reverse=True))})"
_NAMED = re.compile(rf"\b{_A_MONTH}\b")
_RANGE = re.compile(
    rf"\b{_A_MONTH}\s*(?:A|ATE|TO|UNTIL|THROUGH|-)\s*{_A_MONTH}\b|\b(?:ENTRE|BETWEEN) {_A_MONTH} (?:E|AND) {_A_MONTH}\b"
)
_ANY = re.compile(r"QUALQUER MES|TODOS OS MESES|ANO TODO|ANY MONTH|ALL YEAR")
_ANY_ANSWER = re.compile(
    r"TANTO FAZ|QUALQUER (?:UM|DATA|EPOCA)|FLEXIVEL|ANY ?TIME|ANYTHING|WHENEVER|FLEXIBLE|DOES ?N[O']?T MATTER"
)
_SEASONS = {
    "VERAO": (12, 1, 2), "OUTONO": (3, 4, 5), "INVERNO": (6, 7, 8), "PRIMAVERA": (9, 10, 11),
    "SUMMER": (6, 7, 8), "AUTUMN": (9, 10, 11), "FALL": (9, 10, 11), "WINTER": (12, 1, 2), "SPRING": (3, 4, 5),
}  # fmt: skip
_SEASON = re.compile(rf"\b({'|'.join(_SEASONS)})\b")
_FROM_TODAY = (
    (re.compile(r"\b(?:SEMANA QUE VEM|PROXIMA SEMANA|NEXT WEEK)\b"), timedelta(days=7), 0),
    (re.compile(r"\b(?:MES QUE VEM|PROXIMO MES|NEXT MONTH)\b"), timedelta(), 1),
    (re.compile(r"\b(?:ESTE MES|NESTE MES|THIS MONTH)\b"), timedelta(), 0),
)


def read(text: str, plain: str, context: Mapping[str, Any]) -> list[int]:
    """Find the months that a message names. `plain` is the text folded, without names of cities."""
    asked = context["last_question"] == "months"
    if _ANY.search(plain) or (asked and _ANY_ANSWER.search(plain)):
        return list(range(1, 13))
    found: list[int] = []
    for names in _RANGE.findall(plain):
        first, last = filter(None, names)
        begin, end = NUMBERS[first], NUMBERS[last]
        found += [(begin + n - 1) % 12 + 1 for n in range((end - begin) % 12 + 1)]
    # "may" and "march" are verbs too.
    named = _NAMED.findall(plain)
    found += [NUMBERS[name] for name in named if asked or name not in ("MAY", "MARCH") or name.capitalize() in text]
    found += [
        month for season in _SEASON.findall(plain) if asked or season not in ("FALL", "SPRING") for month in _SEASONS[season]
    ]
    found += _from_today(plain, date.fromisoformat(context["today"]))
    if asked and not found:
        found = [_SHORT[name] for name in re.findall(r"\b([A-Z]{3})\b", plain) if name in _SHORT]
    return found


def are_named(plain: str) -> bool:
    """Whether a text names a time of the year."""
    return any(pattern.search(plain) for pattern in (_NAMED, _SEASON, _ANY, *(pattern for pattern, _, _ in _FROM_TODAY)))


def _from_today(plain: str, today: date) -> list[int]:
    return [((today + days).month + months - 1) % 12 + 1 for pattern, days, months in _FROM_TODAY if pattern.search(plain)]
