"""The orchestrator's conversations, in memory: what is answered, kept, proposed, confirmed, suspended and resumed."""

import json

import pytest

from chatapp.effects import EffectStatus
from chatapp.errors import AnswerMalformed, BreakerOpen, ContentRefused, ProviderUnavailable
from tests.unit.nurse import HOUR_MS, Nurse

REMINDER = {"kind": "template", "name": "shift_reminder", "text": "Olá! Você já chegou ao plantão?"}


@pytest.fixture
def nurse():
    return Nurse()


def open_flows(nurse):
    """The sub-flows that are open, the one that is talked about first."""
    active = [nurse.state["ActiveFlow"]] if "ActiveFlow" in nurse.state else []
    return [frame["Flow"] for frame in (*active, *reversed(nurse.state.get("Suspended", [])))]


def payload(nurse, action_id):
    return nurse.actions[action_id].payload


def status(nurse, action_id):
    return nurse.actions[action_id].status


# What a conversation is: (message, words of the reply, what is proposed, what is open afterwards).
CONVERSATIONS = {
    "a shift from its beginning to its end": [
        ("cheguei", "Chegada ao plantão em 2026-11-21 07:03 UTC", "shift_check_in", ["shift_check_in"]),
        ("sim", "Confirmado, será gravado: Chegada", None, []),
        ("PA 120x80", "PA 120x80 mmHg", "clinical_note", ["clinical_note"]),
        ("sim", "Confirmado, será gravado: Registro clínico", None, []),
        ("encerrar plantão", "Plantão em andamento: 1 registro", None, ["finish_shift"]),
        ("não", "de 2026-11-21 07:03 UTC a 2026-11-21 07:07 UTC, 1 registro", "finish_shift", ["finish_shift"]),
        ("sim", "Confirmado, será gravado: Encerramento", None, []),
    ],
    "the same in English": [
        ("I'm here, ward ICU", "Arrival for the shift at 2026-11-21 07:03 UTC, ward ICU", "shift_check_in", ["shift_check_in"]),
        ("yes", "Confirmed, it will be written: Arrival", None, []),
        ("BP 120/80 HR 72", "BP 120x80 mmHg, HR 72 bpm", "clinical_note", ["clinical_note"]),
        ("👍", "Confirmed, it will be written: Clinical record", None, []),
        ("finish shift", "Shift in progress: 1 record", None, ["finish_shift"]),
        ("yes", "Go ahead.", None, ["finish_shift"]),
        ("family informed at bed 3", "1 record. Remarks: “family informed at bed 3”", "finish_shift", ["finish_shift"]),
        ("ok", "Confirmed, it will be written: End of the shift", None, []),
    ],
    "a no cancels": [
        ("cheguei", "Confirma?", "shift_check_in", ["shift_check_in"]),
        ("não", "Cancelado, nada foi gravado: Chegada", None, []),
        ("encerrar plantão", "Não há plantão em andamento", None, []),
    ],
    "a ward is added to the arrival": [
        ("cheguei", "diga também o setor", "shift_check_in", ["shift_check_in"]),
        ("setor UTI 3", "07:03 UTC, setor UTI 3", "shift_check_in", ["shift_check_in"]),
        ("cheguei", "07:03 UTC, setor UTI 3", None, ["shift_check_in"]),
    ],
    "a value that cannot be is asked for again": [
        ("PA 80x120 FC 80", "sistólica não é maior que a diastólica. Qual é o valor certo?", None, ["clinical_note"]),
        ("sim", "Continua em aberto (registro clínico).", None, ["clinical_note"]),
        ("300x10", "“300x10” está fora do possível para PA (sistólica 40 a 300, diastólica 20 a 200)", None, ["clinical_note"]),
        ("130x80", "PA 130x80 mmHg, FC 80 bpm", "clinical_note", ["clinical_note"]),
    ],
    "a doubtful value is left out": [
        ("FC 80 Sat 198", "“Sat 198” está fora do possível para SatO2 (30 a 100)", None, ["clinical_note"]),
        ("não", "UTC: FC 80 bpm\nConfirma?", "clinical_note", ["clinical_note"]),
    ],
    "the only value, in doubt, is left out": [
        ("PA 80x120", "Qual é o valor certo?", None, ["clinical_note"]),
        ("não", "Cancelado, nada foi gravado", None, []),
    ],
    "a note is asked for first": [
        ("nota", "O que devo registrar?", None, ["clinical_note"]),
        ("dormiu bem", "Nota: “dormiu bem”", "clinical_note", ["clinical_note"]),
        ("correção: dormiu mal", "Nota: “dormiu mal”", "clinical_note", ["clinical_note"]),
        ("nota: FC 80", "FC 80 bpm; Nota: “dormiu mal”", "clinical_note", ["clinical_note"]),
    ],
    "an empty note is dropped": [
        ("nota", "O que devo registrar?", None, ["clinical_note"]),
        ("não", "Cancelado, nada foi gravado", None, []),
    ],
    "what is neither yes nor no is answered, and reminds": [
        ("PA 120x80", "Confirma?", "clinical_note", ["clinical_note"]),
        ("bom dia", "Olá!", None, ["clinical_note"]),
        ("que horas são?", "Não entendi.", None, ["clinical_note"]),
        ("que horas são?", "Continua em aberto (registro clínico).", None, ["clinical_note"]),
        ("que horas são?", "PA 120x80 mmHg\nConfirma?", None, ["clinical_note"]),
        ("sim", "Confirmado", None, []),
    ],
    "help in the middle of a note": [
        ("PA 80x120", "Qual é o valor certo?", None, ["clinical_note"]),
        ("ajuda", "O que você pode dizer", None, ["clinical_note"]),
        ("ajuda", "Qual é o valor certo?", None, ["clinical_note"]),
        ("120x80", "PA 120x80 mmHg", "clinical_note", ["clinical_note"]),
    ],
    "an arrival in the middle of a note, which resumes where it was": [
        ("PA 80x120 FC 80", "Qual é o valor certo?", None, ["clinical_note"]),
        ("cheguei", "Continua em aberto (registro clínico).", "shift_check_in", ["shift_check_in", "clinical_note"]),
        ("sim", "Voltando a: registro clínico.", None, ["clinical_note"]),
        ("120x80", "PA 120x80 mmHg, FC 80 bpm", "clinical_note", ["clinical_note"]),
    ],
    "a suspended note is taken up again by a value": [
        ("FC 80", "FC 80 bpm", "clinical_note", ["clinical_note"]),
        ("cheguei", "Chegada", "shift_check_in", ["shift_check_in", "clinical_note"]),
        ("FC 90", "FC 90 bpm", "clinical_note", ["clinical_note", "shift_check_in"]),
        ("sim", "Voltando a: chegada.", None, ["shift_check_in"]),
        ("sim", "Confirmado, será gravado: Chegada", None, []),
    ],
    "the end of a shift waits for an open note": [
        ("cheguei", "Confirma?", "shift_check_in", ["shift_check_in"]),
        ("sim", "Confirmado", None, []),
        ("FC 80", "Confirma?", "clinical_note", ["clinical_note"]),
        ("encerrar plantão", "Antes disso, falta responder", None, ["clinical_note", "finish_shift"]),
        ("sim", "Voltando a: encerramento do plantão.\n\nPlantão em andamento: 1 registro", None, ["finish_shift"]),
    ],
    "a note in the middle of the end of a shift is counted": [
        ("cheguei", "Confirma?", "shift_check_in", ["shift_check_in"]),
        ("sim", "Confirmado", None, []),
        ("encerrar plantão", "0 registros", None, ["finish_shift"]),
        ("nada mais", "UTC, 0 registros\nConfirma?", "finish_shift", ["finish_shift"]),
        ("FC 80", "FC 80 bpm", "clinical_note", ["clinical_note", "finish_shift"]),
        ("sim", "UTC, 1 registro\nConfirma?", "finish_shift", ["finish_shift"]),
        ("sim", "Confirmado, será gravado: Encerramento", None, []),
    ],
    "an arrival and vital signs in one message": [
        ("cheguei, PA 120x80", "Chegada", "shift_check_in", ["shift_check_in", "clinical_note"]),
        ("sim", "PA 120x80 mmHg", "clinical_note", ["clinical_note"]),
        ("sim", "Confirmado, será gravado: Registro clínico", None, []),
    ],
    "a note that is confirmed before the arrival that it interrupted is counted": [
        ("cheguei", "Confirma?", "shift_check_in", ["shift_check_in"]),
        ("PA 12x8 FC 80", "Confirma?", "clinical_note", ["clinical_note", "shift_check_in"]),
        ("sim", "Voltando a: chegada.", None, ["shift_check_in"]),
        ("sim", "Confirmado, será gravado: Chegada", None, []),
        ("encerrar plantão", "Plantão em andamento: 1 registro\n• Registro clínico", None, ["finish_shift"]),
    ],
    "a note from before the arrival is not": [
        ("FC 80", "Confirma?", "clinical_note", ["clinical_note"]),
        ("sim", "Confirmado", None, []),
        ("cheguei", "Confirma?", "shift_check_in", ["shift_check_in"]),
        ("sim", "Confirmado", None, []),
        ("encerrar plantão", "Plantão em andamento: 0 registros", None, ["finish_shift"]),
    ],
    "a second arrival": [
        ("cheguei", "Confirma?", "shift_check_in", ["shift_check_in"]),
        ("sim", "Confirmado", None, []),
        ("cheguei", "Você já está de plantão desde 2026-11-21 07:03 UTC.", None, []),
    ],
    "a yes or no to nothing": [
        ("sim", "Não há nada por confirmar.", None, []),
        ("não", "Não há nada por cancelar.", None, []),
    ],
    "a yes and more": [
        ("FC 80", "FC 80 bpm", "clinical_note", ["clinical_note"]),
        ("sim, FC 90", "UTC: FC 90 bpm", "clinical_note", ["clinical_note"]),
    ],
    "a yes after a template": [
        (REMINDER, "", None, []),
        ("sim", "Chegada ao plantão", "shift_check_in", ["shift_check_in"]),
        ("sim", "Confirmado", None, []),
        ("sim", "Não há mais nada por confirmar. O último confirmado: Chegada", None, []),
    ],
    "a yes after a template that asks for a note": [
        ({"kind": "template", "name": "vitals_due", "text": "Registre os sinais vitais"}, "", None, []),
        ("sim", "O que devo registrar?", None, ["clinical_note"]),
        ("PA 120x80", "UTC: PA 120x80 mmHg\nConfirma?", "clinical_note", ["clinical_note"]),
    ],
    "a no after a template": [
        (REMINDER, "", None, []),
        ("não", "fica para depois", None, []),
        ("sim", "Não há nada por confirmar.", None, []),
    ],
    "a template while an action is staged": [
        ("FC 80", "Confirma?", "clinical_note", ["clinical_note"]),
        (REMINDER, "", None, ["clinical_note"]),
        ("sim", "você recebeu outra mensagem, por isso pergunto de novo.", None, ["clinical_note"]),
        ("sim", "Confirmado, será gravado: Registro clínico", None, []),
        ("sim", "Chegada ao plantão", "shift_check_in", ["shift_check_in"]),
    ],
    "a no that may be for a template": [
        ("PA 80x120", "Qual é o valor certo?", None, ["clinical_note"]),
        (REMINDER, "", None, ["clinical_note"]),
        ("não", "por isso pergunto de novo.\n\nEm “PA 80x120”", None, ["clinical_note"]),
        ("não", "Cancelado, nada foi gravado", None, []),
    ],
    "a question that was shown again after a template": [
        ("FC 80", "Confirma?", "clinical_note", ["clinical_note"]),
        (REMINDER, "", None, ["clinical_note"]),
        ("bom dia", "FC 80 bpm\nConfirma?", None, ["clinical_note"]),
        ("sim", "Confirmado, será gravado: Registro clínico", None, []),
    ],
    "a template that asks for nothing, while an action is staged": [
        ("FC 80", "Confirma?", "clinical_note", ["clinical_note"]),
        ({"kind": "template", "name": "newsletter", "text": "Feliz Natal!"}, "", None, ["clinical_note"]),
        ("sim", "Confirmado, será gravado: Registro clínico", None, []),
    ],
    "a language that is asked for": [
        ("PA 80x120", "Qual é o valor certo?", None, ["clinical_note"]),
        ("english please", "All right, in English.", None, ["clinical_note"]),
        ("english please", "What is the right value?", None, ["clinical_note"]),
    ],
    "no text at all": [
        ({"kind": "audio", "url": "https://example.com/a.ogg"}, "só leio mensagens de texto", None, []),
        ("   ", "só leio mensagens de texto", None, []),
    ],
    "too long a text": [
        ("FC 80", "Confirma?", "clinical_note", ["clinical_note"]),
        ("a" * 2_001, "São 2001 caracteres", None, ["clinical_note"]),
        ("nota: " + "b" * 1_900, "Nota: “bbb", "clinical_note", ["clinical_note"]),
        ("nota: " + "c" * 1_900, "São 3801 caracteres", None, ["clinical_note"]),
        ("sim", "Confirmado", None, []),
    ],
}  # fmt: skip


