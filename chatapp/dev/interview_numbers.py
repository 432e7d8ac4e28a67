"""How the scripted model reads numbers of travellers and amounts of money. Texts are folded: capitals without accents. Pure."""

import re
from collections.abc import Mapping
from typing import Any

Form = dict[str, Any]

_NUMBERS = {
    word: number
    for number, words in {
        **dict(enumerate(("ZERO", "UM UMA ONE", "DOIS DUAS TWO", "TRES THREE", "QUATRO FOUR", "CINCO FIVE", "SEIS SIX"))),
        **dict(enumerate(("SETE SEVEN", "OITO EIGHT", "NOVE NINE", "DEZ TEN", "ONZE ELEVEN", "DOZE TWELVE"), 7)),
        15: "QUINZE FIFTEEN",
        20: "VINTE TWENTY",
        30: "TRINTA THIRTY",
        40: "QUARENTA FORTY",
        50: "CINQUENTA FIFTY",
    }.items()
    for word in words.split()
}
_HUNDREDS = {
    word: 100 * number
    for number, word in enumerate(
        "CEM DUZENTOS TREZENTOS QUATROCENTOS QUINHENTOS SEISCENTOS SETECENTOS OITOCENTOS NOVECENTOS".split(), 1
    )
}
_WORD = "|".join(_NUMBERS)
_HUNDRED = "|".join(_HUNDREDS)
_THOUSANDS = re.compile(rf"\b(?:({_WORD}) )?(?<!\d )(?<!\d)(?:MIL|THOUSAND|GRAND)\b(?: E ({_HUNDRED})\b)?")
_FEW = re.compile(rf"\b({_HUNDRED})(?= (?:REAIS|EUROS|DOLARES)\b)")

_COUNT = rf"(-?\d+|{_WORD})"
_ADULTS = re.compile(rf"\b{_COUNT} (?:ADULT|PESSOA|PEOPLE|PERSON)|(?:SOMOS|WE ARE|WE'RE|VAMOS EM) {_COUNT}\b")
_CHILDREN = re.compile(rf"\b{_COUNT} (?:CRIANCA|FILH|KID|CHILD|BEBE|BAB(?:Y|IES)\b)")
_DENIED = re.compile(
    rf"\b(?:NAO|NOT)(?: SOMOS)? {_COUNT}\b(?P<of> ADULT\w*| PESSOAS?| PEOPLE| CRIANCAS?| CHILDREN| KIDS)?"
    r"[ ,;]*(?:MAS |BUT |E SIM )?"
)
_OF_US = re.compile(rf"\b{_COUNT} OF US\b")
_MORE = re.compile(r"\bMAIS $")
_ALONE = re.compile(r"\b(SO EU|SOZINH[OA]|JUST ME|ALONE|MYSELF)\b")
_COUPLE = re.compile(r"\b(CASAL|COUPLE|EU,? E? ?(?:MINHA|MEU) |ME AND MY )")

_CURRENCIES = {
    "EUR": re.compile(r"€|\bEUR\b|\bEUROS?\b"),
    "USD": re.compile(r"\bUS\$|\bUSD\b|\bDOLAR(?:ES)?\b|\bDOLLARS?\b|\bBUCKS\b"),
    "GBP": re.compile(r"£|\bGBP\b|\bPOUNDS?\b"),
}
_DOLLAR = re.compile(r"(?<!R)\$")
_THOUSAND = r"(?P<thousands>MIL\b|K\b|THOUSAND)"
_MONEY = [
    re.compile(pattern)
    for pattern in (
        rf"(?P<minus>-)?\s*(?:R\$|US\$|[$€£]|\b(?:BRL|USD|EUR)\b)\s*(?P<less>-)?\s*(?P<number>\d[\d.,]*)\s*{_THOUSAND}?",
        rf"(?P<minus>-)?(?P<less>)(?P<number>\d[\d.,]*)\s*(?:{_THOUSAND}|REAIS|EUR|DOL|USD|POUND|BUCKS)",
        rf"(?P<minus>-)?(?P<less>)(?P<number>\d[\d.,]*)\s*{_THOUSAND}?",
    )
]
"""An amount with its sign, one with its unit, and any number: the first that is there counts."""
CUE = re.compile(
    r"[$€£]|BRL|USD|REAIS|\bEUR|\bDOLAR|\bDOLLAR|\bPOUNDS|\bBUCKS|\bMIL\b|\d ?K\b|THOUSAND|ORCAMENTO|BUDGET|GASTAR|SPEND"
)
"""What tells that a number is an amount of money."""


