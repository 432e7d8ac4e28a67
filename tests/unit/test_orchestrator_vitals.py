"""Vital signs are read out of what nurses write, in many notations; what cannot be is asked about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.flows.orchestrator.reading import Reading, read
from chatapp.flows.orchestrator.vitals import DIASTOLIC, PRESSURE, SIGNS, SYSTOLIC, VitalSigns, shown

PA = {"systolic_mmhg": 120, "diastolic_mmhg": 80}


@pytest.mark.parametrize(
    "text",
    [
        "PA 120x80", "pa 120x80", "PA:120x80", "PA=120/80", "PA - 120x80", "PA 120 x 80 mmHg", "PA 120X80mmHg", "PA 120×80",
        "P.A. 120x80", "PA de 120 por 80", "pressão 120x80", "Pressao arterial: 120/80", "TA 120/80", "PA 12x8", "PA 12/8",
        "pa 12 por 8", "PA 12,0x8,0", "BP 120/80", "bp: 120x80", "BP 120 over 80", "blood pressure is 120/80", "B.P. 120/80",
        "120x80", "120 x 80 mmHg", "PA120x80", "  PA\t120x80\n", "PA 120\\80", "PA 0120x080", "12x8", "120/80", "12 por 8.",
    ],
)  # fmt: skip
def test_blood_pressure_has_many_notations(text):
    """Also in centimetres of mercury, as Brazilians say it, and without a label where it is plain."""
    assert read(text) == Reading(VitalSigns(**PA))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PA 12,5x8", {"systolic_mmhg": 125, "diastolic_mmhg": 80}),
        ("PA 9x6", {"systolic_mmhg": 90, "diastolic_mmhg": 60}),
        ("FC 80", {"heart_rate_bpm": 80}),
        ("fc: 80bpm", {"heart_rate_bpm": 80}),
        ("80 bpm", {"heart_rate_bpm": 80}),
        ("pulso 80/min", {"heart_rate_bpm": 80}),
        ("dor 8 em 10", {"pain_score_0_to_10": 8}),
        ("frequência cardíaca de 80", {"heart_rate_bpm": 80}),
        ("HR 80", {"heart_rate_bpm": 80}),
        ("heart rate is 80 bpm", {"heart_rate_bpm": 80}),
        ("pulso 80", {"heart_rate_bpm": 80}),
        ("pulse 80", {"heart_rate_bpm": 80}),
        ("FR 18 irpm", {"respiratory_rate_per_min": 18}),
        ("RR 18/min", {"respiratory_rate_per_min": 18}),
        ("18 irpm", {"respiratory_rate_per_min": 18}),
        ("respiratory rate 18", {"respiratory_rate_per_min": 18}),
        ("Sat 98%", {"oxygen_saturation_percent": 98}),
        ("SatO2: 98 %", {"oxygen_saturation_percent": 98}),
        ("SpO2 98", {"oxygen_saturation_percent": 98}),
        ("saturando 98%", {"oxygen_saturation_percent": 98}),
        ("saturação de O2 98%", {"oxygen_saturation_percent": 98}),
        ("O2 sat 98", {"oxygen_saturation_percent": 98}),
        ("Temp 36,5", {"temperature_celsius": 36.5}),
        ("Temp. 36.5 °C", {"temperature_celsius": 36.5}),
        ("T 36,5ºC", {"temperature_celsius": 36.5}),
        ("T36.5", {"temperature_celsius": 36.5}),
        ("Tax: 37", {"temperature_celsius": 37}),
        ("38,2°C", {"temperature_celsius": 38.2}),
        ("temperatura de 38,2 graus", {"temperature_celsius": 38.2}),
        ("HGT 99", {"blood_glucose_mg_dl": 99}),
        ("glicemia capilar 99 mg/dL", {"blood_glucose_mg_dl": 99}),
        ("dextro: 99", {"blood_glucose_mg_dl": 99}),
        ("glucose 99 mg/dl", {"blood_glucose_mg_dl": 99}),
        ("99 mg/dL", {"blood_glucose_mg_dl": 99}),
        ("dor 8", {"pain_score_0_to_10": 8}),
        ("Dor 8/10", {"pain_score_0_to_10": 8}),
        ("dor de 8", {"pain_score_0_to_10": 8}),
        ("pain 0", {"pain_score_0_to_10": 0}),
        ("pain 8 out of 10", {"pain_score_0_to_10": 8}),
        ("EVA 8", {"pain_score_0_to_10": 8}),
        ("PA 120x80 PA 120x80", PA),
    ],
)
def test_every_sign_has_a_portuguese_and_an_english_notation(text, expected):
    """Units may follow, and nothing is left over."""
    assert read(text) == Reading(VitalSigns(**expected))


EVERYTHING = VitalSigns(
    systolic_mmhg=120, diastolic_mmhg=80, heart_rate_bpm=88, respiratory_rate_per_min=18, oxygen_saturation_percent=98,
    temperature_celsius=36.5, blood_glucose_mg_dl=99, pain_score_0_to_10=3,
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "PA 120x80 FC 88 FR 18 Sat 98 T 36,5 HGT 99 dor 3",
        "PA: 12x8, FC: 88bpm, FR: 18irpm, SatO2: 98%, Temp: 36,5ºC, HGT: 99mg/dL, dor 3/10",
        "PA:120x80/FC:88/FR:18/SAT:98%/T:36.5/HGT:99/DOR:3",
        "BP 120/80; HR 88; RR 18; SpO2 98%; Temp 36.5 C; glucose 99; pain 3/10.",
        "PA 120x80\nFC 88\nFR 18\nSat 98\nTemp 36,5\nHGT 99\ndor 3",
        "dor 3 e HGT 99 com T 36,5 e Sat 98, FR 18, FC 88, PA 120x80",
    ],
)
def test_several_signs_in_one_message_are_all_read(text):
    """In any order, with any separator."""
    assert read(text) == Reading(EVERYTHING)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("PA 120x80, paciente estável", "paciente estável"),
        ("Paciente estável. PA 120x80", "Paciente estável"),
        ("Paciente em repouso com PA 120x80 e sem queixas", "Paciente em repouso e sem queixas"),
        ("nota: PA 120x80. Troca de curativo", "nota. Troca de curativo"),
        ("cheguei, PA 120x80", "cheguei"),
        ("sim PA 120x80", "sim"),
    ],
)
def test_the_other_words_are_left(text, rest):
    """They become the note."""
    assert read(text) == Reading(VitalSigns(**PA), (), rest)


@pytest.mark.parametrize(
    "text",
    [
        "dor há 3 dias", "dor 3 dias", "dor 30 dias", "pain 2 weeks", "lesão em T12", "sem dor", "FC normal", "leito 12",
        "dipirona 500 mg", "curativo 10x10", "dieta 6x6h", "às 10:30", "papa 120", "capa 120x", "", "   ", "0", "x", "PA", "PA x",
        "10x10", "500x2",
    ],
)  # fmt: skip
def test_other_numbers_are_no_vital_signs(text):
    """Durations, doses, beds and vertebrae stay words."""
    assert not read(text)


@pytest.mark.parametrize(
    ("text", "sign", "fault"),
    [
        ("PA 80x120", PRESSURE, "order"),
        ("PA 100x100", PRESSURE, "order"),
        ("PA 320x90", PRESSURE, "range"),
        ("PA 120x8", PRESSURE, "range"),
        ("PA 12x80", PRESSURE, "range"),
        ("PA 0x0", PRESSURE, "range"),
        ("PA 1200x800", PRESSURE, "range"),
        ("PA 120", PRESSURE, "incomplete"),
        ("PA 120x", PRESSURE, "incomplete"),
        ("BP 120 mmHg", PRESSURE, "incomplete"),
        ("PA 120x80 PA 130x80", PRESSURE, "twice"),
        ("FC 19", "heart_rate_bpm", "range"),
        ("FC 301", "heart_rate_bpm", "range"),
        ("FC 80,5", "heart_rate_bpm", "range"),
        ("FC 80 FC 90", "heart_rate_bpm", "twice"),
        ("FR 0", "respiratory_rate_per_min", "range"),
        ("Sat 101%", "oxygen_saturation_percent", "range"),
        ("Temp 98.6", "temperature_celsius", "range"),
        ("Temp 365", "temperature_celsius", "range"),
        ("HGT 5,5", "blood_glucose_mg_dl", "range"),
        ("dor 11", "pain_score_0_to_10", "range"),
        ("FC " + "9" * 5_000, "heart_rate_bpm", "range"),
    ],
)
def test_a_value_that_cannot_be_is_a_problem_and_no_value(text, sign, fault):
    """Nothing of that sign is believed."""
    reading = read(text)
    assert [(p.sign, p.fault) for p in reading.problems] == [(sign, fault)]
    assert reading.signs == VitalSigns()
    assert len(reading.problems[0].written) <= 40


def test_good_values_beside_a_bad_one_are_kept():
    """Only the bad one is asked about."""
    reading = read("PA 80x120 FC 80")
    assert reading.signs == VitalSigns(heart_rate_bpm=80)
    assert [p.written for p in reading.problems] == ["PA 80x120"]


@pytest.mark.parametrize(
    ("text", "awaited", "expected"),
    [
        ("130x80", PRESSURE, {"systolic_mmhg": 130, "diastolic_mmhg": 80}),
        ("13 por 8.", PRESSURE, {"systolic_mmhg": 130, "diastolic_mmhg": 80}),
        ("88", "heart_rate_bpm", {"heart_rate_bpm": 88}),
        ("37,2 °C", "temperature_celsius", {"temperature_celsius": 37.2}),
        ("FC 88", PRESSURE, {"heart_rate_bpm": 88}),
        ("leito 12", "heart_rate_bpm", {}),
        ("88", None, {}),
    ],
)
def test_a_number_alone_answers_the_question_for_its_sign(text, awaited, expected):
    """And only that: without a question it is nothing."""
    assert read(text, awaited).signs == VitalSigns(**expected)


@given(st.text(max_size=300), st.sampled_from([None, PRESSURE, *SIGNS]))
def test_no_text_makes_it_raise(text, awaited):
    """Whatever is written, it is read."""
    assert isinstance(read(text, awaited), Reading)


PIECES = [
    "PA",
    "BP",
    "FC",
    "dor",
    "Temp",
    "T",
    " ",
    "x",
    "/",
    ":",
    ",",
    ".",
    "120",
    "80",
    "8",
    "36,5",
    "9" * 400,
    "°",
    "mmHg",
    "e",
    "\n",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_no_mixture_of_notations_makes_it_raise_or_believe_what_cannot_be(text):
    """What comes out lies in its range."""
    signs = read(text).signs
    for name, value in signs.measured.items():
        low, high = {"systolic_mmhg": SYSTOLIC, "diastolic_mmhg": DIASTOLIC}.get(name) or (SIGNS[name].low, SIGNS[name].high)
        assert low <= value <= high
    if signs.systolic_mmhg is not None:
        assert signs.systolic_mmhg > signs.diastolic_mmhg


def _signs():
    pressure = st.tuples(st.integers(*DIASTOLIC), st.integers(*SYSTOLIC)).filter(lambda p: p[0] < p[1])
    numbers = {
        name: st.none()
        | (
            st.integers(int(sign.low), int(sign.high))
            if sign.whole
            else st.integers(int(sign.low * 10), int(sign.high * 10)).map(lambda n: n / 10)
        )
        for name, sign in SIGNS.items()
    }
    return st.tuples(st.none() | pressure, st.fixed_dictionaries(numbers)).map(
        lambda made: VitalSigns(
            **made[1], **({"diastolic_mmhg": made[0][0], "systolic_mmhg": made[0][1]} if made[0] is not None else {})
        )
    )


@given(_signs(), st.sampled_from(["pt", "en"]))
def test_what_is_shown_is_read_again_as_the_same(signs, language):
    """A round trip: the nurse may copy what she is asked to confirm."""
    assert read(shown(signs, language)) == Reading(signs)
