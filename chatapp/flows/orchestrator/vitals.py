"""Vital signs: what they are, in which ranges a value is believed, and how they are shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

Language: TypeAlias = Literal["pt", "en"]


class VitalSigns(BaseModel):
    """Vital signs as they are written, units in the names. None: not measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    systolic_mmhg: int | None = None
    diastolic_mmhg: int | None = None
    heart_rate_bpm: int | None = None
    respiratory_rate_per_min: int | None = None
    oxygen_saturation_percent: int | None = None
    temperature_celsius: float | None = None
    blood_glucose_mg_dl: int | None = None
    pain_score_0_to_10: int | None = None

    def with_(self, newer: "VitalSigns") -> "VitalSigns":
        """Put newer values over these."""
        return self.model_copy(update=newer.model_dump(exclude_none=True))

    @property
    def measured(self) -> dict[str, int | float]:
        """The values that there are, by name."""
        return self.model_dump(exclude_none=True)


PRESSURE = "blood_pressure"
"""The one sign of two values, `systolic_mmhg` and `diastolic_mmhg`."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A vital sign: how it is labelled in each language, and the range in which a value of a living patient can lie.

    The ranges are wide on purpose: they catch slips of the finger and mixed-up signs, and are no judgement of a patient.
    """

    labels: Mapping[Language, str]
    unit: str
    low: float
    high: float
    whole: bool = True


SYSTOLIC = (40, 300)
DIASTOLIC = (20, 200)

SIGNS: Mapping[str, Sign] = {
    "heart_rate_bpm": Sign({"pt": "FC", "en": "HR"}, "bpm", 20, 300),
    "respiratory_rate_per_min": Sign({"pt": "FR", "en": "RR"}, "/min", 4, 80),
    "oxygen_saturation_percent": Sign({"pt": "SatO2", "en": "SpO2"}, "%", 30, 100),
    "temperature_celsius": Sign({"pt": "Temp", "en": "Temp"}, "°C", 25, 45, whole=False),
    "blood_glucose_mg_dl": Sign({"pt": "HGT", "en": "Glucose"}, "mg/dL", 10, 1000),
    "pain_score_0_to_10": Sign({"pt": "Dor", "en": "Pain"}, "/10", 0, 10),
}

PRESSURE_LABELS: Mapping[Language, str] = {"pt": "PA", "en": "BP"}


def label(sign: str, language: Language) -> str:
    """Name a sign as nurses write it."""
    return PRESSURE_LABELS[language] if sign == PRESSURE else SIGNS[sign].labels[language]


def shown(signs: VitalSigns, language: Language) -> str:
    """Show vital signs in one line, e.g. `PA 120x80 mmHg, FC 80 bpm`. Read again it gives the same values."""
    parts = []
    if signs.systolic_mmhg is not None:
        parts.append(f"{PRESSURE_LABELS[language]} {signs.systolic_mmhg}x{signs.diastolic_mmhg} mmHg")
    for name, sign in SIGNS.items():
        value = getattr(signs, name)
        if value is not None:
            unit = sign.unit if sign.unit.startswith("/") else f" {sign.unit}"
            parts.append(f"{sign.labels[language]} {number(value, language)}{unit}")
    return ", ".join(parts)


def number(value: float, language: Language) -> str:
    """Show a number with the language's decimal mark, and none where it is whole."""
    text = f"{value:g}" if abs(value) < 1e5 else f"{value:.3g}"
    return text.replace(".", ",") if language == "pt" else text