@pytest.mark.parametrize("conversation", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_a_conversation(nurse, conversation):
    """Message by message."""
    for message, words, proposed, still_open in conversation:
        reply = nurse.says(message)
        assert words in reply
        assert (reply == "") is (words == "")
        assert (nurse.proposed.name if nurse.proposed else None) == proposed
        assert open_flows(nurse) == still_open


def test_what_is_proposed_is_said_word_for_word(nurse):
    """The description is in the reply, and the payload holds numbers with their units."""
    reply = nurse.says("PA 12x8, T 36,5. Paciente refere “melhora”")
    action = nurse.actions["a1-0"]
    assert action.description in reply
    assert (
        action.description
        == "Registro clínico de 2026-11-21 07:03 UTC: PA 120x80 mmHg, Temp 36,5 °C; Nota: “Paciente refere “melhora””"
    )
    assert action.payload == {
        "recorded_at": "2026-11-21T07:03:00.000Z",
        "vital_signs": {"systolic_mmhg": 120, "diastolic_mmhg": 80, "temperature_celsius": 36.5},
        "note": "Paciente refere “melhora”",
    }
    assert nurse.offers == ("Sim", "Não")


def test_a_correction_cancels_the_old_action_and_proposes_a_new_one(nurse):
    """What was said before and is not corrected stays; the time is that of the first message."""
    nurse.says("PA 120x80 FC 80")
    nurse.says("na verdade PA 130x80")
    assert (status(nurse, "a1-0"), status(nurse, "a2-0")) == (EffectStatus.CANCELLED, EffectStatus.STAGED)
    assert payload(nurse, "a2-0") == {
        "recorded_at": "2026-11-21T07:03:00.000Z",
        "vital_signs": {"systolic_mmhg": 130, "diastolic_mmhg": 80, "heart_rate_bpm": 80},
    }
    nurse.says("sim")
    assert nurse.calls == ["cancelled a1-0", "confirmed a2-0"]


def test_a_sign_in_doubt_takes_its_old_value_back(nurse):
    """What was corrected to something that cannot be is not written with its old value."""
    nurse.says("PA 120x80 FC 80")
    assert "Qual é o valor certo?" in nurse.says("PA 80x120")
    nurse.says("não")
    assert payload(nurse, "a3-0")["vital_signs"] == {"heart_rate_bpm": 80}


def test_every_payload_tells_the_times_as_they_were(nurse):
    """Arrival, record and end carry the time of their first message; a record tells its shift."""
    for message in ("cheguei, setor UTI", "sim", "nota: bem", "sim", "encerrar plantão", "não"):
        nurse.says(message)
    assert payload(nurse, "a1-0") == {"arrived_at": "2026-11-21T07:03:00.000Z", "place": "UTI"}
    assert payload(nurse, "a3-0")["shift_started_at"] == "2026-11-21T07:03:00.000Z"
    assert payload(nurse, "a6-0") == {
        "started_at": "2026-11-21T07:03:00.000Z",
        "finished_at": "2026-11-21T07:07:00.000Z",
        "records": 1,
    }


def test_a_yes_that_was_sent_before_the_question_is_no_answer_to_it(nurse):
    """A nervous second “sim” confirms nothing that the nurse has not seen."""
    nurse.says("cheguei, FC 80")
    sent = nurse.now + 30_000
    assert "FC 80 bpm\nConfirma?" in nurse.says("sim")
    assert "antes desta pergunta" in nurse.says("sim", sent_at=sent)
    assert (status(nurse, "a1-0"), status(nurse, "a2-0")) == (EffectStatus.CONFIRMED, EffectStatus.STAGED)
    assert "Confirmado" in nurse.says("sim")


@pytest.mark.parametrize(("opening", "asked_next"), [("cheguei, FC 80", "FC 80 bpm"), ("encerrar plantão", "Quer acrescentar")])
def test_a_yes_that_was_sent_while_the_question_was_still_being_made_is_no_answer_to_it(nurse, opening, asked_next):
    """A second “sim” 50 ms after the first comes after the asking turn began, and before it said anything."""
    if opening == "encerrar plantão":
        for message in ("cheguei", "sim", "FC 80"):
            nurse.says(message)
    nurse.says(opening)
    assert asked_next in nurse.says("sim", takes_ms=80)
    confirmed = list(nurse.calls)
    reply = nurse.says("sim", sent_at=nurse.now + 50)
    assert "antes desta pergunta" in reply
    assert asked_next in reply
    assert nurse.calls == confirmed
    assert "antes desta pergunta" in nurse.says("não", sent_at=nurse.now - 60_000 + 60)
    assert "antes desta pergunta" not in nurse.says("sim", sent_at=nurse.now)


def test_a_proposal_that_the_meantime_has_overtaken_is_made_again(nurse):
    """A note from before the arrival belongs to the shift once that has begun; what is confirmed is what is shown."""
    nurse.says("FC 80")
    nurse.says("cheguei")
    nurse.says("sim")
    assert status(nurse, "a1-0") is EffectStatus.CANCELLED
    assert payload(nurse, "a3-0") == {**payload(nurse, "a1-0"), "shift_started_at": "2026-11-21T07:04:00.000Z"}


def test_a_reminder_does_not_make_an_answer_unseen(nurse):
    """The question is the same as before."""
    nurse.says("FC 80")
    sent = nurse.now + 30_000
    nurse.says("bom dia")
    assert "Confirmado" in nurse.says("sim", sent_at=sent)


def test_a_repeated_yes_confirms_once(nurse):
    """The second is told what was confirmed."""
    nurse.says("cheguei")
    nurse.says("sim")
    assert "O último confirmado: Chegada" in nurse.says("sim")
    assert nurse.calls == ["confirmed a1-0"]


def test_a_repeated_yes_is_told_what_was_confirmed_last(nurse):
    """Not what was proposed last: the note interrupted the arrival, and was confirmed before it."""
    for message in ("cheguei", "FC 80", "sim", "sim"):
        nurse.says(message)
    assert "O último confirmado: Chegada" in nurse.says("sim")


@pytest.mark.parametrize(
    ("meanwhile", "answer", "words"),
    [
        (EffectStatus.CONFIRMED, "sim", "Confirmado, será gravado: Chegada"),
        (EffectStatus.EXECUTED, "sim", "Confirmado e gravado: Chegada"),
        (EffectStatus.FAILED, "sim", "a gravação falhou: Chegada"),
        (EffectStatus.UNKNOWN, "sim", "ainda não se sabe se foi gravado: Chegada"),
        (EffectStatus.CANCELLED, "sim", "já tinha sido cancelado, nada foi gravado: Chegada"),
        (EffectStatus.CANCELLED, "não", "Cancelado, nada foi gravado: Chegada"),
        (EffectStatus.CONFIRMED, "não", "não pode mais ser cancelado"),
        (EffectStatus.CONFIRMED, "bom dia", "Entretanto foi confirmado: Chegada"),
        (EffectStatus.EXECUTED, "bom dia", "Confirmado e gravado: Chegada"),
        (EffectStatus.FAILED, "bom dia", "a gravação falhou: Chegada"),
        (EffectStatus.UNKNOWN, "bom dia", "ainda não se sabe se foi gravado: Chegada"),
        (EffectStatus.CANCELLED, "bom dia", "já tinha sido cancelado, nada foi gravado: Chegada"),
    ],
)
def test_the_truth_is_told_of_what_happened_by_another_way(nurse, meanwhile, answer, words):
    """Over HTTP, a socket, or by the worker that carried it out. The shift has begun exactly if there was a yes."""
    nurse.says("cheguei")
    nurse.becomes("a1-0", meanwhile)
    assert words in nurse.says(answer)
    assert ("Shift" in nurse.state) is (meanwhile is not EffectStatus.CANCELLED)
    assert open_flows(nurse) == []


def test_a_suspended_note_that_was_confirmed_by_another_way_is_counted(nurse):
    """And does not come back."""
    nurse.says("cheguei")
    nurse.says("sim")
    nurse.says("FC 80")
    nurse.state |= {"Suspended": [nurse.state["ActiveFlow"]]}
    del nurse.state["ActiveFlow"]
    nurse.becomes("a3-0", EffectStatus.EXECUTED)
    assert "Confirmado e gravado: Registro clínico" in nurse.says("ajuda")
    assert nurse.state["Shift"]["Count"] == 1
    assert open_flows(nurse) == []


def test_a_record_that_could_not_be_written_is_told_and_left_out_at_the_end(nurse):
    """Neither the summary nor what is written of the shift counts it."""
    for message in ("cheguei", "sim", "FC 80", "sim", "FC 90", "sim"):
        nurse.says(message)
    nurse.becomes("a3-0", EffectStatus.FAILED)
    nurse.becomes("a5-0", EffectStatus.EXECUTED)
    reply = nurse.says("encerrar plantão")
    assert "a gravação falhou: Registro clínico de 2026-11-21 07:05 UTC: FC 80 bpm" in reply
    assert "Plantão em andamento: 1 registro\n• Registro clínico de 2026-11-21 07:07 UTC: FC 90 bpm" in reply
    assert "a gravação falhou" not in nurse.says("não")
    assert payload(nurse, "a8-0")["records"] == 1
    nurse.says("sim")
    assert nurse.state["LastShift"]["records"] == 1


def test_what_fails_after_the_end_was_proposed_changes_nothing_that_was_read(nurse):
    """The yes is for the words that the nurse saw."""
    for message in ("cheguei", "sim", "FC 80", "sim", "encerrar plantão", "não"):
        nurse.says(message)
    nurse.becomes("a3-0", EffectStatus.FAILED)
    assert "1 registro" in nurse.says("sim")
    assert nurse.state["LastShift"]["records"] == payload(nurse, "a6-0")["records"] == 1


def test_a_record_that_fails_while_the_end_waits_behind_a_note_is_left_out(nurse):
    """The end comes back with what is left."""
    for message in ("cheguei", "sim", "FC 80", "sim", "FC 85", "sim", "encerrar plantão", "não", "FC 90"):
        nurse.says(message)
    nurse.becomes("a3-0", EffectStatus.FAILED)
    nurse.becomes("a5-0", EffectStatus.FAILED)
    assert "UTC, 1 registro\nConfirma?" in nurse.says("sim")
    assert nurse.proposed.payload["records"] == 1


def test_an_expired_proposal_is_told_and_made_again(nurse):
    """The nurse's yes came too late; the arrival keeps its time."""
    nurse.says("cheguei")
    reply = nurse.says("sim", seconds=HOUR_MS // 1000)
    assert "O pedido expirou e nada foi gravado: Chegada ao plantão em 2026-11-21 07:03 UTC" in reply
    assert nurse.proposed.payload == {"arrived_at": "2026-11-21T07:03:00.000Z"}
    assert "Confirmado" in nurse.says("sim")
    assert nurse.calls == ["confirmed a2-0"]


def test_a_no_to_an_expired_proposal_ends_it(nurse):
    """Nothing was written, and nothing is asked any more."""
    nurse.says("cheguei")
    assert "expirou" in nurse.says("não", seconds=HOUR_MS // 1000)
    assert open_flows(nurse) == []


def test_an_action_whose_item_is_gone_counts_as_expired(nurse):
    """Staged actions are deleted some time after they expire."""
    nurse.says("cheguei")
    nurse.actions.clear()
    assert "expirou" in nurse.says("sim")
    assert nurse.proposed.name == "shift_check_in"


def test_a_correction_after_the_yes_is_a_record_of_its_own(nurse):
    """The confirmed one stands; the new one holds what the message says and no more."""
    nurse.says("PA 120x80")
    nurse.becomes("a1-0", EffectStatus.CONFIRMED)
    assert "Entretanto foi confirmado" in nurse.says("FC 90")
    assert payload(nurse, "a2-0")["vital_signs"] == {"heart_rate_bpm": 90}


def test_a_yes_that_comes_between_the_look_and_the_cancel_is_not_lost(nurse):
    """The old record counts, the correction becomes a new one."""
    nurse.says("PA 120x80")
    seen = nurse.recent()
    nurse.becomes("a1-0", EffectStatus.CONFIRMED)
    nurse.recent = lambda: seen
    reply = nurse.says("FC 90")
    assert "Confirmado, será gravado: Registro clínico de 2026-11-21 07:03 UTC: PA 120x80 mmHg" in reply
    assert payload(nurse, "a2-0")["vital_signs"] == {"heart_rate_bpm": 90}


@pytest.mark.parametrize("conversation", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_a_crash_after_every_attempt_changes_nothing(conversation):
    """Each message is attempted twice: the first attempt's yes or no is done, its end is not stored."""
    plain, crashing = Nurse(), Nurse()
    for message, *_ in conversation:
        plain.says(message)
        assert crashing.says(message, crashes=True) is not None
        assert crashing.state == plain.state
        assert {i: (a.status, a.payload) for i, a in crashing.actions.items()} == {
            i: (a.status, a.payload) for i, a in plain.actions.items()
        }


@pytest.mark.parametrize(
    "failure",
    [
        BreakerOpen("open", retry_after=5),
        ProviderUnavailable("gone"),
        AnswerMalformed("?"),
        ContentRefused("no"),
        "no json",
        '{"intent": "dance"}',
    ],
)
def test_keywords_decide_when_no_model_can_be_asked(nurse, failure):
    """The turn does not fail, and the guess is not kept."""
    nurse.model.answers = [failure]
    assert "Nota: “A paciente do leito 4 dormiu”" in nurse.says("A paciente do leito 4 dormiu")
    assert nurse.external.kept == {}


@pytest.mark.parametrize("intent", ["confirm", "deny"])
def test_a_yes_or_no_that_only_a_model_sees_in_a_long_message_decides_nothing(nurse, intent):
    """A pasted text may quote somebody else's yes: the question is asked again. A short one counts."""
    nurse.says("cheguei")
    nurse.model.answers = [json.dumps({"intent": intent, "language": "pt"})] * 2
    reply = nurse.says("O doutor escreveu no prontuário que está tudo bem, ok, foi confirmado por ele ontem no plantão da noite")
    assert "Confirma?" in reply
    assert status(nurse, "a1-0") is EffectStatus.STAGED
    nurse.says("ok confirmado pelo doutor")
    assert status(nurse, "a1-0") is not EffectStatus.STAGED


def test_the_same_words_are_asked_about_once(nurse):
    """The answer is kept for every nurse, of the same words to the letter: a model reads what the eye does not."""
    nurse.model.answers = ['{"intent": "help", "language": "pt"}']
    assert "O que você pode dizer" in nurse.says("Como isso funciona?")
    assert "O que você pode dizer" in nurse.says("Como isso funciona?")
    assert len(nurse.model.asked) == 1


def test_an_intent_kept_in_another_form_is_asked_for_again(nurse):
    """Another version may have kept it."""
    nurse.external.recall = lambda *_: {"intent": "dance"}
    nurse.model.answers = ['{"intent": "help", "language": "pt"}']
    assert "O que você pode dizer" in nurse.says("Como isso funciona?")


def test_obvious_words_cost_no_model_call(nurse):
    """Nor do vital signs, templates, greetings and the answers to a question."""
    for message in (
        REMINDER,
        "cheguei",
        "sim",
        "PA 80x120",
        "120x80",
        "👍",
        "bom dia",
        "nota",
        "dormiu bem",
        "não",
        "encerrar plantão",
        "tudo calmo",
        "s",
    ):
        nurse.says(message)
    assert nurse.model.asked == []


def test_the_model_is_told_only_the_message(nurse):
    """In the form of an `Intent`, with the turn's own model."""
    nurse.says("qual é o telefone da UTI?")
    (request,) = nurse.model.asked
    assert [m.text for m in request.messages] == ["qual é o telefone da UTI?"]
    assert (request.answer.name, request.options.model) == ("Intent", "m")


@pytest.mark.parametrize(
    ("contact", "setting", "message", "words"),
    [
        ("+5511999999999", "en", "👍", "Não há nada"),
        (None, "en", "👍", "There is nothing"),
        (None, "pt", "👍", "Não há nada"),
        ("+5511999999999", "en", "help", "What you can say"),
        (None, "en", "ajuda", "O que você pode dizer"),
        (None, "en", "PA 120x80", "Confirma?"),
        ("+5511999999999", "en", "BP 120x80", "Do you confirm?"),
    ],
)
def test_the_language_is_that_of_the_message(contact, setting, message, words):
    """Where it does not tell: Portuguese for phones, DEFAULT_LANGUAGE for others."""
    assert words in Nurse(contact=contact, language=setting).says(message)


def test_a_language_once_known_is_kept(nurse):
    """A nurse who writes English once in a while is still answered in hers."""
    nurse.says("cheguei no plantão")
    assert "O que você pode dizer" in nurse.says("help")
    assert nurse.state["Language"] == "pt"


def test_lists_show_the_shift(nurse):
    """A sentence and the facts, changed when they change."""
    nurse.says("oi")
    assert nurse.summary.text == "Sem plantão em andamento"
    for message in ("cheguei", "sim", "FC 80", "sim", "nota: bem", "sim"):
        nurse.says(message)
    assert (nurse.summary.text, nurse.summary.facts) == ("Plantão em andamento: 2 registros", {"on_shift": True, "records": 2})
    for message in ("encerrar plantão", "não", "sim"):
        nurse.says(message)
    assert (nurse.summary.text, nurse.summary.facts) == ("Plantão encerrado: 2 registros", {"on_shift": False, "records": 2})


def test_what_another_writer_changed_meanwhile_is_kept(nurse):
    """Neither side is lost: its fields and ours, at every depth."""
    nurse.says("cheguei")
    nurse.says("sim")
    nurse.says("FC 80")
    nurse.meanwhile = lambda state: {**state, "Shift": {**state["Shift"], "Place": "UTI"}, "Ours": {"note": 1}}
    nurse.says("sim")
    assert nurse.state["Ours"] == {"note": 1}
    assert (nurse.state["Shift"]["Place"], nurse.state["Shift"]["Count"]) == ("UTI", 1)


@pytest.mark.parametrize(
    "state",
    [
        {"Shift": "broken"},
        {"ActiveFlow": {"Flow": "dance"}},
        {"ActiveFlow": {"Flow": "clinical_note", "Draft": {}}},
        {"Suspended": 3},
    ],
)
def test_a_state_that_cannot_be_read_is_begun_anew(state):
    """The turn is answered all the same."""
    assert "Confirma?" in Nurse(state=state).says("cheguei")


def test_a_shift_that_was_taken_out_of_the_state_cannot_be_ended(nurse):
    """An operator changed the state while its end was asked for."""
    for message in ("cheguei", "sim", "encerrar plantão"):
        nurse.says(message)
    del nurse.state["Shift"]
    assert "Não há plantão em andamento" in nurse.says("não")
    assert open_flows(nurse) == []


def test_a_template_tells_the_language(nurse):
    """It was written for the nurse."""
    nurse.says({"kind": "template", "name": "reminder", "text": "Hello! Have you arrived for your shift?"})
    assert "Arrival for the shift" in nurse.says("👍")


def test_a_yes_confirms_what_is_staged_even_if_the_state_lost_it(nurse):
    """Somebody emptied the state; the action is what counts."""
    nurse.says("cheguei")
    nurse.state = {}
    assert "Confirmado, será gravado: Chegada" in nurse.says("sim")
    assert nurse.calls == ["confirmed a1-0"]


def test_a_session_comes_to_its_shifts(nurse):
    """What `POST /sessions/{id}/end` answers."""
    for message in ("cheguei", "sim", "encerrar plantão", "não", "sim"):
        nurse.says(message)
    assert nurse.result() == {
        "LastShift": {"started_at": "2026-11-21T07:03:00.000Z", "finished_at": "2026-11-21T07:05:00.000Z", "records": 0}
    }