def counted(plain: str, context: Mapping[str, Any], *, english: bool) -> Form:
    """Read how many travel, and the budget."""
    plain, found = _in_digits(_without_denied(plain)), Form()
    asked = None if "?" in plain else context["last_question"]
    adults, children = _ADULTS.search(plain), _CHILDREN.search(plain)
    known = context["known"].get("passengers") or {"adults": 0, "children": 0}
    if children:
        found["children"] = _number(children[1]) + (known["children"] if _MORE.search(plain[: children.start()]) else 0)
    if _COUPLE.search(plain):
        found["adults"] = 2
    elif adults:
        found["adults"] = _number(adults[1] or adults[2]) + (known["adults"] if _MORE.search(plain[: adults.start()]) else 0)
    elif all_of_us := _OF_US.search(plain):
        found["adults"] = _number(all_of_us[1]) - found.get("children", 0)
    elif _ALONE.search(plain):
        found["adults"] = 1
    rest = plain
    for match in (adults, children):
        rest = rest.replace(match[0], " ") if match else rest
    lone = re.search(rf"(?<!ANOTHER )\b{_COUNT}\b", rest) or re.search(r"-?\d+", rest)
    if asked == "passengers" and not found and lone and not CUE.search(plain):
        found["adults"] = _number(lone[0].strip())
    if CUE.search(rest) or (asked == "budget" and not adults and not children):
        found |= _budget(rest, english=english)
    return found


def is_counted(plain: str) -> bool:
    """Whether a text counts travellers or money."""
    return any(pattern.search(_in_digits(plain)) for pattern in (_ADULTS, _CHILDREN, CUE))


def _without_denied(plain: str) -> str:
    """Leave out the number that is none: "not two adults, three" is three adults."""
    match = _DENIED.search(plain)
    if match is None:
        return plain
    before, after = plain[: match.start()], plain[match.end() :]
    if number := re.match(rf"{_COUNT}\b(?! (?:ADULT|PESSOA|PEOPLE|CRIANCA|CHILD|KID))", after):
        return f"{before}{number[0]}{match['of'] or ''}{after[number.end() :]}"
    return f"{before} {after}" if re.search(rf"\b{_COUNT}\b", before + after) else plain


def _in_digits(plain: str) -> str:
    """Write amounts that are spelled out in digits: "CINCO MIL" is 5000."""
    plain = _THOUSANDS.sub(lambda m: str(1000 * _NUMBERS.get(m[1] or "UM", 1) + _HUNDREDS.get(m[2] or "", 0)), plain)
    return _FEW.sub(lambda m: str(_HUNDREDS[m[1]]), plain)


def _budget(plain: str, *, english: bool) -> Form:
    match = next(filter(None, (pattern.search(plain) for pattern in _MONEY)), None)
    if match is None:
        return {}
    whole, _, cents = re.sub(r"[.,](?=\d{3}(\D|$))", "", match["number"].rstrip(".,")).replace(",", ".").partition(".")
    amount = float(f"{whole}.{cents.replace('.', '') or 0}") * (1_000 if match["thousands"] else 1)
    form: Form = {"budget": -amount if match["minus"] or match["less"] else amount}
    currency = next((code for code, pattern in _CURRENCIES.items() if pattern.search(plain)), None)
    if currency or (english and _DOLLAR.search(plain)):
        form["budget_currency"] = currency or "USD"
    return form


def _number(word: str) -> int:
    return _NUMBERS[word] if word in _NUMBERS else int(word)
