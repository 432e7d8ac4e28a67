"""Reads vital signs out of a nurse's message, Portuguese and English notations alike. Pure; any text is read without an error.

What is believed goes into `Reading.signs`, what is not into `Reading.problems`, and the nurse's other words into `Reading.rest`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from chatapp.flows.orchestrator.vitals import DIASTOLIC, PRESSURE, SIGNS, SYSTOLIC, VitalSigns, label

Fault: TypeAlias = Literal["range", "order", "incomplete", "twice"]

# Numbers are matched possessively (`(?>...)`): giving back a digit would make "dor 30 dias" a pain of 3.
_NUMBER = r"(?>[0-9]+(?:[.,][0-9]+)?)"
_IS = r"(?:\s*[:=~-]\s*|\s+(?:de|em|is|of|at|a)\s+|\s*)"
_NOT_TIME = r"(?!\s*(?:dias?|days?|horas?|hours?|hrs?|min|meses|months?|semanas?|weeks?|h|anos?|years?)(?!\w))"
_BY = r"\s*(?:x|×|/|\\|\bpor\b|\bover\b)\s*"
_PRESSURE_LABEL = r"(?:p\.?\s?a\.?|b\.?p\.?|press[aã]o(?:\s+arterial)?|blood\s+pressure)"

_LABELS = {
    "heart_rate_bpm": r"fc|hr|pulso|pulse|freq(?:u[eê]ncia|\.)?\s+card[ií]aca|heart\s+rate|bpm",
    "respiratory_rate_per_min": r"fr|rr|resp|freq(?:u[eê]ncia|\.)?\s+respirat[oó]ria|resp(?:iratory|\.)?\s+rate",
    "oxygen_saturation_percent": r"sp\s?o2|sat\.?\s?o2|o2\s?sats?|sats?\.?|satura[cç][aã]o(?:\s+de\s+o2)?|satura(?:ndo|tion)",
    "temperature_celsius": r"temp\.?|tax|temperatura|temperature",
    "blood_glucose_mg_dl": r"hgt|glicemia(?:\s+capilar)?|glic\.?|dextro|glucose|glycemia|cbg|bgl?",
    "pain_score_0_to_10": r"dor|pain|eva|escala\s+de\s+dor|pain\s+scor(?:e|ing)",
}
_AFTER = {
    "heart_rate_bpm": r"(?:\s*(?:bpm|/\s?min)\b)?",
    "respiratory_rate_per_min": r"(?:\s*(?:irpm|mrpm|rpm|ipm|/\s?min)\b)?",
    "oxygen_saturation_percent": r"(?:\s*%)?",
    "temperature_celsius": r"(?:\s*(?:[°ºo]\s?c?\b|graus\b|celsius\b|c\b|[°º]))?(?:\s*c\b)?",
    "blood_glucose_mg_dl": r"(?:\s*mg\s?/?\s?dl\b)?",
    "pain_score_0_to_10": r"(?:\s*/\s*10(?![0-9])|\s+(?:de|em|of|out\s+of)\s+10(?![0-9]))?",
}
_BARE = {
    "heart_rate_bpm": rf"(?P<value>{_NUMBER})\s*bpm\b",
    "respiratory_rate_per_min": rf"(?P<value>{_NUMBER})\s*(?:irpm|mrpm|ipm)\b",
    "temperature_celsius": rf"(?:(?P<value>{_NUMBER})\s*[°º]\s?c\b|\bt{_IS}(?P<short>[2-4][0-9](?:[.,][0-9])?)(?![0-9.,]?[0-9])"
    r"(?:\s*[°º]\s?c?)?)",
    "blood_glucose_mg_dl": rf"(?P<value>{_NUMBER})\s*mg\s?/\s?dl\b",
}


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.,]){pattern}", re.IGNORECASE)


_PAIR = _compiled(
    rf"(?:(?:{_PRESSURE_LABEL}|t\.?a\.?){_IS}(?P<high>{_NUMBER}){_BY}(?P<low>{_NUMBER})|"
    rf"(?P<bare_high>[0-9]{{3}})\s*[x×]\s*(?P<bare_low>[0-9]{{2,3}})(?![0-9.,x×]))(?:\s*mmhg\b)?"
)
_HALF = _compiled(rf"{_PRESSURE_LABEL}{_IS}(?P<value>{_NUMBER})(?:\s*x(?!\w))?(?:\s*mmhg\b)?{_NOT_TIME}")
_SINGLE = [
    *((name, _compiled(rf"(?:{words}){_IS}(?P<value>{_NUMBER}){_NOT_TIME}{_AFTER[name]}")) for name, words in _LABELS.items()),
    *((name, _compiled(pattern)) for name, pattern in _BARE.items()),
]
_PAIR_ALONE = _compiled(rf"(?P<high>[0-9]{{1,3}}){_BY}(?P<low>[0-9]{{1,3}})(?:\s*mmhg)?[.!]?")
"""A whole message of two numbers: a pressure, if it can be one."""
_ALONE = re.compile(rf"\W*(?P<value>{_NUMBER}(?:{_BY}{_NUMBER})?)\s*(?:mmhg|bpm|irpm|%|[°º]\s?c?|c|mg/dl|/10)?\W*", re.IGNORECASE)
_JOINT = re.compile(r"(?:[\s,;:.]|\b(?:e|com|and|with)\b)*$", re.IGNORECASE)
_EDGES = " \n,;:.-–/|"


@dataclass(frozen=True, slots=True)
class Problem:
    """What was written of a sign and cannot be believed. `written`: as the nurse wrote it."""

    sign: str
    fault: Fault
    written: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message says: vital signs, what is wrong with others, and the words that are left."""

    signs: VitalSigns
    problems: tuple[Problem, ...] = ()
    rest: str = ""

    def __bool__(self) -> bool:
        return bool(self.signs.measured or self.problems)


@dataclass(slots=True)
class _Found:
    values: dict[str, float] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)
    seen: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def take(self, sign: str, written: str, *numbers: float) -> None:
        """Take note of a value, or of what is wrong with it."""
        fault: Fault | None = "twice" if self.seen.setdefault(sign, numbers) != numbers else _fault(sign, numbers)
        if fault is not None:
            self.problems.setdefault(sign, Problem(sign, fault, written[:40].strip(_EDGES)))
        elif sign == PRESSURE:
            self.values |= {"systolic_mmhg": round(numbers[0]), "diastolic_mmhg": round(numbers[1])}
        else:
            self.values[sign] = int(numbers[0]) if SIGNS[sign].whole else numbers[0]

    def signs(self) -> VitalSigns:
        """Give the values whose sign has no problem."""
        spoilt = set(self.problems)
        if PRESSURE in spoilt:
            spoilt |= {"systolic_mmhg", "diastolic_mmhg"}
        return VitalSigns.model_validate({n: v for n, v in self.values.items() if n not in spoilt})


def read(text: str, awaited: str | None = None) -> Reading:
    """Read a message. `awaited`: the sign that was asked for; a number alone is taken for its value."""
    text = "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))
    written = None
    if awaited is not None and (alone := _ALONE.fullmatch(text)):
        written = alone["value"]
        text = f"{label(awaited, 'pt')} {written}"
    elif _is_pressure(text):
        text = f"{label(PRESSURE, 'pt')} {text}"
    found, spans = _Found(), list[tuple[int, int]]()
    for start, end, sign, numbers in sorted(_matches(text)):
        if spans and start < spans[-1][1]:
            continue
        spans.append((start, end))
        found.take(sign, written or text[start:end], *numbers)
    return Reading(found.signs(), tuple(found.problems.values()), _without(text, spans))


def _matches(text: str) -> Iterator[tuple[int, int, str, tuple[float, ...]]]:
    """Find everything that looks like a vital sign: start, end, sign, numbers. The longer of two that begin together wins."""
    pairs = []
    for match in _PAIR.finditer(text):
        high, low = match["high"] or match["bare_high"], match["low"] or match["bare_low"]
        pairs.append(match.span())
        yield *match.span(), PRESSURE, _millimetres(high, low)
    for match in _HALF.finditer(text):
        if match.start() not in {start for start, _ in pairs}:
            yield *match.span(), PRESSURE, (_number(match["value"]),)
    for sign, pattern in _SINGLE:
        for match in pattern.finditer(text):
            said = match.groupdict()
            yield *match.span(), sign, (_number(said["value"] or said["short"]),)


def _is_pressure(text: str) -> bool:
    """Whether a message is two numbers, "12x8", that a pressure may have."""
    pair = _PAIR_ALONE.fullmatch(text)
    return pair is not None and _fault(PRESSURE, _millimetres(pair["high"], pair["low"])) is None


def _millimetres(high: str, low: str) -> tuple[float, float]:
    """Read a pressure in mmHg: "12x8" is said in centimetres of mercury."""
    numbers = _number(high), _number(low)
    return (numbers[0] * 10, numbers[1] * 10) if numbers[0] <= 30 and numbers[1] <= 20 else numbers


def _number(written: str) -> float:
    return float(written.replace(",", "."))


def _fault(sign: str, numbers: tuple[float, ...]) -> Fault | None:
    if sign != PRESSURE:
        (value,), known = numbers, SIGNS[sign]
        believed = known.low <= value <= known.high and (not known.whole or value == int(value))
        return None if believed else "range"
    if len(numbers) == 1:
        return "incomplete"
    high, low = numbers
    if not (SYSTOLIC[0] <= high <= SYSTOLIC[1] and DIASTOLIC[0] <= low <= DIASTOLIC[1]):
        return "range"
    return None if high > low else "order"


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """Cut the vital signs out, with the words that joined them to the rest."""
    kept, at = "", 0
    for start, end in spans:
        kept = _JOINT.sub("", kept + text[at:start]) + " "
        at = end
    kept = (kept + text[at:]) if spans else text
    kept = re.sub(r"  +", " ", re.sub(r" ([,;.])", r"\1", kept)).strip(_EDGES)
    return kept if any(map(str.isalnum, kept)) else ""
